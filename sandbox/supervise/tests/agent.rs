//! What the server promises an agent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::net::TcpStream;

use harness::World;
use serde_json::{Value, json};
use test_support::until;

const TOOLS: [&str; 7] = [
    "list_allowed",
    "proposal_status",
    "propose_capability",
    "propose_egress_route",
    "propose_gitleaks_exception",
    "propose_pipelock_host",
    "sidecar_events",
];

#[test]
fn every_version_with_a_handshake_is_spoken() {
    let world = World::new();
    let server = world.serve();
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let answer = server.client().call(
            "initialize",
            json!({"protocolVersion": version, "capabilities": {},
                   "clientInfo": {"name": "test", "version": "1"}}),
        );
        assert_eq!(answer["result"]["protocolVersion"], version);
        assert_eq!(answer["result"]["serverInfo"]["name"], "supervise");
    }
}

#[test]
fn the_version_without_a_handshake_is_spoken() {
    let world = World::new();
    let server = world.serve();
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}});
    for (method, key) in [("server/discover", "supportedVersions"), ("tools/list", "tools")] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta}});
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        let (status, answer) = server.client().post(&headers, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(!answer["result"][key].as_array().unwrap().is_empty(), "{answer}");
    }
}

#[test]
fn the_tools_are_listed_with_their_schemas() {
    let world = World::new();
    let server = world.serve();
    let answer = server.client().call("tools/list", json!({}));
    let tools = answer["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, TOOLS);
    for tool in tools {
        let name = tool["name"].as_str().unwrap();
        assert!(tool["description"].as_str().unwrap().len() > 40, "{name}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{name}");
        let required = tool["inputSchema"]["required"].as_array().cloned().unwrap_or_default();
        let justified = required.contains(&Value::from("justification"));
        assert_eq!(justified, name.starts_with("propose_"), "{name}");
        let justification = &tool["inputSchema"]["properties"]["justification"];
        assert_eq!(justification.get("default"), None, "{name}");
    }
}

#[test]
fn a_proposal_waits_for_the_operator_and_the_retried_request_passes() {
    let mut world = World::new();
    world.set("SUPERVISE_WAIT", "60s");
    let server = world.serve();
    assert_eq!(world.proxies.ask_as_agent("api.example.com"), 403);
    let client = server.client();
    let waiting = std::thread::spawn(move || {
        let arguments = json!({"host": "api.example.com", "justification": "the build needs it",
            "methods": ["GET"], "paths": ["/v1/"],
            "auth": {"scheme": "bearer", "token_env": "EGRESS_TOKEN_1"}});
        client.tool("propose_egress_route", arguments)
    });
    let id = until("the proposal is in the queue", || {
        let list = world.json(&["list", "--json"]);
        list["proposals"][0]["id"].as_str().map(str::to_owned)
    });
    let said = world.operator(&["approve", &id, "--yes", "--note", "for this week"]);
    assert_eq!(said.code, 0, "{said:?}");
    let answer = waiting.join().unwrap();
    assert_eq!(answer["status"], "approved", "{answer}");
    assert_eq!(answer["note"], "for this week");
    assert_eq!(world.proxies.ask_as_agent("api.example.com"), 200);
    assert_eq!(
        world.read("etc/routes.yaml"),
        "routes:\n  - host: api.example.com\n    paths: [\"/v1/\"]\n    methods: [GET]\n    \
         auth: {scheme: bearer, token_env: EGRESS_TOKEN_1}\n"
    );
    assert_eq!(world.read("init.log"), "signal egress HUP\n");
    assert_eq!(server.client().status(&id)["status"], "approved");
    assert_eq!(world.audited(), ["proposed", "approving", "approved"]);
    until("it is archived", || {
        world.path(&format!("run/queue/archive/{id}.json")).exists().then_some(())
    });
    assert_eq!(server.client().status(&id)["status"], "approved");
    let allowed = server.client().tool("list_allowed", json!({}));
    assert_eq!(allowed["egress_source"], "egress");
    assert_eq!(allowed["egress_routes"][0]["host"], "api.example.com");
    server.stop();
}

#[test]
fn what_is_pending_survives_a_restart_and_is_proposed_once() {
    let world = World::new();
    let server = world.serve();
    let id = server.client().propose("api.example.com");
    assert_eq!(server.client().propose("api.example.com"), id);
    assert_eq!(world.audited(), ["proposed"]);
    let other = server.client().propose("other.example.com");
    assert_ne!(other, id);
    server.stop();
    assert_eq!(world.operator(&["reject", &other, "-n", "use the mirror"]).code, 0);
    let server = world.serve();
    assert_eq!(server.client().status(&id)["status"], "pending");
    assert_eq!(server.client().propose("api.example.com"), id);
    let answer = server.client().status(&other);
    assert_eq!(
        (&answer["status"], &answer["note"]),
        (&json!("rejected"), &json!("use the mirror"))
    );
    assert_ne!(server.client().propose("other.example.com"), other);
}

#[test]
fn two_agents_are_served_at_once() {
    let mut world = World::new();
    world.set("SUPERVISE_WAIT", "60s");
    let server = world.serve();
    let waiting: Vec<_> = ["one.example.com", "two.example.com", "one.example.com"]
        .map(|host| {
            let client = server.client();
            std::thread::spawn(move || {
                let arguments = json!({"host": host, "justification": "x"});
                client.tool("propose_pipelock_host", arguments)
            })
        })
        .into();
    let pending = until("both are in the queue", || {
        let list = world.json(&["list", "--json"])["proposals"].as_array().unwrap().clone();
        (list.len() == 2).then_some(list)
    });
    for proposal in pending {
        assert_eq!(world.operator(&["reject", proposal["id"].as_str().unwrap()]).code, 0);
    }
    for thread in waiting {
        assert_eq!(thread.join().unwrap()["status"], "rejected");
    }
}

#[test]
fn term_answers_those_who_wait() {
    let mut world = World::new();
    world.set("SUPERVISE_WAIT", "1h");
    let server = world.serve();
    // A connection that says nothing must not hold it up either.
    let _silent = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let client = server.client();
    let waiting = std::thread::spawn(move || {
        client.tool("propose_pipelock_host", json!({"host": "a.example.com", "justification": "x"}))
    });
    until("it is in the queue", || {
        (!world.json(&["list", "--json"])["proposals"].as_array()?.is_empty()).then_some(())
    });
    server.terminate();
    assert_eq!(waiting.join().unwrap()["status"], "pending");
    assert_eq!(server.wait(), 0);
}

#[test]
fn only_known_names_are_answered_and_no_browser() {
    let mut world = World::new();
    let server = world.serve();
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let status =
        |server: &harness::Server, headers: &[(&str, &str)]| server.client().post(headers, &ping).0;
    for host in ["supervise", "supervise:9100", "localhost:9100", "127.0.0.1", "[::1]:9100"] {
        assert_eq!(status(&server, &[("host", host)]), 200, "{host}");
    }
    for host in ["evil.example", "supervise.evil.example", "127.0.0.1.evil.example:9100"] {
        assert_eq!(status(&server, &[("host", host)]), 403, "{host}");
    }
    assert_eq!(status(&server, &[("origin", "http://localhost")]), 403);
    server.stop();
    world.set("SUPERVISE_HOSTS", "agent-desk:9100");
    let server = world.serve();
    assert_eq!(status(&server, &[("host", "agent-desk:9100")]), 200);
    assert_eq!(status(&server, &[("host", "agent-desk:9101")]), 403);
    assert_eq!(status(&server, &[("host", "supervise")]), 403);
}

#[test]
fn sizes_are_bounded() {
    let world = World::new();
    let server = world.serve();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params":
        {"x": "a".repeat(200 * 1024)}});
    assert_eq!(server.client().post(&[], &body.to_string()).0, 413);
    let long = "a".repeat(2001);
    let error = server
        .client()
        .refusal("propose_pipelock_host", json!({"host": "a.example.com", "justification": long}));
    assert_eq!(error, "justification: it is 2001 bytes long, at most 2000 are taken");
    let error = server
        .client()
        .refusal("propose_capability", json!({"change": "a".repeat(16385), "justification": "x"}));
    assert!(error.starts_with("change: it is 16385 bytes long"), "{error}");
    assert!(world.read("run/audit.jsonl").is_empty());
}

#[test]
fn the_number_of_proposals_is_bounded_across_restarts() {
    let mut world = World::new();
    world.set("SUPERVISE_MAX_PENDING", "2");
    world.set("SUPERVISE_MAX_PER_HOUR", "3");
    let server = world.serve();
    let first = server.client().propose("a.example.com");
    server.client().propose("b.example.com");
    let propose = json!({"host": "c.example.com", "justification": "x"});
    let error = server.client().refusal("propose_pipelock_host", propose.clone());
    assert!(error.starts_with("2 proposals wait for the operator"), "{error}");
    // The same one again is no new one.
    assert_eq!(server.client().propose("a.example.com"), first);
    assert_eq!(world.operator(&["reject", &first]).code, 0);
    let third = server.client().propose("c.example.com");
    assert_eq!(world.operator(&["reject", &third]).code, 0);
    server.stop();
    let server = world.serve();
    let error = server.client().refusal("propose_pipelock_host", propose);
    assert!(error.starts_with("3 proposals came within the last hour"), "{error}");
}

#[test]
fn bad_proposals_are_refused_with_a_word_on_why() {
    let world = World::new();
    world.write("etc/routes.yaml", "routes:\n  - host: a.example.com\n    paths: [/v1/]\n");
    world.write("etc/pipelock.yaml", "api_allowlist: [a.example.com]\n");
    let server = world.serve();
    let auth = |name: &str| json!({"scheme": "bearer", "token_env": name});
    let cases = [
        (json!({"host": "10.0.0.1"}), "addresses are not allowed"),
        (json!({"host": "pipelock"}), "a name without a dot"),
        (json!({"host": "*.com"}), "too broad"),
        (json!({"host": "b.example.com", "paths": ["v1"]}), "begin with /"),
        (json!({"host": "b.example.com", "methods": ["BREW"]}), "one of GET"),
        (json!({"host": "b.example.com", "auth": auth("PATH")}), "EGRESS_TOKEN_"),
        (json!({"host": "b.example.com", "token": "x"}), "unknown field"),
        (json!({"host": "b.example.com", "justification": " "}), "it is empty"),
        (json!({"host": "b.example.com", "justification": null}), "expected a string"),
        (json!({"host": "a.example.com", "paths": ["/v1/"]}), "allowed already"),
        (json!({"host": "a.example.com", "paths": ["/v1/"], "methods": ["GET"]}), "is missing"),
        (
            json!({"host": "a.example.com", "paths": ["/v1/x"], "methods": ["GET"]}),
            "allowed already",
        ),
        (json!({"host": "A.example.com.", "paths": ["/%76%31/"]}), "allowed already"),
        (json!({"host": "a.example.com", "paths": ["//x/..//v1/."]}), "allowed already"),
        (json!({"host": "a.example.com", "paths": ["/%76%32/"]}), "no % escapes"),
        (json!({"host": "*.amazonaws.com"}), "too broad"),
        (json!({"host": "10.0.0.1.nip.io"}), "addresses are not allowed"),
    ];
    for (mut arguments, expected) in cases {
        if arguments.get("justification").is_none() {
            arguments["justification"] = json!("x");
        }
        let error = server.client().refusal("propose_egress_route", arguments.clone());
        assert!(error.contains(expected), "{arguments}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let listed = json!({"host": "a.example.com", "justification": "x"});
    let error = server.client().refusal("propose_pipelock_host", listed);
    assert!(error.contains("allowed already"), "{error}");
    for (tool, arguments) in [
        ("propose_egress_route", json!({"host": "b.example.com"})),
        ("propose_pipelock_host", json!({"host": "b.example.com"})),
        ("propose_capability", json!({"change": "RUN true"})),
        (
            "propose_gitleaks_exception",
            json!({"repository": "app", "fingerprint": format!("r:a.py:{}", "ab".repeat(32))}),
        ),
    ] {
        let error = server.client().refusal(tool, arguments);
        assert!(error.starts_with("justification: it is empty; say something"), "{tool}: {error}");
    }
    let finding = json!({"repository": "../x", "fingerprint": "x", "justification": "x"});
    let error = server.client().refusal("propose_gitleaks_exception", finding);
    assert!(error.contains("repository"), "{error}");
    for id in ["", "../../etc", "aaaaaaaa"] {
        let error = server.client().refusal("proposal_status", json!({"id": id}));
        assert!(error.contains("no id of a proposal") || error.contains("no proposal"), "{error}");
    }
    assert_eq!(world.json(&["list", "--json"])["proposals"], json!([]));
}

#[test]
fn damaged_files_are_reported_and_skipped() {
    let world = World::new();
    world.serve().stop();
    world.write("run/queue/aaaaaaaa.json", "{\x1b[2J");
    world.write("run/queue/stray", "x");
    let server = world.serve();
    assert_eq!(server.early.len(), 2, "{:?}", server.early);
    assert!(server.early[0].contains("skipped: ") && server.early[0].contains("aaaaaaaa.json"));
    let id = server.client().propose("api.example.com");
    let list = world.json(&["list", "--json"]);
    assert_eq!(list["problems"].as_array().unwrap().len(), 2);
    assert_eq!(list["proposals"][0]["id"], id);
    // A decision that can't be read is no approval.
    world.write(&format!("run/queue/{id}.decision.json"), r#"{"verdict":"approved"}"#);
    let error = server.client().refusal("proposal_status", json!({"id": id}));
    assert!(error.contains("decision.json"), "{error}");
}

#[test]
fn a_queue_with_more_files_than_there_can_be_is_refused_to_both() {
    let world = World::new();
    let server = world.serve();
    let id = server.client().propose("api.example.com");
    // Beside, so that the server does not look into the queue after each of them.
    std::fs::create_dir(world.path("run/full")).unwrap();
    for number in 0..=4096 {
        world.write(&format!("run/full/stray-{number}"), "");
    }
    let proposal = format!("{id}.json");
    std::fs::rename(world.path("run/queue").join(&proposal), world.path("run/full").join(proposal))
        .unwrap();
    std::fs::rename(world.path("run/queue"), world.path("run/before")).unwrap();
    std::fs::rename(world.path("run/full"), world.path("run/queue")).unwrap();
    let told = "/run/queue/: more than 4096 files are in it; no proposal or decision is accepted until the \
                operator has removed those that do not belong there";
    let arguments = json!({"host": "late.example.com", "justification": "x", "wait_seconds": 0});
    let error = server.client().refusal("propose_egress_route", arguments);
    assert!(error.contains(told), "{error}");
    for command in [&["list"][..], &["approve", &id, "--yes"]] {
        let said = world.operator(command);
        assert!(said.code != 0 && said.stderr.contains(told), "{said:?}");
    }
    // What is known by its id is still told.
    let status = server.client().tool("proposal_status", json!({"id": id}));
    assert_eq!(status["status"], "pending");
}

#[test]
fn what_is_allowed_is_told_without_the_proxy_too() {
    let mut world = World::new();
    world.write(
        "etc/routes.yaml",
        "routes: [{host: a.example.com, auth: \
        {scheme: token, token_env: EGRESS_TOKEN_1}}]\n",
    );
    world.write("etc/pipelock.yaml", "mode: strict\napi_allowlist: [a.example.com]\n");
    world.write("etc/approved-fingerprints", "# ours\napp rule:path:hash\n");
    world.set("SUPERVISE_EGRESS_ADDRESS", "127.0.0.1:1");
    let server = world.serve();
    let allowed = server.client().tool("list_allowed", json!({}));
    assert_eq!(allowed["egress_source"], "file");
    assert_eq!(allowed["egress_routes"][0]["auth"]["token_env"], "EGRESS_TOKEN_1");
    assert_eq!(allowed["pipelock_hosts"], json!(["a.example.com"]));
    assert_eq!(allowed["gitleaks_exceptions"], json!(["app rule:path:hash"]));
    assert!(allowed["problems"][0].as_str().unwrap().contains("127.0.0.1:1"));
}

#[test]
fn events_of_the_init_are_told() {
    let world = World::new();
    let server = world.serve();
    assert_eq!(server.client().tool("sidecar_events", json!({}))["events"], json!([]));
    world.write(
        "run/events.jsonl",
        "{\"time\":\"t1\",\"event\":\"started\",\"service\":\"egress\"}\n\
         {\"time\":\"t2\",\"event\":\"exited\",\"service\":\"egress\",\"code\":3}\nnonsense\n",
    );
    let failures = server.client().tool("sidecar_events", json!({}));
    let exited = json!({"time": "t2", "event": "exited", "service": "egress", "code": 3});
    assert_eq!(failures["events"], json!([exited]));
    let all = server.client().tool("sidecar_events", json!({"all": true, "limit": 1000}));
    assert_eq!(all["events"].as_array().unwrap().len(), 2);
    let none = server.client().tool("sidecar_events", json!({"service": "pipelock"}));
    assert_eq!(none["events"], json!([]));
}

#[test]
fn health_is_told_and_streams_are_declined() {
    let world = World::new();
    let server = world.serve();
    let get = |path: &str, accept: &str| {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let agent = ureq::Agent::new_with_config(config);
        let mut answer = agent.get(server.url(path)).header("accept", accept).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    assert_eq!(get("/", "*/*"), (200, "ok, 0 pending\n".to_owned()));
    server.client().propose("a.example.com");
    assert_eq!(get("/health", "*/*"), (200, "ok, 1 pending\n".to_owned()));
    assert_eq!(get("/", "text/event-stream").0, 405);
    assert_eq!(get("/mcp", "text/event-stream").0, 405);
    std::fs::rename(world.path("run/queue"), world.path("run/elsewhere")).unwrap();
    assert_eq!(get("/", "*/*").0, 503);
}

#[test]
fn a_wrong_setting_or_an_unwritable_log_stops_the_server_at_once() {
    let mut world = World::new();
    world.set("SUPERVISE_AUDIT_FILE", "/nonexistent/audit.jsonl");
    let said = world.operator(&["serve"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.starts_with("supervise: audit log /nonexistent/audit.jsonl: "), "{said:?}");
    world.set("SUPERVISE_WAIT", "soon");
    let said = world.operator(&["serve"]);
    assert_eq!(said.code, 78);
    assert!(said.stderr.starts_with("supervise: SUPERVISE_WAIT=\"soon\""), "{said:?}");
    assert_eq!(world.operator(&["serve", "--fast"]).code, 64);
}
