//! What the agent asks for and what the operator decides, by the published clients of MCP.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use serde_json::{Value, json};

use crate::docker::docker;
use crate::running::Running;
use crate::world::{FIRST_START, Said, Setup, TOKEN, World, is_there, kill, waiting};

/// Calls tools in one conversation, each as `[NAME, ARGUMENTS]`, and prints an answer a line.
const PYTHON_CLIENT: &str = r#"
import asyncio, json, sys
from mcp import Client

async def main():
    async with Client("http://supervise:9100/") as client:
        for name, arguments in json.loads(sys.argv[1]):
            answer = await client.call_tool(name, arguments)
            text = " ".join(part.text for part in answer.content)
            print(json.dumps(answer.structured_content or {"error": text}))

asyncio.run(main())
"#;

/// The answers of tools, by the client of Python.
fn calls(world: &World, calls: &Value) -> Vec<Value> {
    let said = world.agent_python(PYTHON_CLIENT, &[&calls.to_string()]);
    assert_eq!(said.code, 0, "{said:?} {}", world.sidecars.stderr());
    said.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn call(world: &World, tool: &str, arguments: &Value) -> Value {
    calls(world, &json!([[tool, arguments]])).remove(0)
}

/// The answer of a tool, by the inspector.
fn inspect(world: &World, tool: &str, arguments: &Value) -> Value {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let given: Vec<String> = arguments
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect();
    // With Debian's Node 20 it can't heed these, and ends.
    let mut command = vec!["env", "-u", "HTTP_PROXY", "-u", "HTTPS_PROXY", "-u", "http_proxy"];
    command.extend(["-u", "https_proxy", "mcp-inspector", "--cli", "http://supervise:9100/mcp"]);
    command.extend(["--transport", "http", "--method", "tools/call", "--tool-name", tool]);
    command.extend(given.iter().flat_map(|argument| ["--tool-arg", argument]));
    let said = world.agent(&command);
    assert_eq!(said.code, 0, "{said:?}");
    let answer: Value = serde_json::from_str(&said.stdout).expect(&said.stdout);
    answer["structuredContent"].clone()
}

/// What egress says to a request that it denies.
fn denial(world: &World, url: &str) -> Value {
    let said = world.curl(&[url]);
    let body = said.stdout.strip_suffix("\n403").unwrap_or_else(|| panic!("not denied: {said:?}"));
    serde_json::from_str(body).expect(body)
}

/// The arguments that a denial says to propose, with what they need besides.
fn wanted(denial: &Value) -> Value {
    let text = denial["how_to_ask"].as_str().unwrap();
    let (start, end) = (text.find('{').unwrap(), text.rfind('}').unwrap());
    let mut arguments: Value = serde_json::from_str(&text[start..=end]).expect(text);
    arguments["justification"] = json!("the build needs it");
    arguments["wait_seconds"] = json!(0);
    arguments
}

fn route(host: &str) -> Value {
    json!({"host": host, "paths": ["/v1/"], "justification": "for a test", "wait_seconds": 0})
}

fn id(answer: &Value) -> &str {
    answer["id"].as_str().unwrap_or_else(|| panic!("no proposal: {answer}"))
}

fn supervise(world: &World, arguments: &[&str]) -> Said {
    world.operator(&[&["supervise"], arguments].concat())
}

/// The same, and it has to succeed.
fn done(world: &World, arguments: &[&str]) -> String {
    let said = supervise(world, arguments);
    assert_eq!(said.code, 0, "{said:?} {:?}", world.egress_log());
    said.stdout
}

#[test]
fn a_refused_path_is_proposed_approved_and_passes() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let file = world.setup.path("egress/routes.yaml");
    let before = fs::read_to_string(&file).unwrap();
    let url = "https://api.example.com/v2/data?page=1";
    let arguments = wanted(&denial(&world, url));
    let proposed = call(&world, "propose_egress_route", &arguments);
    assert_eq!(proposed["status"], "pending", "{proposed}");
    let id = id(&proposed);

    let listed = done(&world, &["list"]);
    assert!(listed.contains(&format!("{id}  pending")), "{listed}");
    assert!(listed.contains("egress route: GET api.example.com /v2/data"), "{listed}");
    let shown = done(&world, &["show", &id[..4]]);
    assert!(shown.contains("| the build needs it"), "{shown}");
    assert!(shown.contains("+++ /etc/egress/routes.yaml\n"), "{shown}");
    assert!(shown.contains("+  - host: api.example.com\n+    paths: [\"/v2/data\"]"), "{shown}");
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    denial(&world, url);

    let approved = done(&world, &["approve", id, "--yes", "--note", "until the release"]);
    assert!(approved.contains("approved: in force"), "{approved}");
    let after = fs::read_to_string(&file).unwrap();
    assert_eq!(
        after.strip_prefix(&before).unwrap(),
        "  - host: api.example.com\n    paths: [\"/v2/data\"]\n    methods: [GET]\n"
    );
    assert_eq!(world.curl(&[url]).stdout, "reached /v2/data\n\n200");
    assert_eq!(denial(&world, "https://api.example.com/v3/")["reason"], "no-route-for-path");

    let answers = calls(
        &world,
        &json!([
            ["proposal_status", {"id": id}],
            ["propose_egress_route", arguments],
            ["list_allowed", {}],
        ]),
    );
    assert_eq!(answers[0]["status"], "approved");
    assert_eq!(answers[0]["note"], "until the release");
    assert!(answers[1]["error"].as_str().unwrap().contains("allowed already"), "{answers:?}");
    assert_eq!(answers[2]["egress_source"], "egress");
    assert_eq!(answers[2]["egress_routes"][2]["paths"], json!(["/v2/data"]));
}

#[test]
fn the_inspector_asks_once_for_a_host_that_neither_proxy_knows() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let url = "http://late.example.com/v1/things";
    let refused = denial(&world, url);
    assert_eq!(refused["reason"], "no-route-for-host");
    let proposed = inspect(&world, "propose_egress_route", &wanted(&refused));
    assert_eq!(proposed["status"], "pending", "{proposed}");
    let id = id(&proposed);
    let shown = done(&world, &["show", id]);
    assert!(shown.contains("+++ /etc/pipelock/pipelock.yaml\n"), "{shown}");
    assert!(shown.contains("+  - late.example.com\n"), "{shown}");
    let approved = done(&world, &["approve", id, "--yes"]);
    assert!(approved.contains("in force, as egress and pipelock say"), "{approved}");
    assert_eq!(world.curl(&[url]).stdout, "reached /v1/things\n\n200");
    let secure = world.curl(&["https://late.example.com/v1/things"]);
    assert_eq!(secure.stdout, "reached /v1/things\n\n200", "{secure:?}");
    let status = inspect(&world, "proposal_status", &json!({"id": id}));
    assert_eq!(status["status"], "approved");
    let allowed = inspect(&world, "list_allowed", &json!({}));
    assert_eq!(allowed["egress_routes"][2]["host"], "late.example.com");
}

#[test]
fn a_waiting_call_gets_the_decision_and_the_audit_log_has_it() {
    if !is_there() {
        return;
    }
    let world = Setup::new().environment("SUPERVISE_WAIT", "1h").start();
    let url = "https://api.example.com/v2/data";
    let mut arguments = wanted(&denial(&world, url));
    arguments.as_object_mut().unwrap().remove("wait_seconds");
    let (rejected, approved) = std::thread::scope(|scope| {
        let ask = || call(&world, "propose_egress_route", &arguments);
        let call = scope.spawn(ask);
        done(&world, &["reject", &waiting(&world), "--note", "use /v1/ instead"]);
        let rejected = call.join().unwrap();
        let call = scope.spawn(ask);
        done(&world, &["approve", &waiting(&world), "--yes"]);
        (rejected, call.join().unwrap())
    });
    assert_eq!(rejected["status"], "rejected", "{rejected}");
    assert_eq!(rejected["note"], "use /v1/ instead");
    assert_eq!(approved["status"], "approved", "{approved}");
    assert_eq!(world.curl(&[url]).stdout, "reached /v2/data\n\n200");
    let again = supervise(&world, &["approve", id(&rejected), "--yes"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("has been rejected already"), "{again:?}");

    let log = world.operator(&["cat", "/run/supervise/audit.jsonl"]).stdout;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let notes: Vec<_> = lines.iter().map(|line| (id(line), &line["event"])).collect();
    let (first, second) = (id(&rejected), id(&approved));
    let expected = [
        (first, "proposed"),
        (first, "rejected"),
        (second, "proposed"),
        (second, "approving"),
        (second, "approved"),
    ];
    assert_eq!(format!("{notes:?}"), format!("{:?}", expected.map(|(id, note)| (id, json!(note)))));
    assert_eq!(lines[1]["by"], "uid 0");
    // It is on no path by which the agent gets anything.
    for path in ["/audit.jsonl", "/../audit.jsonl", "/run/supervise/audit.jsonl", "/mcp/../queue/"]
    {
        let url = format!("http://supervise:9100{path}");
        assert_eq!(world.curl(&["--path-as-is", &url]).stdout, "\n404", "{path}");
    }
    assert_ne!(world.agent(&["ls", "/run/supervise"]).code, 0);
}

#[test]
fn a_proposal_outlives_restarts() {
    if !is_there() {
        return;
    }
    let world = Setup::new().environment("SUPERVISE_WAIT", "1s").start();
    let url = "https://api.example.com/v2/data";
    let mut arguments = wanted(&denial(&world, url));
    // More than the server allows.
    arguments["wait_seconds"] = json!(3600);
    let proposed = call(&world, "propose_egress_route", &arguments);
    assert_eq!(proposed["status"], "pending", "{proposed}");
    let id = id(&proposed);
    let status = || call(&world, "proposal_status", &json!({"id": id}));

    let restarted = world.operator(&["sidecar-init", "restart", "supervise"]);
    assert_eq!(restarted.code, 0, "{restarted:?}");
    world.wait_until_healthy();
    assert_eq!(status()["status"], "pending");
    assert_eq!(call(&world, "propose_egress_route", &arguments)["id"], id);

    let restart = || docker(&["restart", world.sidecars.name()]);
    let restarted = world.sidecars.wait_after(restart, FIRST_START);
    assert!(restarted.status.success());
    world.wait_until_healthy();
    assert_eq!(status()["status"], "pending");
    done(&world, &["approve", id, "--yes"]);
    assert_eq!(status()["status"], "approved");
    assert_eq!(world.curl(&[url]).stdout, "reached /v2/data\n\n200");

    // The decision, too.
    let restart = || docker(&["restart", world.sidecars.name()]);
    let restarted = world.sidecars.wait_after(restart, FIRST_START);
    assert!(restarted.status.success());
    world.wait_until_healthy();
    assert_eq!(status()["status"], "approved");
    assert_eq!(world.curl(&[url]).stdout, "reached /v2/data\n\n200");
}

#[test]
fn a_host_for_pipelock_is_written_into_the_mounted_directory() {
    if !is_there() {
        return;
    }
    let setup = Setup::new();
    setup.write("egress/routes.yaml", "routes:\n  - host: late.example.com\n");
    let world = setup.start();
    let file = world.setup.path("pipelock/pipelock.yaml");
    let before = fs::read_to_string(&file).unwrap();
    let url = "https://late.example.com/v1/things";
    let refused = world.curl(&[url]);
    assert!(refused.stdout.ends_with("\n502"), "{refused:?}");

    let arguments = json!({"host": "late.example.com", "justification": "x", "wait_seconds": 0});
    let proposed = call(&world, "propose_pipelock_host", &arguments);
    let approved = done(&world, &["approve", id(&proposed), "--yes"]);
    assert!(approved.contains("in force, as pipelock says"), "{approved}");
    let after = fs::read_to_string(&file).unwrap();
    let added = "  - raw.example.com\n  - late.example.com\n";
    assert_eq!(after, before.replacen("  - raw.example.com\n", added, 1));
    assert_eq!(world.curl(&[url]).stdout, "reached /v1/things\n\n200", "{:?}", world.egress_log());
    let allowed = call(&world, "list_allowed", &json!({}));
    assert_eq!(
        allowed["pipelock_hosts"],
        json!(["api.example.com", "raw.example.com", "late.example.com"]),
        "{allowed}"
    );
}

#[test]
fn a_file_of_pipelocks_mounted_where_it_was_before_is_in_force_and_written_in_place() {
    if !is_there() {
        return;
    }
    let setup = Setup::new().pipelock_as_a_file();
    let routes = "routes:\n  - host: late.example.com\n  - host: api.example.com\n";
    setup.write("egress/routes.yaml", routes);
    let world = setup.start();
    let file = world.setup.path("pipelock/pipelock.yaml");
    let inode = fs::metadata(&file).unwrap().ino();
    assert_eq!(world.curl(&["https://api.example.com/v1/x"]).stdout, "reached /v1/x\n\n200");
    let arguments = json!({"host": "late.example.com", "justification": "x", "wait_seconds": 0});
    let proposed = call(&world, "propose_pipelock_host", &arguments);
    done(&world, &["approve", id(&proposed), "--yes"]);
    assert!(fs::read_to_string(&file).unwrap().contains("  - late.example.com\n"));
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
    assert_eq!(world.curl(&["https://late.example.com/x"]).stdout, "reached /x\n\n200");
}

#[test]
fn what_happens_to_sidecars_is_told_to_both() {
    if !is_there() {
        return;
    }
    let restarting = "name = \"git-gate\"\non-exit = \"ignore\"\n\
                      restart = { policy = \"on-failure\", max = 1, delay = \"100ms\" }\n";
    let shipped = include_str!("../../sandbox/image/bundle.toml");
    let world = Setup::new().bundle(&shipped.replace("name = \"git-gate\"\n", restarting)).start();
    let mut watch = Running::start(&world.sidecars, &[], &["supervise", "watch", "--json"]);
    let proposed = call(&world, "propose_egress_route", &route("late.example.com"));
    watch.line_with(&[r#""proposal""#, id(&proposed), r#""status":"pending""#]);
    kill(&world.sidecars, "git-gate");
    watch.line_with(&[r#""event":"exited""#, r#""service":"git-gate""#, r#""signal":"SIGKILL""#]);
    watch.line_with(&[r#""event":"ready""#, r#""service":"git-gate""#]);
    kill(&world.sidecars, "git-gate");
    watch.line_with(&[r#""event":"given-up""#, r#""service":"git-gate""#]);
    done(&world, &["reject", id(&proposed)]);
    watch.line_with(&[r#""proposal""#, id(&proposed), r#""status":"rejected""#]);

    let told = call(&world, "sidecar_events", &json!({"service": "git-gate"}));
    let events: Vec<_> =
        told["events"].as_array().unwrap().iter().map(|event| event["event"].clone()).collect();
    assert_eq!(events, ["exited", "backoff", "exited", "given-up"], "{told}");
    assert_eq!(told["events"][0]["signal"], "SIGKILL");
    let all = call(&world, "sidecar_events", &json!({"all": true, "limit": 100}));
    assert!(all["events"].as_array().unwrap().iter().any(|event| event["event"] == "started"));
    let listed = done(&world, &["list"]);
    assert!(listed.contains("lately went wrong"), "{listed}");
    assert!(listed.contains("git-gate exited signal=SIGKILL"), "{listed}");
    assert!(listed.contains("git-gate given-up"), "{listed}");
}

#[test]
fn a_web_page_or_a_flood_gets_a_clear_refusal() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let post = |headers: &[&str]| {
        let accept = "Accept: application/json, text/event-stream";
        let mut arguments = vec!["-d", body, "-H", "Content-Type: application/json", "-H", accept];
        arguments.extend(headers.iter().flat_map(|header| ["-H", header]));
        arguments.push("http://supervise:9100/mcp");
        world.curl(&arguments).stdout
    };
    assert!(post(&[]).ends_with("\n200"));
    for header in ["Host: evil.example", "Origin: http://supervise:9100", "Origin: null"] {
        assert!(post(&[header]).ends_with("\n403"), "{header}");
    }

    let proposals: Vec<Value> = (0..21)
        .map(|number| json!(["propose_egress_route", route(&format!("a{number}.example.com"))]))
        .collect();
    let answers = calls(&world, &json!(proposals));
    assert!(answers[..20].iter().all(|answer| answer["status"] == "pending"), "{answers:?}");
    let refused = answers[20]["error"].as_str().unwrap();
    assert!(
        refused.contains("20 proposals wait for the operator, which is the limit"),
        "{refused}"
    );
    assert!(world.curl(&["http://supervise:9100/"]).stdout.starts_with("ok, 20 pending"));
}

#[test]
fn no_answer_has_a_token() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let asked = wanted(&denial(&world, "https://api.example.com/v2/x"));
    let answers = calls(
        &world,
        &json!([["list_allowed", {}], ["propose_egress_route", asked], ["sidecar_events", {"all": true}]]),
    );
    let own = world.curl(&["http://_egress.local/allowlist"]).stdout;
    let port = world.curl(&["--noproxy", "*", "http://egress:9099/allowlist"]).stdout;
    for said in [format!("{answers:?}"), own, port] {
        assert!(said.contains("EGRESS_TOKEN_1"), "{said}");
        assert!(!said.contains(TOKEN), "{said}");
    }
}

#[test]
fn colours_are_for_terminals() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let proposed = call(&world, "propose_egress_route", &route("late.example.com"));
    let id = id(&proposed);
    let painted = format!("\x1b[1m{id}\x1b[0m");
    let watch = |options: &[&str]| {
        Running::start(&world.sidecars, options, &["supervise", "watch"])
            .line_with(&[id, "pending"])
    };
    assert!(watch(&["--tty", "--env=TERM=xterm"]).contains(&painted));
    assert!(!watch(&["--tty", "--env=TERM=xterm", "--env=NO_COLOR=1"]).contains('\x1b'));
    assert!(!watch(&[]).contains('\x1b'));
}

#[test]
fn files_of_a_user_outside_are_changed_if_their_group_lets_root() {
    if !is_there() {
        return;
    }
    let setup = Setup::new();
    let files = ["egress", "pipelock", "egress/routes.yaml", "pipelock/pipelock.yaml"];
    for name in files {
        chown(setup.path(name), Some(1000), Some(0)).unwrap();
    }
    let mode = |name: &str, mode| {
        fs::set_permissions(setup.path(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    for name in &files[..2] {
        mode(name, 0o755);
    }
    for name in &files[2..] {
        mode(name, 0o664);
    }
    let world = setup.start();
    let mut arguments = wanted(&denial(&world, "https://api.example.com/v2/x"));
    let proposed = call(&world, "propose_egress_route", &arguments);
    done(&world, &["approve", id(&proposed), "--yes"]);
    let host = json!({"host": "late.example.com", "justification": "x", "wait_seconds": 0});
    let proposed = call(&world, "propose_pipelock_host", &host);
    done(&world, &["approve", id(&proposed), "--yes"]);
    for name in files {
        let found = fs::metadata(world.setup.path(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (1000, 0), "{name}");
    }

    // Without it nothing is changed, and what to do is said.
    let file = world.setup.path("egress/routes.yaml");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let before = fs::read_to_string(&file).unwrap();
    arguments["paths"] = json!(["/v3/"]);
    let proposed = call(&world, "propose_egress_route", &arguments);
    let refused = supervise(&world, &["approve", id(&proposed), "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("chgrp 0 and chmod g+rw it"), "{refused:?}");
    assert!(refused.stderr.contains("stays pending"), "{refused:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
}
