//! Names of refs that git could take for something else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::{Client, World, secret};

/// Refs that upstream has already harm nobody: what is pushed is what was scanned.
#[test]
fn upstreams_refs_are_never_taken_for_ids_or_for_head() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    let main = client.head();
    client.commit("a", "1\n");
    let next = client.head();
    let other = world.commit_upstream("other", "evil", "2\n");
    let upstream = Client::at(&world.upstream());
    for name in [&main, &next, "HEAD", "FETCH_HEAD"] {
        upstream.ok(&["update-ref", &format!("refs/heads/{name}"), &other]);
    }
    client.push(&["origin", &format!("{main}:refs/tags/v1"), "HEAD:refs/heads/next"]);
    let refs = world.refs(&world.upstream());
    assert!(refs.contains(&format!("{main} refs/tags/v1\n")), "{refs}");
    assert!(refs.contains(&format!("{next} refs/heads/next\n")), "{refs}");
    client.commit("b", secret());
    let said = client.refused(&["origin", "HEAD:refs/heads/again"]);
    assert!(said.contains("aws-access-token in b, line 1"), "{said}");
}

#[test]
fn a_name_that_git_could_misread_is_refused_and_the_next_push_goes_on() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    let before = world.refs(&world.upstream());
    let id = client.head();
    let refused = |name: &str, reason: &str| {
        let said = client.refused(&["origin", &format!("{id}:{name}")]);
        assert!(said.contains(reason) && said.contains("choose another"), "{said}");
        assert_eq!(world.refs(&world.upstream()), before);
        assert_eq!(world.refs(&world.mirror()), before);
    };
    refused(&format!("refs/heads/{id}"), "for an object's id");
    refused(&format!("refs/{id}"), "for an object's id");
    refused(&format!("refs/tags/{}", "0a".repeat(32)), "for an object's id");
    refused("refs/heads/HEAD", "for git's own HEAD or the like");
    refused("refs/x/FETCH_HEAD", "for git's own HEAD or the like");
    refused("refs/heads/refs/heads/main", "for the full name of another ref");
    refused("refs/tags/main", "\"main\" would be both refs/tags/main and refs/heads/main");
    assert!(world.gate.wait_for("push-failed")["reason"].to_string().contains("object's id"));
    client.commit("a", "1\n");
    client.push(&["origin", "main"]);
    assert!(world.refs(&world.upstream()).contains(&client.head()));
}

#[test]
fn such_a_name_can_be_deleted() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    let upstream = Client::at(&world.upstream());
    let names = ["refs/heads/HEAD".to_owned(), format!("refs/heads/{}", client.head())];
    for name in &names {
        upstream.ok(&["update-ref", name, "refs/heads/main"]);
    }
    client.push(&["origin", &format!(":{}", names[0]), &format!(":{}", names[1])]);
    let refs = world.refs(&world.upstream());
    assert_eq!(refs.lines().count(), 1, "{refs}");
    assert_eq!(world.refs(&world.mirror()), refs);
}
