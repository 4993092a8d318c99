//! What is pushed through the gate, and what of it arrives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::io::Write;
use std::process::Stdio;

use harness::{Settings, World, git, secret, text};
use test_support::noise;

#[test]
fn a_clean_push_arrives_and_the_mirror_equals_upstream() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    client.commit("a", "1\n");
    let said = client.push(&["origin", "main"]);
    assert!(said.contains("scanning 1 commits"), "{said}");
    assert!(world.refs(&world.upstream()).contains(&client.head()));
    assert_eq!(world.refs(&world.mirror()), world.refs(&world.upstream()));
    let pushed = world.gate.wait_for("pushed");
    assert_eq!(pushed["repository"], "app");
}

#[test]
fn tags_branches_force_and_deletion_are_passed_on() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    client.commit("a", "1\n");
    client.ok(&["tag", "light"]);
    client.ok(&["tag", "-a", "-m", "fine", "heavy"]);
    client.ok(&["branch", "side"]);
    client.push(&["origin", "main", "side", "--tags"]);
    let refs = world.refs(&world.upstream());
    for name in ["refs/heads/main", "refs/heads/side", "refs/tags/light", "refs/tags/heavy"] {
        assert!(refs.contains(name), "{refs}");
    }
    client.ok(&["commit", "-q", "--amend", "-m", "another"]);
    assert!(client.refused(&["origin", "main"]).contains("non-fast-forward"));
    client.push(&["--force", "origin", "main"]);
    client.push(&["origin", ":side", ":refs/tags/light"]);
    let refs = world.refs(&world.upstream());
    assert!(refs.contains(&format!("{} refs/heads/main", client.head())), "{refs}");
    assert!(!refs.contains("side") && !refs.contains("light"), "{refs}");
    assert_eq!(world.refs(&world.mirror()), refs);
}

#[test]
fn one_bad_ref_among_good_ones_and_upstream_gets_nothing() {
    let Some(world) = World::begin() else { return };
    let before = world.refs(&world.upstream());
    let client = world.client("client");
    client.ok(&["checkout", "-q", "-b", "a-good"]);
    client.commit("a", "1\n");
    client.ok(&["checkout", "-q", "-b", "b-bad", "main"]);
    client.commit("b", secret());
    client.ok(&["checkout", "-q", "-b", "c-good", "main"]);
    client.commit("c", "3\n");
    let said = client.refused(&["origin", "--all"]);
    assert_eq!(said.matches("[remote rejected]").count(), 3, "{said}");
    assert_eq!(world.refs(&world.upstream()), before);
    assert_eq!(world.refs(&world.mirror()), before);
}

/// What was pushed and refused is gone, so a second push of it is scanned again.
#[test]
fn a_refused_push_does_not_pass_at_the_second_try() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    client.commit("a", secret());
    client.refused(&["origin", "main"]);
    client.ok(&["branch", "again"]);
    client.commit("b", "more\n");
    assert!(client.refused(&["origin", "main:other"]).contains("a, line 1"));
    assert!(client.refused(&["origin", "again"]).contains("a, line 1"));
}

#[test]
fn what_upstream_has_is_not_scanned_again() {
    let Some(world) = World::begin() else { return };
    world.commit_upstream("main", "old", &secret());
    let client = world.client("client");
    client.ok(&["checkout", "-q", "-b", "topic"]);
    client.commit("new", "1\n");
    let said = client.push(&["origin", "topic"]);
    assert!(said.contains("scanning 1 commits, 3 objects"), "{said}");
    let said = client.push(&["origin", "topic:again"]);
    assert!(said.contains("scanning 0 commits, 0 objects"), "{said}");
}

#[test]
fn a_line_that_upstream_has_does_not_stop_a_change_of_its_file() {
    let Some(world) = World::begin() else { return };
    world.commit_upstream("main", "old", &format!("a\nid = {}\n", secret()));
    let client = world.client("client");
    client.commit("old", format!("changed\nid = {}\n", secret()));
    client.push(&["origin", "main"]);
    client.commit("elsewhere", secret());
    assert!(client.refused(&["origin", "main"]).contains("elsewhere, line 1"));
}

#[test]
fn an_approved_fingerprint_passes_in_its_repository_and_file_only() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    client.commit("docs/a b.md", secret());
    let said = client.refused(&["origin", "main"]);
    let line = said.lines().find_map(|line| line.split_once("fingerprint ")).unwrap().1;
    let fingerprint = line.trim();
    let approve = |text: String| std::fs::write(world.path("approved"), text).unwrap();
    approve(format!("other {fingerprint}\n"));
    client.refused(&["origin", "main"]);
    approve(format!("# an example\napp {fingerprint}\n"));
    client.push(&["origin", "main"]);
    client.commit("docs/other.md", secret());
    assert!(client.refused(&["origin", "main"]).contains("docs/other.md"));
}

#[test]
fn pushes_at_the_same_time_all_arrive() {
    let Some(world) = World::begin() else { return };
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let client = world.client(&format!("client{number}"));
            client.ok(&["checkout", "-q", "-b", &format!("b{number}")]);
            client.commit("a", number.to_string());
            client
        })
        .collect();
    let pushes: Vec<_> = clients
        .iter()
        .map(|client| {
            let mut command = client.command(&["push", "-q", "origin", "HEAD"]);
            command.stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for push in pushes {
        let output = push.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let refs = world.refs(&world.upstream());
    for client in &clients {
        assert!(refs.contains(&client.head()), "{refs}");
    }
    assert_eq!(world.refs(&world.mirror()), refs);
}

#[test]
fn too_big_a_push_is_refused() {
    let gate = "max-push-size = \"64KiB\"";
    let Some(world) = World::with(&Settings { gate, ..Settings::default() }) else { return };
    let client = world.client("client");
    let before = world.refs(&world.upstream());
    client.commit("noise", noise(200_000));
    let said = client.refused(&["origin", "main"]);
    assert!(said.contains("exceeds maximum allowed size"), "{said}");
    assert_eq!(world.refs(&world.upstream()), before);
}

#[test]
fn too_big_a_file_is_refused() {
    let gate = "max-file-size = \"64KiB\"";
    let Some(world) = World::with(&Settings { gate, ..Settings::default() }) else { return };
    let client = world.client("client");
    client.commit("big", "x".repeat(65_537));
    let said = client.refused(&["origin", "main"]);
    assert!(said.contains("\"big\" has 65537 bytes; max-file-size is 65536"), "{said}");
}

#[test]
fn what_unpacks_to_too_much_is_refused() {
    let gate = "max-scan-size = \"1MiB\"";
    let Some(world) = World::with(&Settings { gate, ..Settings::default() }) else { return };
    let client = world.client("client");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![b'x'; 4 << 20]).unwrap();
    client.commit("bomb.gz", gzip.finish().unwrap());
    let said = client.refused(&["origin", "main"]);
    assert!(said.contains("more than max-scan-size"), "{said}");
}

#[test]
fn a_broken_archive_is_scanned_as_it_is_and_the_client_is_told() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    client.commit("broken.zip", b"PK\x03\x04 nothing that one could read");
    let said = client.push(&["origin", "main"]);
    assert!(said.contains("1 archives could not be decoded whole"), "{said}");
}

#[test]
fn a_shallow_clone_can_push() {
    let Some(world) = World::begin() else { return };
    world.commit_upstream("main", "a", "1\n");
    let url = world.gate.git_url();
    let path = world.path("shallow");
    let output = git(&world.path(""), &["clone", "-q", "--depth=1", &url, path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let client = harness::Client::at(&path);
    client.commit("b", "2\n");
    client.push(&["origin", "main"]);
    assert!(world.refs(&world.upstream()).contains(&client.head()));
}
