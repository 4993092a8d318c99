//! The agent's web requests, through egress and pipelock.

use serde_json::Value;

use crate::world::{
    Said, Setup, TOKEN, World, exec, hang_up, has_real_pipelock, is_there, pipelock_config,
};

/// Far less than the upload, far more than what its proxies need without holding it.
pub const MOST_MEMORY_KIB: u64 = 200 * 1024;

/// GET by httpx: status, version and body, or the error.
const GET: &str = "
import sys, httpx
try:
    answer = httpx.get(sys.argv[1], timeout=60)
    print(answer.status_code, answer.http_version, answer.text)
except httpx.HTTPError as error:
    print(type(error).__name__, error)
";

/// The same by HTTP/2. httpx would rather have HTTP/1.1, and egress takes what the client prefers.
const GET_BY_HTTP2: &str = "
import os, ssl, sys, httpx
class OnlyHttp2(ssl.SSLContext):
    def set_alpn_protocols(self, _protocols):
        super().set_alpn_protocols(['h2'])
context = OnlyHttp2(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(os.environ['SSL_CERT_FILE'])
with httpx.Client(http2=True, verify=context, timeout=60) as client:
    for url in sys.argv[1:]:
        answer = client.get(url)
        print(answer.status_code, answer.http_version, answer.text)
";

/// The second event comes when /v1/release was called, which nobody does before the first is here.
const EVENTS: &str = "
import httpx
with httpx.Client(timeout=60) as client:
    with client.stream('GET', 'https://api.example.com/v1/events') as answer:
        lines = (line for line in answer.iter_lines() if line)
        print(next(lines))
        print(httpx.get('https://api.example.com/v1/release', timeout=60).text.strip())
        print(next(lines))
";

const WEBSOCKET: &str = "
import asyncio, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1], open_timeout=60) as socket:
        for message in ('text', b'bytes', 'x' * 100_000):
            await socket.send(message)
            assert await socket.recv() == message
    print('echoed')
asyncio.run(main())
";

/// Writes FILE with SIZE bytes that nothing can compress, and prints their SHA-256.
const RANDOM_FILE: &str = "
import hashlib, os, sys
digest, left = hashlib.sha256(), int(sys.argv[2])
with open(sys.argv[1], 'wb') as file:
    while left:
        part = os.urandom(min(left, 1_000_000))
        digest.update(part)
        file.write(part)
        left -= len(part)
print(digest.hexdigest())
";

/// Variables and arguments of all the processes that whoever runs this can see.
const ALL_OF_PROC: &str = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null";

#[test]
fn an_allowed_path_is_reached_with_a_token_that_the_agent_never_sees() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let mut shown = Vec::new();
    let mut keep = |said: Said| {
        shown.push(format!("{}{}", said.stdout, said.stderr));
        said
    };
    let url = "https://api.example.com/v1/hello";
    let said = keep(world.curl(&["-v", "-H", "Authorization: Bearer guessed", url]));
    assert_eq!(said.stdout, "reached /v1/hello\n\n200", "{said:?} {:?}", world.egress_log());
    let seen = arrived(&world, "/v1/hello");
    assert_eq!(seen["headers"]["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!((&seen["scheme"], &seen["host"]), (&"https".into(), &"api.example.com".into()));
    let said = keep(world.agent_python(GET, &[url]));
    assert!(said.stdout.starts_with("200 HTTP/1.1 reached"), "{said:?}");
    // Denials and answers of egress itself say nothing of it either.
    keep(world.curl(&["-v", "https://api.example.com/v2/hello?access_token=guessed"]));
    keep(world.curl(&["-v", "-X", "TRACE", url]));
    for allowlist in ["http://_egress.local/allowlist", "http://egress:9099/allowlist"] {
        let said = keep(world.curl(&["--noproxy", "egress", allowlist]));
        assert!(said.stdout.contains(r#""token_env": "EGRESS_TOKEN_1""#), "{said:?}");
    }
    for user in ["agent", "root"] {
        let all = ["sh", "-c", ALL_OF_PROC];
        let said = keep(exec(&world.agent, &["--user", user], &all));
        assert!(said.stdout.contains("HTTPS_PROXY="), "{said:?}");
    }
    // What the container says, to its own log and to the operator.
    shown.push(world.sidecars.stdout());
    shown.push(world.sidecars.stderr());
    for service in ["egress", "pipelock"] {
        let said = world.operator(&["sidecar-init", "logs", service]);
        assert!(said.stdout.len() > 10, "{said:?}");
        shown.push(said.stdout);
    }
    shown.push(world.operator(&["sidecar-init", "status", "--json"]).stdout);
    for text in shown {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[test]
fn what_is_denied_says_why_and_how_to_ask() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let path = "https://api.example.com/v2/x";
    let host = "http://denied.example.com/x";
    let tunnel = "https://denied.example.com/x";

    for (url, reason, wanted) in [
        (
            path,
            "no-route-for-path",
            r#"{"host": "api.example.com", "paths": ["/v2/x"], "methods": ["GET"]"#,
        ),
        (
            host,
            "no-route-for-host",
            r#"{"host": "denied.example.com", "paths": ["/x"], "methods": ["GET"]"#,
        ),
    ] {
        let by_curl = world.curl(&[url]).stdout;
        let body = by_curl.strip_suffix("\n403").unwrap_or_else(|| panic!("{by_curl}"));
        let by_httpx = world.agent_python(GET, &[url]).stdout;
        let (head, same) = by_httpx.split_once("{").unwrap_or_else(|| panic!("{by_httpx}"));
        assert_eq!(head, "403 HTTP/1.1 ");
        for body in [body, &format!("{{{same}")] {
            let answer: Value = serde_json::from_str(body).unwrap();
            assert_eq!(answer["reason"], reason, "{answer}");
            let how = answer["how_to_ask"].as_str().unwrap();
            assert!(how.contains("propose_egress_route") && how.contains(wanted), "{how}");
        }
    }
    // Of a tunnel that is refused clients show the reason phrase only.
    let by_curl = world.curl(&["-v", tunnel]);
    assert!(by_curl.stderr.contains("403 Forbidden by egress: no-route-for-host"), "{by_curl:?}");
    let by_httpx = world.agent_python(GET, &[tunnel]).stdout;
    assert_eq!(by_httpx, "ProxyError 403 Forbidden by egress: no-route-for-host\n");

    // The one that is allowed is the only one that arrives.
    world.curl(&["https://api.example.com/v1/last"]);
    arrived(&world, "/v1/last");
    assert_eq!(paths(&world), ["/v1/last"]);
}

#[test]
fn pipelock_refuses_a_body_with_a_key_and_leaves_others_as_they_are() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let url = "https://api.example.com/v1/messages";
    let key = format!("AKIA{}", "Q3EGRVZ7JKPLM2XN");
    let body = format!(r#"{{"text": "the key is {key}, keep it"}}"#);
    let json = "Content-Type: application/json";
    let said = world.curl(&["-H", json, "--data-binary", &body, url]);
    let refusal = "blocked: request body contains secret";
    assert!(said.stdout.starts_with(refusal) && said.stdout.ends_with("\n403"), "{said:?}");
    // It is not egress that has refused it.
    world.sidecars.wait_for(r#""decision": "allow", "method": "POST""#);
    assert!(!format!("{}{}", world.sidecars.stdout(), world.sidecars.stderr()).contains(&key));
    // Nor does one that is too large to be looked at leave.
    world.agent(&["truncate", "-s", "6M", "/tmp/large"]);
    let said = world.curl(&["-H", json, "--data-binary", "@/tmp/large", url]);
    assert!(said.stdout.ends_with("\n403"), "{said:?}");

    let script = "import hashlib; text = ''.join(f'line {n}\\n' for n in range(80_000)); \
                  open('/tmp/text', 'w').write(text); \
                  print(len(text), hashlib.sha256(text.encode()).hexdigest())";
    let written = world.agent_python(script, &[]).stdout;
    let said = world.curl(&["-H", "Content-Type: text/plain", "--data-binary", "@/tmp/text", url]);
    assert!(said.stdout.ends_with("\n200"), "{said:?}");
    let seen = arrived(&world, "/v1/messages");
    assert_eq!(paths(&world), ["/v1/messages"]);
    assert_eq!(written.trim(), format!("{} {}", seen["size"], text(&seen["sha256"])));
    assert_eq!(
        (text(&seen["method"]), text(&seen["headers"]["content-type"])),
        ("POST", "text/plain")
    );
}

#[test]
fn streams_uploads_websockets_and_http2_pass() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let said = world.agent_python(EVENTS, &[]);
    assert_eq!(said.stdout, "data: 1\nreached /v1/release\ndata: 2\n", "{said:?}");

    let said = world.agent_python(WEBSOCKET, &["wss://raw.example.com/socket"]);
    assert_eq!(said.stdout, "echoed\n", "{said:?} {:?}", world.egress_log());
    assert_eq!(arrived(&world, "/socket")["scheme"], "wss");
    // pipelock makes an ordinary request of one that it could look into.
    let said = world.agent_python(WEBSOCKET, &["wss://api.example.com/v1/socket"]);
    assert!(said.code != 0 && said.stderr.contains("InvalidStatus"), "{said:?}");
    assert!(world.seen().iter().all(|seen| seen["path"] == "/socket" || seen["scheme"] != "wss"));

    let url = "https://api.example.com/v1/two";
    let other = "https://api.example.com/v2/two";
    let said = world.agent_python(GET_BY_HTTP2, &[url, other, url]);
    let reached = "200 HTTP/2 reached /v1/two\n\n";
    assert!(said.stdout.starts_with(reached) && said.stdout.ends_with(reached), "{said:?}");
    assert!(said.stdout.contains("\n403 HTTP/2 {"), "{said:?}");
    let said = world.curl(&["--http2", "-w", "%{http_version} %{http_code}", url]);
    assert_eq!(said.stdout, "reached /v1/two\n2 200", "{said:?}");

    let written = world.agent_python(RANDOM_FILE, &["/tmp/upload", "200000000"]).stdout;
    for (path, how) in
        [("/sized", "Expect: 100-continue"), ("/chunked", "Transfer-Encoding: chunked")]
    {
        let url = format!("https://raw.example.com{path}");
        let said =
            world.curl(&["--max-time", "600", "--http1.1", "-H", how, "-T", "/tmp/upload", &url]);
        assert_eq!(said.stdout, format!("reached {path}\n\n200"), "{said:?}");
        let upload = arrived(&world, path);
        assert_eq!(upload["size"], 200_000_000);
        assert_eq!(text(&upload["sha256"]), written.trim());
    }
    for service in ["egress", "pipelock"] {
        let most = most_memory_kib(&world, service);
        assert!(most < MOST_MEMORY_KIB, "{service} has taken {most} KiB");
    }
}

/// pipelock 2.3 follows those of plain http by itself, to whatever its own list has; docs/egress.md says
/// so among what can't be stopped.
#[test]
fn a_redirect_over_tls_is_the_agents_to_follow() {
    if !is_there() {
        return;
    }
    let setup = Setup::new();
    let hosts = ["api.example.com", "raw.example.com", "late.example.com"];
    setup.write("pipelock/pipelock.yaml", &pipelock_config(&hosts));
    let world = setup.start();
    for host in ["raw", "api"] {
        let said = world.curl(&[&format!("https://{host}.example.com/v1/redirect")]);
        assert!(said.stdout.ends_with("\n302"), "{host}: {said:?}");
    }
    assert_eq!(paths(&world), ["/v1/redirect", "/v1/redirect"]);
    let said = world.curl(&["http://raw.example.com/v1/redirect"]);
    let (path, code) = if has_real_pipelock() { ("/stolen", 200) } else { ("/v1/redirect", 302) };
    assert_eq!(said.stdout, format!("reached {path}\n\n{code}"));
}

#[test]
fn hup_puts_changed_files_in_force_and_broken_ones_leave_the_old() {
    if !is_there() {
        return;
    }
    let setup = Setup::new();
    setup.write(
        "pipelock/pipelock.yaml",
        &pipelock_config(&["api.example.com", "late.example.com"]),
    );
    let world = setup.start();
    let url = "https://late.example.com/x";
    let routes = "routes:\n  - host: late.example.com\n";
    assert!(world.curl(&["-v", url]).stderr.contains("egress: no-route-for-host"));

    hang_up(&world.sidecars, || world.setup.write("egress/routes.yaml", routes));
    assert!(world.curl(&[url]).stdout.ends_with("\n200"));
    let old = world.curl(&["-v", "https://api.example.com/v1/x"]);
    assert!(old.stderr.contains("egress: no-route-for-host"), "{old:?}");

    world.setup.write("egress/routes.yaml", &format!("{routes}    pahts: [\"/y\"]\n"));
    world.sidecars.wait_after(|| world.sidecars.kill("HUP"), "reload-failed");
    let log = world.egress_log();
    let failed = log.iter().find(|line| line["event"] == "reload-failed").unwrap();
    assert!(failed.to_string().contains("/etc/egress/routes.yaml:3:5: "), "{failed}");
    assert!(failed.to_string().contains("pahts"), "{failed}");
    assert!(world.curl(&[url]).stdout.ends_with("\n200"));
    let asked = world.curl(&["http://_egress.local/allowlist"]).stdout;
    let allowlist: Value = serde_json::from_str(asked.strip_suffix("\n200").unwrap()).unwrap();
    assert!(text(&allowlist["reload_error"]).contains("routes.yaml:3:5: "), "{allowlist}");

    // pipelock reads its file too.
    let change = || {
        world.setup.write("pipelock/pipelock.yaml", &pipelock_config(&["api.example.com"]));
        world.sidecars.kill("HUP");
    };
    world.sidecars.wait_after(change, "config_reload");
    assert!(!world.curl(&[url]).stdout.ends_with("\n200"));
    assert_eq!(world.sidecars.inspect(".State.Running"), "true");
}

/// A text of JSON.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The paths of what has reached the web.
fn paths(world: &World) -> Vec<String> {
    world.seen().iter().map(|request| text(&request["path"]).to_owned()).collect()
}

/// What has reached this path of the web.
fn arrived(world: &World, path: &str) -> Value {
    world.web.wait_for(&format!("\"path\": \"{path}\""));
    world.seen().into_iter().find(|request| request["path"] == path).unwrap()
}

/// The most that the main process of this service has ever had in memory.
pub fn most_memory_kib(world: &World, service: &str) -> u64 {
    let said = world.operator(&["sidecar-init", "status", "--json"]);
    let status: Value = serde_json::from_str(&said.stdout).unwrap();
    let services = status["services"].as_array().unwrap();
    let pid = &services.iter().find(|known| known["name"] == service).unwrap()["pid"];
    let status = world.operator(&["cat", &format!("/proc/{pid}/status")]).stdout;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
