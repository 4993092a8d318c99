//! What a push brings beside what it says: objects that nothing reaches, and malformed ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::{Client, World, git, raw, text};

/// The ids of all objects in the mirror, reached or not.
fn mirrored(world: &World) -> String {
    let list = ["cat-file", "--batch-all-objects", "--batch-check", "--unordered"];
    text(&git(&world.mirror(), &list).stdout)
}

#[test]
fn what_no_ref_reaches_is_refused_and_gone() {
    let Some(world) = World::begin() else { return };
    let before = world.refs(&world.upstream());
    let client = world.client("client");
    let junk = client.object("blob", b"nobody would see this");
    client.commit("a", "1\n");
    let mut ids = client.new_objects();
    ids.push(junk.clone());
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let said = raw::push(&world, "refs/heads/junk", &client.head(), &client.pack(&ids));
    assert!(said.contains("refused: it brings 1 objects that none of its refs reaches"), "{said}");
    assert!(said.contains("ng refs/heads/junk"), "{said}");
    assert_eq!(world.refs(&world.upstream()), before);
    assert!(!mirrored(&world).contains(&junk));
    // The same without it.
    let said = raw::push(&world, "refs/heads/fine", &client.head(), &client.pack(&ids[..3]));
    assert!(said.contains("ok refs/heads/fine"), "{said}");
    assert!(world.refs(&world.upstream()).contains("refs/heads/fine"));
}

/// Clients send what upstream has already, and that is no harm.
#[test]
fn what_upstream_has_may_come_again() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    let old = client.ok(&["rev-parse", "HEAD", "HEAD^{tree}", "HEAD:README"]);
    client.commit("a", "1\n");
    let mut ids = client.new_objects();
    ids.extend(old.lines().map(str::to_owned));
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let said = raw::push(&world, "refs/heads/again", &client.head(), &client.pack(&ids));
    assert!(said.contains("ok refs/heads/again"), "{said}");
}

/// Each as a tree whose one entry is this, in a commit.
#[test]
fn malformed_trees_are_refused() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    let before = world.refs(&world.upstream());
    let blob = client.object("blob", b"[submodule \"x\"]\n\tpath = x\n\turl = -u./payload\n");
    let bytes: Vec<u8> =
        (0..40).step_by(2).map(|at| u8::from_str_radix(&blob[at..at + 2], 16).unwrap()).collect();
    let entry =
        |mode: &str, name: &str| [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &bytes].concat();
    for (tree, complaint) in [
        (entry("100644", ".git"), "hasDotgit"),
        (entry("100644", ".GiT"), "hasDotgit"),
        (entry("100644", "git~1"), "hasDotgit"),
        (entry("100644", ".."), "hasDotdot"),
        (entry("100644", "a/b"), "fullPathname"),
        (entry("120000", ".gitmodules"), "gitmodulesSymlink"),
        (entry("100644", ".gitmodules"), "gitmodulesUrl"),
        (entry("0100644", "a"), "zeroPaddedFilemode"),
        (entry("100666", "a"), "badFilemode"),
        ([entry("100644", "b"), entry("100644", "a")].concat(), "treeNotSorted"),
        ([entry("100644", "a"), entry("100644", "a")].concat(), "duplicateEntries"),
    ] {
        let tree = client.object("tree", &tree);
        let commit = commit(&client, &tree);
        let pack = client.pack(&[&commit, &tree, &blob]);
        let said = raw::push(&world, "refs/heads/odd", &commit, &pack);
        assert!(said.contains(complaint) && said.contains("ng refs/heads/odd"), "{said}");
        assert_eq!(world.refs(&world.upstream()), before);
        assert!(!mirrored(&world).contains(&tree), "{complaint}");
    }
}

fn commit(client: &Client, tree: &str) -> String {
    let who = "A <a@example.org> 1 +0000";
    let text = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nodd\n");
    client.object("commit", text.as_bytes())
}

#[test]
fn malformed_commits_and_tags_and_missing_objects_are_refused() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    let head = client.head();
    let tree = client.ok(&["rev-parse", "HEAD^{tree}"]).trim().to_owned();
    let odd = client.object("commit", format!("tree {tree}\nauthor nobody\n\nodd\n").as_bytes());
    let nameless = format!("object {head}\ntype commit\ntag a..b\ntagger A <a@b> 1 +0000\n\nx\n");
    let tag = client.object("tag", nameless.as_bytes());
    for (id, complaint) in [(&odd, "missingEmail"), (&tag, "badTagName")] {
        let said = raw::push(&world, "refs/x/odd", id, &client.pack(&[id]));
        assert!(said.contains(complaint), "{said}");
    }
    client.commit("a", "1\n");
    let said =
        raw::push(&world, "refs/heads/part", &client.head(), &client.pack(&[&client.head()]));
    assert!(said.contains("ng refs/heads/part"), "{said}");
    assert_eq!(world.refs(&world.upstream()).lines().count(), 1);
}
