//! The gate as a part of a system: another user's mirrors, a read-only root, a wrong configuration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::path::Path;
use std::process::Command;

use harness::{Client, Gate, World, run, secret, text};
use rustix::process::Signal;
use test_support::notices::is_root;

#[test]
fn a_mirror_of_another_user_is_no_dubious_one() {
    if !is_root() {
        return;
    }
    let Some(world) = World::begin() else { return };
    run(Command::new("chown").arg("-R").arg("nobody").arg(world.mirror()));
    let client = world.client("client");
    client.commit("a", "1\n");
    client.push(&["origin", "main"]);
    client.commit("b", secret());
    assert!(client.refused(&["origin", "main"]).contains("aws-access-token in b"));
}

/// Without capabilities, as a user who may write to the mirrors alone.
#[test]
fn an_unprivileged_user_on_a_read_only_root() {
    if !is_root() {
        return;
    }
    let Some(mut world) = World::begin() else { return };
    world.gate.signal(Signal::TERM);
    world.gate.end();
    let git = world.path("git");
    std::fs::remove_dir_all(&git).unwrap();
    std::fs::create_dir(&git).unwrap();
    run(Command::new("chown").arg("nobody").arg(&git).arg(world.path("key")));
    // The folder of the test is for its owner only.
    run(Command::new("chmod").arg("711").arg(world.path("")));
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro / && \
        exec setpriv --reuid=nobody --regid=nogroup --clear-groups --inh-caps=-all \
        --bounding-set=-all --no-new-privs \"$2\" serve -f \"$3\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&git);
    command.arg(reachable(&world, Path::new(env!("CARGO_BIN_EXE_git-gate"))));
    command.arg(world.path("upstreams.toml"));
    let gitleaks = reachable(&world, &harness::gitleaks().unwrap());
    let config = std::fs::read_to_string(world.path("upstreams.toml")).unwrap();
    let line = |line: &str| match line.strip_prefix("gitleaks = ") {
        Some(_) => format!("gitleaks = {gitleaks:?}\n"),
        None => format!("{line}\n"),
    };
    let config: String = config.lines().map(line).collect();
    std::fs::write(world.path("upstreams.toml"), config).unwrap();
    world.gate = Gate::run(&mut command);
    let client = world.client("client");
    client.commit("a", "1\n");
    client.push(&["origin", "main"]);
    assert!(world.refs(&world.upstream()).contains(&client.head()));
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.gate.pid())).unwrap();
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    client.commit("b", secret());
    client.refused(&["origin", "main"]);
}

/// A copy where any user can execute it; what was built may lie in a private folder.
fn reachable(world: &World, program: &Path) -> std::path::PathBuf {
    let copy = world.path(&format!("copy-of-{}", program.file_name().unwrap().display()));
    std::fs::copy(program, &copy).unwrap();
    copy
}

fn gate(arguments: &[&str], file: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_git-gate"));
    let output = command.args(arguments).arg("-f").arg(file).output().unwrap();
    (output.status.code(), text(&output.stderr))
}

#[test]
fn a_wrong_configuration_is_said_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("upstreams.toml");
    std::fs::write(&file, "[gate]\nport = 1\n[[upstream]]\nname = \"app\"\n").unwrap();
    for what in ["check", "serve"] {
        let (code, said) = gate(&[what], &file);
        assert_eq!(code, Some(78));
        assert!(said.contains("upstreams.toml:2:1: unknown key `port`"), "{said}");
        assert!(said.contains("upstreams.toml:3:1: this [[upstream]] has no `url`"), "{said}");
    }
    let (code, said) = gate(&["serve"], &folder.path().join("none.toml"));
    assert_eq!(code, Some(78));
    assert!(said.contains("none.toml: No such file"), "{said}");
}

#[test]
fn what_the_configuration_names_has_to_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let file = path.join("upstreams.toml");
    let missing = path.join("gitleaks");
    std::fs::write(path.join("known_hosts"), "").unwrap();
    let config = Gate::config(path, &missing, "git@127.0.0.1:app.git", "");
    std::fs::write(&file, config).unwrap();
    let (code, said) = gate(&["serve"], &file);
    assert_eq!(code, Some(78));
    assert!(said.contains("gitleaks can't be run"), "{said}");
    assert!(said.contains("upstream \"app\": its `key`"), "{said}");
    assert!(said.contains("known_hosts is empty"), "{said}");
    assert!(!path.join("git").exists(), "something was begun");
}

/// A configuration that becomes wrong while the gate runs lets nothing through.
#[test]
fn a_configuration_that_breaks_refuses() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    client.commit("a", "1\n");
    std::fs::write(world.path("upstreams.toml"), "broken").unwrap();
    let said = client.refused(&["origin", "main"]);
    assert!(said.contains("the gate's configuration is wrong"), "{said}");
    assert!(!said.contains("upstreams.toml"), "{said}");
}

#[test]
fn a_restart_clears_what_a_killed_gate_left() {
    let Some(mut world) = World::begin() else { return };
    let client = world.client("client");
    world.gate.signal(Signal::KILL);
    world.gate.end();
    std::fs::write(world.mirror().join("packed-refs.lock"), "").unwrap();
    std::fs::write(world.mirror().join("refs/heads/main.lock"), "").unwrap();
    world.gate = Gate::start(&world.path("upstreams.toml"));
    let news = world.commit_upstream("main", "b", "1\n");
    client.ok(&["remote", "set-url", "origin", &world.gate.git_url()]);
    client.ok(&["fetch", "-q"]);
    assert!(client.ok(&["for-each-ref"]).contains(&news));
}

/// And one that a killed session left, while the gate runs on.
#[test]
fn a_lock_file_that_nobody_holds_is_removed() {
    let Some(world) = World::begin() else { return };
    let client = world.client("client");
    std::fs::create_dir_all(world.mirror().join("refs/heads")).unwrap();
    std::fs::write(world.mirror().join("refs/heads/main.lock"), "").unwrap();
    let news = world.commit_upstream("main", "b", "1\n");
    client.ok(&["fetch", "-q"]);
    assert!(client.ok(&["for-each-ref"]).contains(&news));
}

#[test]
fn the_client_reaches_neither_keys_nor_other_folders() {
    let Some(world) = World::begin() else { return };
    let address = world.gate.address("git");
    for path in ["/../upstream.git", "/.git-gate", "/other.git", "//app.git/../../upstream.git"] {
        let output = Client::try_clone(&format!("git://{address}{path}"), &world.path("x"));
        assert!(!output.status.success(), "{path}");
    }
}
