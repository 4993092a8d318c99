//! What an approved route needs passes egress and pipelock: one approval opens both, or neither.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::process::Stdio;

use harness::{Said, World};
use rustix::process::{Pid, Signal};
use serde_json::json;
use test_support::until;

const ROUTES: &str = "routes:\n  - host: mirror.example.com\n";
const PIPELOCK: &str = "mode: strict\n# ours\napi_allowlist:\n  - mirror.example.com # why\n";
const ROUTE: &str = "  - host: api.example.com\n    paths: [\"/v1/\"]\n    methods: [GET]\n";
const HOST: &str = "  - api.example.com\n";
const BOTH_TOLD: &str = "signal pipelock HUP\nsignal egress HUP\n";

/// Both proxies run with these files, and a route to this host is proposed.
fn proposed(host: &str, pipelock: &str) -> (World, String) {
    let world = World::new();
    for (name, loaded, text) in [
        ("etc/routes.yaml", "egress.loaded", ROUTES),
        ("etc/pipelock.yaml", "pipelock.loaded", pipelock),
    ] {
        world.write(name, text);
        world.write(loaded, text);
    }
    let id = world.serve().client().propose(host);
    (world, id)
}

#[test]
fn one_approval_opens_both_and_shows_both_before() {
    let (world, id) = proposed("api.example.com", PIPELOCK);
    assert_eq!(world.proxies.ask_as_agent("api.example.com"), 403);
    let (pipelock, routes) = (world.path("etc/pipelock.yaml"), world.path("etc/routes.yaml"));
    let pipelock_diff = format!(
        "--- {0}\n+++ {0}\n@@ -2,3 +2,4 @@\n # ours\n api_allowlist:\n   \
         - mirror.example.com # why\n+{HOST}",
        pipelock.display()
    );
    let routes_diff = format!(
        "--- {0}\n+++ {0}\n@@ -1,2 +1,5 @@\n routes:\n   - host: mirror.example.com\n\
         +  - host: api.example.com\n+    paths: [\"/v1/\"]\n+    methods: [GET]\n",
        routes.display()
    );
    let diffs = format!("\n{pipelock_diff}\n{routes_diff}");
    let shown = world.operator(&["show", &id]).stdout;
    assert!(shown.ends_with(&diffs), "{shown}");
    assert_eq!(
        world.json(&["show", &id, "--json"])["changes"],
        json!([{"file": pipelock, "diff": pipelock_diff}, {"file": routes, "diff": routes_diff}])
    );
    let said = world.operator(&["approve", &id, "--yes"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains(&diffs), "{said:?}");
    assert!(said.stdout.ends_with(" approved: in force, as egress and pipelock say\n"), "{said:?}");
    assert_eq!(world.read("etc/routes.yaml"), format!("{ROUTES}{ROUTE}"));
    assert_eq!(world.read("etc/pipelock.yaml"), format!("{PIPELOCK}{HOST}"));
    assert_eq!(world.read("init.log"), BOTH_TOLD);
    assert_eq!(world.proxies.ask_as_agent("api.example.com"), 200);
    assert_eq!(world.audited(), ["proposed", "approving", "approved"]);
}

#[test]
fn what_pipelock_allows_already_stays_as_it_is() {
    for entry in ["API.Example.com", "\"*.example.com\"", "\"*.EXAMPLE.com.\""] {
        let pipelock = format!("api_allowlist: [{entry}]\n");
        let (world, id) = proposed("api.example.com", &pipelock);
        let said = world.operator(&["approve", &id, "--yes"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.stdout.contains("/etc/pipelock.yaml has this already\n"), "{said:?}");
        assert_eq!(world.read("etc/pipelock.yaml"), pipelock);
        assert_eq!(world.read("etc/routes.yaml"), format!("{ROUTES}{ROUTE}"));
        // An approval before this one may have been killed between file and reload.
        assert_eq!(world.read("init.log"), BOTH_TOLD);
        assert_eq!(world.proxies.ask_as_agent("api.example.com"), 200);
    }
}

#[test]
fn a_wildcard_needs_a_wildcard() {
    let pipelock = "api_allowlist: [example.com, a.example.com]\n";
    let (world, id) = proposed("*.example.com", pipelock);
    let said = world.operator(&["approve", &id, "--yes"]);
    assert_eq!(said.code, 0, "{said:?}");
    let expected = "api_allowlist: [example.com, a.example.com, \"*.example.com\"]\n";
    assert_eq!(world.read("etc/pipelock.yaml"), expected);
    assert_eq!(world.proxies.ask_as_agent("b.example.com"), 200);
}

/// Approves, and asserts that it fails in these words and leaves both as they were.
fn assert_fails_and_restores(world: &World, id: &str, expected: &[&str]) {
    let said = world.operator(&["approve", id, "--yes"]);
    assert_eq!(said.code, 1, "{said:?}");
    for expected in expected {
        assert!(said.stderr.contains(expected), "{expected}: {said:?}");
    }
    assert!(said.stderr.ends_with("; the proposal stays pending\n"), "{said:?}");
    assert_eq!(world.read("etc/routes.yaml"), ROUTES);
    assert_eq!(world.read("etc/pipelock.yaml"), PIPELOCK);
    assert_eq!(std::fs::read_dir(world.path("etc")).unwrap().count(), 2, "nothing is left over");
    assert_eq!(world.audited().last().unwrap(), "approval-failed");
}

#[test]
fn whatever_fails_both_go_back() {
    let (mut world, id) = proposed("api.example.com", PIPELOCK);
    let restored = format!(
        "; {} and {} have been restored",
        world.path("etc/routes.yaml").display(),
        world.path("etc/pipelock.yaml").display()
    );
    let hint = "where no pipelock runs, SUPERVISE_PIPELOCK_FILE has to name a file";
    world.set("SUPERVISE_RELOAD_TIMEOUT", "300ms");
    for (cause, expected) in [
        ("refuse-pipelock", &["signal pipelock HUP: exit status: 1: no such service", hint][..]),
        ("ignore-pipelock", &["pipelock still refuses: CONNECT blocked"]),
        ("refuse-egress", &["signal egress HUP: exit status: 1: no such service"]),
        ("ignore-egress", &["egress does not list the new route"]),
    ] {
        world.write(cause, "");
        world.write("init.log", "");
        assert_fails_and_restores(&world, &id, &[expected, &[&restored]].concat());
        std::fs::remove_file(world.path(cause)).unwrap();
        // The outer door closes first.
        assert!(world.read("init.log").ends_with("signal egress HUP\nsignal pipelock HUP\n"));
        assert_eq!(world.read("egress.loaded"), ROUTES);
        assert_eq!(world.read("pipelock.loaded"), PIPELOCK);
    }
    let egress = world.proxies.egress.clone();
    world.set("SUPERVISE_EGRESS_ADDRESS", "127.0.0.1:1");
    assert_fails_and_restores(&world, &id, &["egress: 127.0.0.1:1: ", &restored]);
    world.set("SUPERVISE_EGRESS_ADDRESS", &egress);

    world.write("lose-queue", "");
    assert_fails_and_restores(&world, &id, &["run/queue", &restored]);
    std::fs::remove_file(world.path("lose-queue")).unwrap();
    std::fs::rename(world.path("run/lost"), world.path("run/queue")).unwrap();

    assert_eq!(world.proxies.ask_as_agent("api.example.com"), 403);
    assert_eq!(world.json(&["list", "--json"])["proposals"][0]["status"], "pending");
    world.set("SUPERVISE_RELOAD_TIMEOUT", "20s");
    let said = world.operator(&["approve", &id, "--yes"]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_file_that_can_not_be_written_brings_the_other_one_back() {
    let (mut world, id) = proposed("api.example.com", PIPELOCK);
    let routes = world.path("nowhere/routes.yaml");
    world.set("SUPERVISE_ROUTES_FILE", routes.to_str().unwrap());
    let failed = format!("{}: No such file or directory", routes.display());
    let restored = format!("; {} has been restored", world.path("etc/pipelock.yaml").display());
    assert_fails_and_restores(&world, &id, &[&failed, &restored]);
    assert_eq!(world.read("init.log"), "signal pipelock HUP\n");
}

#[test]
fn an_interruption_brings_both_back() {
    let (mut world, id) = proposed("api.example.com", PIPELOCK);
    world.set("SUPERVISE_RELOAD_TIMEOUT", "1h");
    for service in ["pipelock", "egress"] {
        world.write(&format!("ignore-{service}"), "");
        world.write("init.log", "");
        let mut command = world.command(&[], &["approve", &id, "--yes"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        until("the init is asked to reload", || {
            world.read("init.log").contains(&format!("signal {service} HUP")).then_some(())
        });
        rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        until("the approval ends", || child.try_wait().unwrap());
        let said = Said::of(child.wait_with_output().unwrap());
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.stderr.contains("interrupted; ") && said.stderr.contains("have been restored")
        );
        assert_eq!(world.read("etc/routes.yaml"), ROUTES);
        assert_eq!(world.read("etc/pipelock.yaml"), PIPELOCK);
        assert_eq!(world.read("pipelock.loaded"), PIPELOCK);
        std::fs::remove_file(world.path(&format!("ignore-{service}"))).unwrap();
    }
}

#[test]
fn an_approval_that_was_killed_can_be_given_again() {
    let (mut world, id) = proposed("api.example.com", PIPELOCK);
    world.set("SUPERVISE_RELOAD_TIMEOUT", "1h");
    world.write("ignore", "");
    let mut child =
        world.command(&[], &["approve", &id, "--yes"]).stdout(Stdio::null()).spawn().unwrap();
    until("the init is asked to reload", || world.read("init.log").lines().next().map(drop));
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(world.path("ignore")).unwrap();
    assert_eq!(world.read("etc/routes.yaml"), format!("{ROUTES}{ROUTE}"));
    let said = world.operator(&["approve", &id, "--yes"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.stdout.matches(" has this already\n").count(), 2, "{said:?}");
    assert_eq!(world.proxies.ask_as_agent("api.example.com"), 200);
}

#[test]
fn a_file_of_pipelocks_that_is_not_understood_is_told() {
    let (world, id) = proposed("api.example.com", PIPELOCK);
    let hint = "pipelock has to let the host through as well";
    let refuses = |expected: &str| {
        let said = world.operator(&["approve", &id, "--yes"]);
        assert_eq!(said.code, 1, "{said:?}");
        for expected in [expected, "/etc/pipelock.yaml: ", hint] {
            assert!(said.stderr.contains(expected), "{expected}: {said:?}");
        }
        let shown = world.operator(&["show", &id]).stdout;
        assert!(shown.contains("can't be done: ") && shown.contains(hint), "{shown}");
        let problem = &world.json(&["show", &id, "--json"])["problem"];
        assert!(problem.as_str().unwrap().contains(expected), "{problem}");
        assert_eq!(world.read("etc/routes.yaml"), ROUTES);
        assert_eq!(world.read("init.log"), "");
    };
    for (text, expected) in [
        ("mode: strict\napi_allowlist: [oops\n", "line "),
        ("api_allowlist: {}\n", "line 1: `api_allowlist` is no list"),
        ("api_allowlist: &all [a.example.com]\n", "can't be changed safely"),
        ("a: 1\n---\nb: 1\n", "more than one document"),
    ] {
        world.write("etc/pipelock.yaml", text);
        refuses(expected);
        assert_eq!(world.read("etc/pipelock.yaml"), text);
    }
    std::fs::remove_file(world.path("etc/pipelock.yaml")).unwrap();
    std::fs::create_dir(world.path("etc/pipelock.yaml")).unwrap();
    refuses("not a regular file");
    assert_eq!(world.audited(), ["proposed"]);
}

#[test]
fn nothing_is_changed_if_one_of_them_was_changed_after_it_was_shown() {
    let (world, id) = proposed("api.example.com", PIPELOCK);
    for (name, text) in [("etc/pipelock.yaml", PIPELOCK), ("etc/routes.yaml", ROUTES)] {
        let plan = world.plan(&id);
        let by_hand = format!("{text}# by hand\n");
        world.write(name, &by_hand);
        let problem = world.approve(&id, &plan).unwrap_err();
        assert!(problem.contains(&format!("{name} has been changed in the meantime")), "{problem}");
        assert_eq!(world.read(name), by_hand);
        world.write(name, text);
        assert_eq!(world.read("etc/pipelock.yaml"), PIPELOCK);
        assert_eq!(world.read("etc/routes.yaml"), ROUTES);
    }
    assert_eq!(world.read("init.log"), "");
}
