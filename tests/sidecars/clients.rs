//! The clients that agents have, each as its users have it, behind all of the bundle. pip, npm and cargo
//! are in `downloads.rs`, git with the gate in `git.rs`, a coding agent in `credentials.rs`.

use serde_json::Value;

use crate::world::{Said, Setup, TOKEN, World, is_there};

/// What the agent holds of GitHub's.
const DUMMY: &str = "ghp_dummyOfTheAgent0001";
const GITHUB_ROUTES: &str = "\
routes:
  - host: api.github.com
    paths: [\"/user\", \"/graphql\", \"/repos/example/app/\"]
    auth: {scheme: token, token_env: EGRESS_TOKEN_1, placeholder: ghp_dummyOfTheAgent0001}
  - host: github.com
    paths: [\"/example/app.git/\"]
    auth: {scheme: basic, user: x-access-token, token_env: EGRESS_TOKEN_1, placeholder: ghp_dummyOfTheAgent0001}
  - host: files.example.com
    methods: [GET, HEAD]
    scan: {responses: none}
";

const REQUESTS: &str = "
import sys, requests
url, *body = sys.argv[1:]
answer = requests.post(url, body[0], timeout=60) if body else requests.get(url, timeout=60)
print(answer.status_code, answer.text)
";
const HTTPX: &str = "
import sys, httpx
url, *body = sys.argv[1:]
answer = httpx.post(url, content=body[0], timeout=60) if body else httpx.get(url, timeout=60)
print(answer.status_code, answer.text)
";
const FETCH: &str = "
const [url, body] = process.argv.slice(1)
fetch(url, body ? {method: 'POST', body} : {}).then(async answer =>
  console.log(answer.status, await answer.text()))
";
/// For a Node that knows no proxy by itself.
const WITH_UNDICI: &str = "
const {EnvHttpProxyAgent, setGlobalDispatcher} = require('/opt/undici/node_modules/undici')
setGlobalDispatcher(new EnvHttpProxyAgent())
";
const CURL: &str = "
curl -sS --max-time 60 -o /tmp/answer -w '%{http_code} ' ${2+--data-binary \"$2\"} \"$1\"
cat /tmp/answer
";

/// A key that is none: it only looks like one. In two parts, so that this file does not.
fn key() -> String {
    ["AKIA", "Q3EGRVZ7JKPLM2XN"].concat()
}

#[test]
fn http_clients_get_a_token_and_are_told_what_is_refused() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let with_undici = format!("{WITH_UNDICI}{FETCH}");
    let clients: [(&str, &[&str]); 5] = [
        ("curl", &["sh", "-euc", CURL, "sh"]),
        ("requests", &["python", "-c", REQUESTS]),
        ("httpx", &["python", "-c", HTTPX]),
        ("fetch", &["node-24", "-e", FETCH]),
        ("undici", &["node", "-e", &with_undici]),
    ];
    let body = format!("the key is {}, keep it", key());
    for (name, command) in clients {
        let ask = |arguments: &[&str]| world.agent(&[command, arguments].concat());
        for arguments in [&[][..], &["nothing of interest"]] {
            let path = format!("/v1/{name}/{}", arguments.len());
            let said = ask(&[&[&*format!("https://api.example.com{path}")], arguments].concat());
            assert_eq!(said.stdout.trim(), format!("200 reached {path}"), "{name}: {said:?}");
            let seen = world.seen().into_iter().find(|request| request["path"] == *path).unwrap();
            assert_eq!(seen["headers"]["authorization"], format!("Bearer {TOKEN}"), "{name}");
        }
        let said = ask(&["https://api.example.com/v2/x"]);
        let answer = said.stdout.strip_prefix("403 ").unwrap_or_else(|| panic!("{name}: {said:?}"));
        let answer: Value = serde_json::from_str(answer).unwrap();
        assert_eq!(answer["reason"], "no-route-for-path", "{name}: {answer}");
        // Of a tunnel that is refused each says what it likes.
        let said = ask(&["https://denied.example.com/x"]);
        assert_ne!(said.code, 0, "{name}: {said:?}");
        let said = ask(&["https://api.example.com/v1/body", &body]);
        assert!(said.stdout.starts_with("403 blocked: request body"), "{name}: {said:?}");
    }
    assert_eq!(world.seen().len(), 2 * clients.len());
}

/// Runs a script as the agent, in its home; its one argument is what must not leave.
fn run(world: &World, script: &str) -> Said {
    let script = format!("export GH_TOKEN={DUMMY} GIT_TERMINAL_PROMPT=0\ncd /tmp\n{script}");
    world.agent(&["sh", "-euc", &script, "sh", &key()])
}

fn ok(world: &World, script: &str) -> String {
    let said = run(world, script);
    assert_eq!(said.code, 0, "{script}: {said:?} {:?}", world.egress_log());
    said.stdout.trim().to_owned()
}

/// Runs it, and it has to fail; what it says.
fn refused(world: &World, script: &str) -> String {
    let said = run(world, script);
    assert_ne!(said.code, 0, "{script}: {said:?}");
    said.stdout + &said.stderr
}

/// The server knows the real token only, and has so many branches that git packs what it asks for.
#[test]
fn gh_and_git_over_https_work_with_a_placeholder() {
    if !is_there() {
        return;
    }
    let setup = Setup::new();
    setup.write("egress/routes.yaml", GITHUB_ROUTES);
    setup.generate_pipelock_config();
    let world = setup.start();
    assert_eq!(ok(&world, "gh api user --jq .login"), "operator");
    let list = "gh pr list -R example/app --json number,title";
    assert_eq!(ok(&world, list), r#"[{"number":7,"title":"a change"}]"#);
    let create = "gh api repos/example/app/issues -f title=broken --jq .title";
    assert_eq!(ok(&world, create), "broken");
    // The server sends gh to another host for it, which must get no credential.
    let download = "gh release download v1 -R example/app && stat -c %s release.bin";
    assert_eq!(ok(&world, download), "200000000");

    let clone = "gh repo clone example/app app -- --quiet; cat app/main.txt; \
                 cd app; git for-each-ref refs/remotes/origin/branch-* | wc -l";
    assert_eq!(ok(&world, clone), "main60");
    let fetch = "git -C app -c credential.helper='!gh auth git-credential' fetch --quiet --refetch";
    ok(&world, fetch);

    let before = world.seen().len();
    for (script, reason) in [
        ("gh api repos/example/app/issues -f title=\"$1\"", "blocked: request body"),
        ("gh api \"repos/example/app/issues?title=$1\"", "403"),
        ("gh api repos/example/other/issues", "no-route-for-path"),
        ("git clone --quiet https://github.com/example/other.git", "403"),
    ] {
        let said = refused(&world, script);
        assert!(said.contains(reason), "{script}: {said}");
    }
    // What pushes goes through the gate.
    let push = "git -C app -c credential.helper='!gh auth git-credential' push origin HEAD:new";
    let said = refused(&world, push);
    assert!(said.contains("403"), "{said}");
    let log = world.egress_log();
    assert!(log.iter().any(|line| line["reason"] == "git-push"), "{log:?}");
    assert_eq!(world.seen().len(), before);

    for request in world.seen() {
        let authorization = request["headers"]["authorization"].to_string();
        assert!(request["host"] != "files.example.com" || authorization == "null", "{request}");
        assert!(!request.to_string().contains(DUMMY), "{request}");
    }
    let files = ["grep", "-rlsF", TOKEN, "/tmp", "/home", "/certificate"];
    assert_eq!(world.agent(&files).stdout, "", "the agent has the token");
}
