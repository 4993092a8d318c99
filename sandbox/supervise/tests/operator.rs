//! What the operator's commands promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use harness::{Said, World};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use test_support::programs::has;
use test_support::until;

const ROUTES: &str = "# ours\nroutes:\n  # the mirror\n  - host: mirror.example.com\n    \
                      auth: {scheme: basic, token_env: EGRESS_TOKEN_1}\n";

#[test]
fn show_prints_exactly_what_approve_then_changes() {
    let world = World::new();
    world.write("etc/routes.yaml", ROUTES);
    let id = world.serve().client().propose("api.example.com");
    let shown = world.operator(&["show", &id]);
    let path = world.path("etc/routes.yaml");
    let diff = format!(
        "\n--- {0}\n+++ {0}\n@@ -3,3 +3,6 @@\n   # the mirror\n   - host: mirror.example.com\n     \
         auth: {{scheme: basic, token_env: EGRESS_TOKEN_1}}\n+  - host: api.example.com\n\
         +    paths: [\"/v1/\"]\n+    methods: [GET]\n",
        path.display()
    );
    assert!(shown.stdout.ends_with(&diff), "{}", shown.stdout);
    assert!(shown.stdout.starts_with(&format!("proposal {id} pending: egress route\n")));
    assert_eq!(world.json(&["show", &id, "--json"])["changes"][0]["diff"], diff[1..]);
    assert_eq!(world.read("etc/routes.yaml"), ROUTES);
    // By the beginning of its id.
    let said = world.operator(&["approve", &id[..6], "--yes"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains(&diff), "{said:?}");
    let added = "  - host: api.example.com\n    paths: [\"/v1/\"]\n    methods: [GET]\n";
    assert_eq!(world.read("etc/routes.yaml"), format!("{ROUTES}{added}"));
    assert_eq!(world.operator(&["approve", &id, "--yes"]).stderr, {
        format!("supervise: proposal {id} has been approved already\n")
    });
    assert_eq!(world.operator(&["show", "zzzzzzzz"]).code, 1);
}

#[test]
fn only_what_was_shown_is_approved() {
    let world = World::new();
    world.write("etc/routes.yaml", ROUTES);
    let id = world.serve().client().propose("api.example.com");
    let digest = world.json(&["show", &id, "--json"])["digest"].as_str().unwrap().to_owned();
    assert!(world.operator(&["show", &id]).stdout.contains(&format!("\n  digest    {digest}\n")));
    let refused = |what: &str| {
        let said = world.operator(&["approve", &id, "--yes", "--expect", &digest]);
        assert_eq!((said.code, &*said.stdout), (1, ""), "{what}: {said:?}");
        let told = format!("look again with supervise show {id}");
        assert!(said.stderr.starts_with("supervise: nothing was done: "), "{what}: {said:?}");
        assert!(said.stderr.contains(&told), "{what}: {said:?}");
        assert_eq!(world.read("init.log"), "", "{what}");
    };
    world.write("etc/routes.yaml", &format!("# new\n{ROUTES}"));
    refused("a file");
    world.write("etc/routes.yaml", ROUTES);
    let name = format!("run/queue/{id}.json");
    let good = world.read(&name);
    // As a server in the wrong hands could do it.
    for (from, to) in [("api.example.com", "evil.example.com"), ("needs it", "wants it")] {
        assert!(good.contains(from));
        world.write(&name, &good.replace(from, to));
        refused(to);
    }
    world.write(&name, &good);
    let said = world.operator(&["approve", &id, "--yes", "--expect", &digest]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn nobody_but_an_operator_can_hold_the_lock() {
    let world = World::new();
    world.write("etc/routes.yaml", ROUTES);
    let id = world.serve().client().propose("api.example.com");
    // As a server in the wrong hands could: it may open all of this.
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    let names = ["run", "run/queue", "run/queue/archive", "run/audit.jsonl"];
    let held = names.map(|name| std::fs::File::open(world.path(name)).unwrap());
    for file in &held {
        rustix::fs::flock(file, exclusive).unwrap();
    }
    world.write("refuse", "");
    let said = world.operator(&["approve", &id, "--yes"]);
    assert!(said.stderr.contains("no such service"), "{said:?}");
    std::fs::remove_file(world.path("refuse")).unwrap();
    let mode = |mode| PermissionsExt::from_mode(mode);
    std::fs::set_permissions(world.path("lock"), mode(0o640)).unwrap();
    let said = world.operator(&["reject", &id]);
    assert!(said.code == 1 && said.stderr.contains("others can open it"), "{said:?}");
    assert!(said.stderr.contains("SUPERVISE_LOCK_FILE names"), "{said:?}");
    std::fs::set_permissions(world.path("lock"), mode(0o600)).unwrap();
    assert_eq!(world.operator(&["approve", &id, "--yes"]).code, 0);
}

#[test]
fn what_nobody_can_be_asked_about_is_not_approved() {
    let world = World::new();
    world.write("etc/routes.yaml", ROUTES);
    let id = world.serve().client().propose("api.example.com");
    for (arguments, expected) in [
        (
            &["approve", &id][..],
            "there is no terminal for a confirmation; use docker exec -it, or --yes",
        ),
        (&["approve", &id, "--json"], "--json does not ask; give --yes"),
    ] {
        let said = world.operator(arguments);
        assert_eq!((said.code, &*said.stdout), (64, ""), "{said:?}");
        assert_eq!(said.stderr, format!("supervise: nothing was done: {expected}\n"));
    }
    assert_eq!(world.read("etc/routes.yaml"), ROUTES);
    assert_eq!(world.audited(), ["proposed"]);
}

/// Approves, and asserts that it fails with these words and leaves everything as it was.
fn assert_fails_and_restores(world: &World, id: &str, expected: &str) {
    let said = world.operator(&["approve", id, "--yes"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains(expected), "{expected}: {said:?}");
    assert!(said.stderr.ends_with("; the proposal stays pending\n"), "{said:?}");
    assert!(!said.stderr.contains('\x1b'), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    assert_eq!(world.read("etc/routes.yaml"), ROUTES);
    assert_eq!(std::fs::read_dir(world.path("etc")).unwrap().count(), 1, "nothing is left over");
    assert_eq!(world.json(&["list", "--json"])["proposals"][0]["id"], id);
    assert_eq!(world.audited().last().unwrap(), "approval-failed");
}

#[test]
fn a_reload_that_fails_brings_the_old_file_back() {
    let mut world = World::new();
    world.write("etc/routes.yaml", ROUTES);
    let id = world.serve().client().propose("api.example.com");
    world.write("refuse", "");
    assert_fails_and_restores(&world, &id, "no such service\\u{1b}[2J; ");
    std::fs::remove_file(world.path("refuse")).unwrap();

    world.set("SUPERVISE_RELOAD_TIMEOUT", "300ms");
    world.write("ignore", "");
    assert_fails_and_restores(&world, &id, "egress does not list the new route: its log says why");
    std::fs::remove_file(world.path("ignore")).unwrap();

    world.set("SUPERVISE_EGRESS_ADDRESS", "127.0.0.1:1");
    assert_fails_and_restores(&world, &id, "127.0.0.1:1");
    // The proxy that had read the new file has read the old one again.
    assert_eq!(world.read("egress.loaded"), ROUTES);

    world.set("SUPERVISE_EGRESS_ADDRESS", &world.proxies.egress.clone());
    world.set("SIDECAR_INIT", "/nonexistent/sidecar-init");
    assert_fails_and_restores(&world, &id, "SIDECAR_INIT says where the init is");

    let init = world.proxies.init.to_str().unwrap().to_owned();
    world.set("SIDECAR_INIT", &init);
    world.set("SUPERVISE_RELOAD_TIMEOUT", "20s");
    let said = world.operator(&["approve", &id, "--yes"]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_wildcard_that_pipelock_does_not_take_up_is_not_approved() {
    let mut world = World::new();
    world.write("etc/pipelock.yaml", "api_allowlist: [example.com]\n");
    let arguments = json!({"host": "*.example.com", "justification": "x"});
    let answer = world.serve().client().tool("propose_pipelock_host", arguments);
    world.set("SUPERVISE_RELOAD_TIMEOUT", "300ms");
    world.write("ignore", "");
    let said = world.operator(&["approve", answer["id"].as_str().unwrap(), "--yes"]);
    assert!(said.code == 1 && said.stderr.contains("pipelock still refuses: "), "{said:?}");
    assert_eq!(world.read("etc/pipelock.yaml"), "api_allowlist: [example.com]\n");
}

#[test]
fn what_was_changed_after_it_was_shown_stays_so() {
    let world = World::new();
    world.write("etc/routes.yaml", ROUTES);
    let id = world.serve().client().propose("api.example.com");
    let plan = world.plan(&id);
    let by_hand = ROUTES.replace("mirror", "cache");
    world.write("etc/routes.yaml", &by_hand);
    let problem = world.approve(&id, &plan).unwrap_err();
    assert!(problem.contains("routes.yaml has been changed in the meantime; "), "{problem}");
    assert_eq!(world.read("etc/routes.yaml"), by_hand);
    assert_eq!(world.read("init.log"), "");
    assert_eq!(world.audited().last().unwrap(), "approval-failed");
}

#[test]
fn an_approval_that_is_interrupted_brings_the_old_file_back() {
    let mut world = World::new();
    world.write("etc/routes.yaml", ROUTES);
    let id = world.serve().client().propose("api.example.com");
    world.set("SUPERVISE_RELOAD_TIMEOUT", "1h");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        // egress never comes to list the route, so the approval waits.
        world.write("ignore", "");
        std::fs::remove_file(world.path("init.log")).unwrap_or_default();
        let mut command = world.command(&[], &["approve", &id, "--yes"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        until("the init is asked to reload", || world.read("init.log").lines().next().map(drop));
        assert_ne!(world.read("etc/routes.yaml"), ROUTES);
        rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
        until("the approval ends", || child.try_wait().unwrap());
        let said = Said::of(child.wait_with_output().unwrap());
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.stderr.contains("interrupted; ") && said.stderr.contains("restored"));
        assert_eq!(world.read("etc/routes.yaml"), ROUTES);
    }
    assert_eq!(world.json(&["list", "--json"])["proposals"][0]["status"], "pending");
}

#[test]
fn what_can_not_be_noted_is_not_done() {
    let mut world = World::new();
    world.write("etc/routes.yaml", ROUTES);
    let id = world.serve().client().propose("api.example.com");
    world.set("SUPERVISE_AUDIT_FILE", "/nonexistent/audit.jsonl");
    for arguments in [&["approve", &id, "--yes"][..], &["reject", &id]] {
        let said = world.operator(arguments);
        assert_eq!(said.code, 1);
        assert!(said.stderr.contains("audit log /nonexistent/audit.jsonl"), "{said:?}");
    }
    assert_eq!(world.read("etc/routes.yaml"), ROUTES);
    assert_eq!(world.json(&["list", "--json"])["proposals"][0]["status"], "pending");
}

#[test]
fn a_file_that_is_a_mount_of_its_own_is_written_in_place() {
    if !test_support::notices::is_root() {
        return;
    }
    let world = World::new();
    world.write("host.yaml", ROUTES);
    world.write("etc/routes.yaml", "");
    let id = world.serve().client().propose("api.example.com");
    let (host, mounted) = (world.path("host.yaml"), world.path("etc/routes.yaml"));
    let script =
        format!("mount --bind {} {} && exec \"$0\" \"$@\"", host.display(), mounted.display());
    let through = ["unshare", "--mount", "sh", "-c", &script];
    let said = Said::of(world.command(&through, &["approve", &id, "--yes"]).output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    // The mount's own file has changed, and the place it was mounted over has not.
    assert!(world.read("host.yaml").starts_with(ROUTES));
    assert!(world.read("host.yaml").contains("api.example.com"));
    assert_eq!(world.read("etc/routes.yaml"), "");
}

#[test]
fn root_without_capabilities_and_the_servers_user_work_together() {
    if !test_support::notices::is_root() || !has("setpriv") {
        return;
    }
    let world = World::new();
    world.write("etc/routes.yaml", ROUTES);
    let owner = |path: &str, owner: &str, mode: &str| {
        for (program, argument) in [("chown", owner), ("chmod", mode)] {
            let status =
                std::process::Command::new(program).arg(argument).arg(world.path(path)).status();
            assert!(status.unwrap().success());
        }
    };
    owner("", "0:0", "755");
    owner("run", "904:0", "2770");
    owner("etc/routes.yaml", "0:901", "640");
    let user = ["setpriv", "--reuid=904", "--regid=904", "--clear-groups", "--no-new-privs"];
    let bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"];
    let server = harness::Server::start(&mut world.command(&user, &["serve"]));
    let id = server.client().propose("api.example.com");
    let said = Said::of(world.command(&bare, &["approve", &id, "--yes"]).output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(server.client().status(&id)["status"], "approved");
    until("the server archives what root has written", || {
        world.path(&format!("run/queue/archive/{id}.decision.json")).exists().then_some(())
    });
    let status = std::process::Command::new("stat")
        .args(["-c", "%u:%g %a"])
        .arg(world.path("etc/routes.yaml"))
        .output();
    assert_eq!(Said::of(status.unwrap()).stdout, "0:901 640\n");
}

#[test]
fn every_kind_is_carried_out() {
    let world = World::new();
    world.write("etc/pipelock.yaml", "mode: strict\napi_allowlist: [\"a.example.com\"] # ours\n");
    let server = world.serve();
    let propose = |tool: &str, mut arguments: Value| {
        arguments["justification"] = json!("x");
        server.client().tool(tool, arguments)["id"].as_str().unwrap().to_owned()
    };
    let fingerprint = format!("aws-access-token:src/a.py:{}", "ab".repeat(32));
    let finding = json!({"repository": "app", "fingerprint": fingerprint});
    let ids = [
        propose("propose_pipelock_host", json!({"host": "b.example.com"})),
        propose("propose_pipelock_host", json!({"host": "*.example.org"})),
        propose("propose_gitleaks_exception", finding),
        propose("propose_capability", json!({"change": "RUN apt-get install -y jq"})),
    ];
    for id in &ids {
        let said = world.operator(&["approve", id, "--yes", "--json"]);
        assert_eq!(said.code, 0, "{said:?}");
        let answer: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(answer, json!({"id": id, "status": "approved"}));
        assert_eq!(server.client().status(id)["status"], "approved");
    }
    assert_eq!(
        world.read("etc/pipelock.yaml"),
        "mode: strict\napi_allowlist: [\"a.example.com\", b.example.com, \"*.example.org\"] # ours\n"
    );
    assert_eq!(world.read("etc/approved-fingerprints"), format!("app {fingerprint}\n"));
    assert_eq!(world.read("init.log"), "signal pipelock HUP\n".repeat(2));
    let answer = server.client().status(&ids[3]);
    assert!(answer["message"].as_str().unwrap().contains("rebuild your image"), "{answer}");
    assert_eq!(world.json(&["list", "--json", "--all"])["proposals"].as_array().unwrap().len(), 4);
}

#[test]
fn what_the_file_says_already_is_only_reloaded() {
    let world = World::new();
    let id = world.serve().client().propose("api.example.com");
    let by_hand = "routes:\n- {host: api.example.com, paths: [/v1/], methods: [GET]}\n";
    world.write("etc/routes.yaml", by_hand);
    let said = world.operator(&["approve", &id, "--yes"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("has this already"), "{said:?}");
    assert_eq!(world.read("etc/routes.yaml"), by_hand);
}

#[test]
fn a_change_that_can_not_be_made_is_told() {
    let world = World::new();
    let id = world.serve().client().propose("api.example.com");
    for (text, expected) in [
        ("routes: [oops\n", "line "),
        ("routes: {}\n", "line 1: `routes` is no list"),
        ("routes: &all [{host: a.example.com}]\n", "can't be changed safely"),
        ("routes: [{host: api.example.com, paths: [/v1/]}]\n", "a route for GET /v1/ already"),
    ] {
        world.write("etc/routes.yaml", text);
        let said = world.operator(&["approve", &id, "--yes"]);
        assert_eq!(said.code, 1);
        assert!(said.stderr.contains(expected) && said.stderr.contains("routes.yaml"), "{said:?}");
        assert!(world.operator(&["show", &id]).stdout.contains("can't be done: "));
        assert_eq!(world.read("etc/routes.yaml"), text);
    }
    assert_eq!(world.read("init.log"), "");
}

#[test]
fn a_forged_file_in_the_queue_is_not_approved() {
    // As a server in the wrong hands could write it.
    let world = World::new();
    let id = world.serve().client().propose("api.example.com");
    let name = format!("run/queue/{id}.json");
    let good = world.read(&name);
    for (from, to) in [
        ("api.example.com", "api.example.com\\\"\\n  - host: \\\"*.com"),
        ("api.example.com", "*.com"),
        ("/v1/", "/v1/\\\"]"),
        ("GET", "CONNECT"),
        (id.as_str(), "aaaaaaaa"),
    ] {
        assert!(good.contains(from));
        world.write(&name, &good.replace(from, to));
        let said = world.operator(&["approve", &id, "--yes"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert_eq!(world.read("etc/routes.yaml"), "");
        assert_eq!(world.json(&["list", "--json"])["problems"].as_array().unwrap().len(), 1);
    }
    // Neither is one that lies elsewhere.
    world.write("elsewhere.json", &good);
    std::fs::remove_file(world.path(&name)).unwrap();
    std::os::unix::fs::symlink(world.path("elsewhere.json"), world.path(&name)).unwrap();
    assert_eq!(world.operator(&["approve", &id, "--yes"]).code, 1);
    assert_eq!(world.read("init.log"), "");
}

#[test]
fn two_operators_do_not_decide_at_once() {
    let world = World::new();
    let id = world.serve().client().propose("api.example.com");
    let lock = supervise::decide::lock(&world.settings()).unwrap();
    let said = world.operator(&["approve", &id, "--yes"]);
    assert!(said.stderr.contains("another approve or reject is at work"), "{said:?}");
    drop(lock);
    assert_eq!(world.operator(&["approve", &id, "--yes"]).code, 0);
}

#[test]
fn a_link_in_the_place_of_the_queue_is_not_followed() {
    // As a server in the wrong hands could put it there, for root to follow.
    let mut world = World::new();
    let id = world.serve().client().propose("api.example.com");
    std::fs::rename(world.path("run/queue"), world.path("etc/queue")).unwrap();
    std::os::unix::fs::symlink(world.path("etc/queue"), world.path("run/queue")).unwrap();
    for end in ["", "/", "/."] {
        let queue = format!("{}{end}", world.path("run/queue").display());
        world.set("SUPERVISE_QUEUE_DIR", &queue);
        refuses_the_link(&world, &id);
    }
}

fn refuses_the_link(world: &World, id: &str) {
    for arguments in
        [&["list"][..], &["show", id], &["approve", id, "--yes"], &["reject", id], &["watch"]]
    {
        let said = world.operator(arguments);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.stderr.contains("it is a symbolic link"), "{said:?}");
    }
    assert_eq!(std::fs::read_dir(world.path("etc/queue")).unwrap().count(), 2);
    assert_eq!(world.read("etc/routes.yaml"), "");
}
