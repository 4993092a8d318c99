//! A key of its maker's that the agent uses and never has: it holds a placeholder.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::world::{Setup, World, exec, hang_up, is_there, pipelock_config};

const KEY: &str = "real-k3y-of-the-operator";
const CHANGED: &str = "other-k3y-of-the-operator";
const DUMMY: &str = "sk-ant-api03-dummy-of-the-agent";
const ROUTES: &str = "\
routes:
  - host: api.example.com
    paths: [\"/v1/\"]
    auth:
      scheme: header
      header: x-api-key
      token_env: EGRESS_TOKEN_MAKER
      placeholder: sk-ant-api03-dummy-of-the-agent
  - host: late.example.com
  - host: api.anthropic.com
    paths: [\"/v1/messages\"]
    auth:
      scheme: header
      header: x-api-key
      token_env: EGRESS_TOKEN_MAKER
      placeholder: sk-ant-api03-dummy-of-the-agent
";

/// With the key in a file, as Kubernetes mounts secrets: readable to all.
fn setup() -> Setup {
    let setup = Setup::new();
    fs::create_dir(setup.path("secrets")).unwrap();
    setup.write("egress/routes.yaml", ROUTES);
    let hosts = pipelock_config(&["api.example.com", "late.example.com", "api.anthropic.com"]);
    let ignored = "  ignore_headers:\n    - Authorization\n";
    assert_eq!(hosts.matches(ignored).count(), 1);
    setup.write(
        "pipelock/pipelock.yaml",
        &hosts.replace(ignored, &format!("{ignored}    - x-api-key\n")),
    );
    write_key(&setup, KEY);
    let secrets = format!("--volume={}:/run/secrets:ro", setup.path("secrets").display());
    setup.option(&secrets)
}

fn write_key(setup: &Setup, key: &str) {
    setup.write("secrets/EGRESS_TOKEN_MAKER", &format!("{key}\n"));
    let file = setup.path("secrets/EGRESS_TOKEN_MAKER");
    fs::set_permissions(file, fs::Permissions::from_mode(0o444)).unwrap();
}

fn key_seen_at(world: &World, path: &str) -> Value {
    world.web.wait_for(&format!("\"path\": \"{path}\""));
    let seen = world.seen().into_iter().find(|request| request["path"] == path).unwrap();
    seen["headers"]["x-api-key"].clone()
}

#[test]
fn the_agent_holds_a_placeholder_and_the_server_gets_the_key() {
    if !is_there() {
        return;
    }
    let world = setup().start();
    let key = format!("x-api-key: {DUMMY}");
    let json = ["-H", "content-type: application/json", "-d", r#"{"text": "hello"}"#];
    let mut shown = Vec::new();

    let url = "https://api.example.com/v1/messages";
    let said = world.curl(&[&["-v", "-H", &key], &json[..], &[url]].concat());
    assert!(said.stdout.ends_with("\n200"), "{said:?} {:?}", world.egress_log());
    assert_eq!(key_seen_at(&world, "/v1/messages"), KEY);
    shown.push(said.stdout + &said.stderr);

    // In any other place it is an attempted leak, and nothing of it leaves.
    let body = format!(r#"{{"my key": "{DUMMY}"}}"#);
    for arguments in [
        vec!["-H", &*key, "https://late.example.com/other-host"],
        vec!["-H", &*key, "-H", &*format!("x-other: {DUMMY}"), "https://api.example.com/v1/header"],
        vec!["-H", &*key, &*format!("https://api.example.com/v1/url?key={DUMMY}")],
        vec!["-H", &*key, "-d", &*body, "https://api.example.com/v1/body"],
    ] {
        let said = world.curl(&arguments);
        assert!(said.stdout.ends_with("\n403"), "{arguments:?}: {said:?}");
        assert!(said.stdout.contains("placeholder-leak"), "{arguments:?}: {said:?}");
        shown.push(said.stdout + &said.stderr);
    }
    let leaks = world.egress_log().into_iter().filter(|line| line["event"] == "placeholder-leak");
    assert_eq!(leaks.count(), 4);
    assert!(world.seen().iter().all(|request| request["path"] == "/v1/messages"));

    // A new key counts from the next HUP on, and a file without one changes nothing.
    hang_up(&world.sidecars, || write_key(&world.setup, CHANGED));
    world.curl(&["-H", &key, "https://api.example.com/v1/changed"]);
    assert_eq!(key_seen_at(&world, "/v1/changed"), CHANGED);
    write_key(&world.setup, "");
    world.sidecars.wait_after(|| world.sidecars.kill("HUP"), "reload-failed");
    let log = world.egress_log();
    let failed = log.iter().find(|line| line["event"] == "reload-failed").unwrap().to_string();
    assert!(
        failed.contains("/etc/egress/routes.yaml:7:18: the route for api.example.com"),
        "{failed}"
    );
    assert!(failed.contains("/run/secrets/EGRESS_TOKEN_MAKER is empty"), "{failed}");
    world.curl(&["-H", &key, "https://api.example.com/v1/kept"]);
    assert_eq!(key_seen_at(&world, "/v1/kept"), CHANGED);

    // No process that is started beside egress gets it, nor does any log.
    for user in ["git-gate", "supervise", "root"] {
        shown.push(exec(&world.sidecars, &["-u", user], &["env"]).stdout);
    }
    shown.extend([world.sidecars.stdout(), world.sidecars.stderr()]);
    shown.push(world.curl(&["http://_egress.local/allowlist"]).stdout);
    for text in shown {
        assert!(!text.contains(KEY) && !text.contains(CHANGED), "{text}");
    }
    assert!(log.iter().any(|line| line["event"] == "token-warning"), "{log:?}");
}

#[test]
fn what_is_wrong_with_a_route_or_its_secret_is_told_once_and_changes_nothing() {
    if !is_there() {
        return;
    }
    let unknown = ROUTES.replacen("scheme: header", "scheme: heeder", 1);
    let told = "/etc/egress/routes.yaml:5:15: \"heeder\" is no scheme; it is one of bearer, basic, \
                token, header, query";
    let start = setup();
    start.write("egress/routes.yaml", &unknown);
    let world = start.start_without_waiting();
    assert_eq!(world.sidecars.wait(), 78);
    let said = world.sidecars.stderr();
    assert!(said.contains(&format!("egress: {told}\n")), "{said}");

    let world = setup().start();
    let twice = ROUTES.replacen("EGRESS_TOKEN_MAKER", "EGRESS_TOKEN_OTHER", 1);
    let secret = world.setup.path("secrets/EGRESS_TOKEN_MAKER");
    let routes = |text: &str| world.setup.write("egress/routes.yaml", text);
    let key = format!("x-api-key: {DUMMY}");
    let cases: [(&str, &dyn Fn()); 4] = [
        (told, &|| routes(&unknown)),
        (
            "/etc/egress/routes.yaml:16:20: the placeholder \"sk-ant-api03-dummy-of-the-agent\" is used \
             twice: it stands for EGRESS_TOKEN_OTHER in line 8; choose another one for \
             EGRESS_TOKEN_MAKER",
            &|| routes(&twice),
        ),
        (
            "/etc/egress/routes.yaml:7:18: the route for api.example.com needs EGRESS_TOKEN_MAKER: its \
             file /run/secrets/EGRESS_TOKEN_MAKER is empty; write the token into it",
            &|| write_key(&world.setup, ""),
        ),
        (
            "/etc/egress/routes.yaml:7:18: the route for api.example.com needs EGRESS_TOKEN_MAKER: \
             there is no file /run/secrets/EGRESS_TOKEN_MAKER, and EGRESS_TOKEN_FILE_MAKER is not set; \
             write the token into a file and name it there",
            &|| fs::remove_file(&secret).unwrap(),
        ),
    ];
    for (number, (told, change)) in cases.iter().enumerate() {
        routes(ROUTES);
        change();
        world.sidecars.wait_after(|| world.sidecars.kill("HUP"), "reload-failed");
        let path = format!("/v1/{number}");
        world.curl(&["-H", &key, &format!("https://api.example.com{path}")]);
        assert_eq!(key_seen_at(&world, &path), KEY);
        let log = world.egress_log();
        let failed = log.iter().filter(|line| line["event"] == "reload-failed");
        let messages: Vec<&str> = failed.map(|line| line["message"].as_str().unwrap()).collect();
        assert_eq!(messages.len(), number + 1, "{messages:?}");
        assert_eq!(messages[number], format!("{told}; the old routes stay"));
    }
}

#[test]
fn a_coding_agent_from_npm_works_with_a_placeholder_for_its_makers_key() {
    if !is_there() {
        return;
    }
    let world = setup().start();
    let key = format!("ANTHROPIC_API_KEY={DUMMY}");
    let quiet = "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1";
    let said = world.agent(&["env", &key, quiet, "claude", "--print", "say hello"]);
    assert_eq!(said.stdout, "hello from the stub\n", "{said:?} {:?}", world.egress_log());
    assert_eq!(key_seen_at(&world, "/v1/messages"), KEY);
    let files = ["grep", "-rls", "real-k3y", "/tmp", "/home", "/certificate"];
    assert_eq!(world.agent(&files).stdout, "", "the agent has the key");
    let said = world.agent(&["sh", "-c", "cat /proc/[0-9]*/environ 2>/dev/null"]);
    assert!(!said.stdout.contains(KEY));
}
