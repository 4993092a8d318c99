//! What the gate makes of an upstream that moves, refuses, or is not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::{Client, Gate, Settings, World, text};
use test_support::until;

#[test]
fn every_fetch_sees_what_upstream_has_now() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    let new = world.commit_upstream("main", "news", "1\n");
    let side = world.commit_upstream("side", "more", "2\n");
    client.ok(&["fetch", "-q"]);
    let refs = client.ok(&["for-each-ref"]);
    assert!(refs.contains(&new) && refs.contains(&side), "{refs}");
    let upstream = Client::at(&world.upstream());
    upstream.ok(&["update-ref", "-d", "refs/heads/side"]);
    client.ok(&["fetch", "-q", "--prune"]);
    assert!(!client.ok(&["for-each-ref"]).contains("side"));
}

#[test]
fn a_clone_checks_out_what_upstreams_head_names() {
    let Some(world) = World::begin() else { return };
    let new = world.commit_upstream("trunk", "a", "1\n");
    Client::at(&world.upstream()).ok(&["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    let client = world.client("client");
    assert_eq!(client.head(), new);
    assert_eq!(client.ok(&["branch", "--show-current"]).trim(), "trunk");
}

#[test]
fn no_upstream_no_fetch() {
    let Some(mut world) = World::begin() else { return };
    let client = world.client("client");
    world.sshd.down();
    let output = client.git(&["fetch"]);
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    let reason =
        "git-gate: refused: upstream of \"app\" can't be reached: the connection was refused";
    assert!(said.contains(reason), "{said}");
    assert!(!said.contains("127.0.0.1:"), "an address is shown: {said}");
    let output = Client::try_clone(&world.gate.git_url(), &world.path("another"));
    assert!(!output.status.success());
    let details = world.gate.wait_for("refresh-failed")["details"].to_string();
    assert!(details.contains("Connection refused"), "{details}");
    world.sshd.up();
    client.ok(&["fetch", "-q"]);
}

#[test]
fn no_upstream_no_push() {
    let Some(mut world) = World::begin() else { return };
    let client = world.client("client");
    client.commit("a", "1\n");
    world.sshd.down();
    assert!(client.refused(&["origin", "main"]).contains("can't be reached"));
}

/// The upstream goes away between the refresh and the forwarding: the scan itself takes it down.
#[test]
fn an_upstream_that_goes_away_during_the_scan_declines_the_push() {
    let script = "if [ $1 = stdin ]; then while [ ! -e \"$(dirname \"$0\")/gone\" ]; do sleep 0.02; \
                  done; fi; exec REAL \"$@\"";
    let settings = Settings { gitleaks: Some(script), ..Settings::default() };
    let Some(mut world) = World::with(&settings) else { return };
    let client = world.client("client");
    client.commit("a", "1\n");
    let mut push = client.command(&["push", "origin", "main"]);
    let push = push.stderr(std::process::Stdio::piped()).spawn().unwrap();
    until_received(&world);
    world.sshd.down();
    std::fs::write(world.path("gone"), "").unwrap();
    let output = push.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("refused: upstream did not take the push: the connection was refused"));
    assert!(!world.refs(&world.mirror()).contains(&client.head()));
}

/// git tells it of the quarantine, unless it is kept from that; over ssh nothing would.
#[test]
fn an_upstream_on_the_same_disk_takes_a_push() {
    let Some(world) = World::begin() else { return };
    let (folder, gitleaks) = (world.path(""), harness::gitleaks().unwrap());
    let config = format!(
        "[gate]\nroot = \"{0}/near\"\nlisten = \"127.0.0.1:0\"\nhttp-listen = \"off\"\n\
         health-listen = \"off\"\ngitleaks = \"{1}\"\nprotocols = [\"file\"]\n\
         [[upstream]]\nname = \"app\"\nurl = \"file://{2}\"\n",
        folder.display(),
        gitleaks.display(),
        world.upstream().display()
    );
    std::fs::write(world.path("near.toml"), config).unwrap();
    let gate = Gate::start(&world.path("near.toml"));
    let client = Client::clone(&gate.git_url(), &world.path("client"));
    client.commit("a", "1\n");
    client.push(&["origin", "main"]);
    assert!(world.refs(&world.upstream()).contains(&client.head()));
}

#[test]
fn another_host_key_is_no_upstream() {
    let settings = Settings { wrong_host_key: true, ..Settings::default() };
    let Some(world) = World::with(&settings) else { return };
    let output = Client::try_clone(&world.gate.git_url(), &world.path("client"));
    let said = text(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("its host key is not the pinned one"), "{said}");
}

#[test]
fn what_upstream_refuses_is_refused_whole_and_with_its_words() {
    use std::os::unix::fs::PermissionsExt;
    let Some(world) = World::begin() else { return };
    let hook = world.upstream().join("hooks/update");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    let script =
        "#!/bin/sh\nif [ \"$1\" = refs/heads/protected ]; then echo not that one >&2; exit 1; fi\n";
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let client = world.client("client");
    client.commit("a", "1\n");
    let before = world.refs(&world.upstream());
    let said = client.refused(&["origin", "HEAD:free", "HEAD:protected"]);
    assert!(said.contains("upstream: not that one"), "{said}");
    assert!(said.contains("refs/heads/protected: remote rejected"), "{said}");
    assert_eq!(world.refs(&world.upstream()), before);
    assert_eq!(world.refs(&world.mirror()), before);
    client.push(&["origin", "HEAD:free"]);
}

/// Upstream moves while the push is scanned: the lease does not hold, and nothing is lost.
#[test]
fn an_upstream_that_moves_during_the_scan_is_not_overwritten() {
    let script = "if [ $1 = stdin ]; then while [ ! -e \"$(dirname \"$0\")/moved\" ]; do sleep 0.02; \
                  done; fi; exec REAL \"$@\"";
    let settings = Settings { gitleaks: Some(script), ..Settings::default() };
    let Some(world) = World::with(&settings) else { return };
    let client = world.client("client");
    client.commit("a", "1\n");
    let mut push = client.command(&["push", "--force", "origin", "main"]);
    let push = push.stderr(std::process::Stdio::piped()).spawn().unwrap();
    until_received(&world);
    let theirs = world.commit_upstream("main", "b", "2\n");
    std::fs::write(world.path("moved"), "").unwrap();
    let output = push.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("stale info"), "{said}");
    assert!(world.refs(&world.upstream()).contains(&theirs));
}

/// Waits until the objects of a push are in their quarantine; the mirror is fresh then.
fn until_received(world: &World) {
    let objects = world.mirror().join("objects");
    until("the push is received", || {
        let entries = std::fs::read_dir(&objects).unwrap();
        let mut names = entries.map(|entry| entry.unwrap().file_name());
        names.any(|name| name.to_string_lossy().contains("incoming")).then_some(())
    });
}
