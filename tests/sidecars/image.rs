//! What is in the image, and what it does as it is.

use serde_json::Value;

use crate::world::{alone, exec, is_there, wait_until_healthy};

#[test]
fn everything_that_the_sidecars_need_is_there_and_runs() {
    if !is_there() {
        return;
    }
    let sidecars = alone(&["--env=CLAUDE_BOTTLE_SIDECAR_DAEMONS=supervise"]);
    // What each says of its version, which is shown for whoever reads the log.
    let probes: [(&[&str], &str); 9] = [
        (&["pipelock", "version"], ""),
        (&["gitleaks", "version"], "8.30"),
        (&["mitmdump", "--version"], "Mitmproxy: 12."),
        (&["git", "--version"], "git version 2."),
        (&["ssh", "-V"], "OpenSSH_"),
        (&["supervise", "--version"], "supervise "),
        (&["git-gate", "--version"], "git-gate "),
        (&["sidecar-init", "--version"], "sidecar-init "),
        (&["sh", "-c", "echo a shell"], "a shell"),
    ];
    for (command, wanted) in probes {
        let said = exec(&sidecars, &[], command);
        let version = format!("{}{}", said.stdout, said.stderr);
        assert!(said.code == 0 && version.contains(wanted), "{command:?}: {said:?}");
        eprintln!("{command:?}: {}", version.lines().next().unwrap_or_default());
    }
    // Services look for these two where the image promises them.
    for (place, test) in [
        ("/usr/local/bin/pipelock", "-x"),
        ("/usr/bin/gitleaks", "-x"),
        ("/app/sidecar-init", "-x"),
        ("/app/egress_entrypoint.sh", "-f"),
        ("/etc/pipelock/pipelock.yaml", "-f"),
        // Where it was before, and where a file of its own can still be mounted.
        ("/etc/pipelock.yaml", "-f"),
        ("/etc/egress/routes.yaml", "-f"),
        ("/etc/sidecar-init/bundle.toml", "-f"),
        ("/etc/git-gate/", "-d"),
        ("/git", "-d"),
        ("/git-gate/creds", "-d"),
        ("/run/supervise/queue", "-d"),
        ("/home/mitmproxy/.mitmproxy", "-d"),
    ] {
        assert_eq!(exec(&sidecars, &[], &["test", test, place]).code, 0, "{test} {place}");
    }
}

/// Asks egress and pipelock for a tunnel and for a page, and supervise for what is allowed.
const ASK: &str = r#"
import http.client, json
seen = {}
for name, port in (("egress", 9099), ("pipelock", 8888)):
    for method, target in (("CONNECT", "api.example.com:443"), ("GET", "http://api.example.com/")):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request(method, target)
        seen[f"{name} {method}"] = connection.getresponse().status
call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
call["params"] = {"name": "list_allowed", "arguments": {}}
headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
connection = http.client.HTTPConnection("127.0.0.1", 9100)
connection.request("POST", "/mcp", json.dumps(call), headers)
seen["allowed"] = json.loads(connection.getresponse().read())["result"]
print(json.dumps(seen))
"#;

#[test]
fn as_it_is_it_becomes_healthy_and_denies_everything() {
    if !is_there() {
        return;
    }
    let sidecars = alone(&[]);
    wait_until_healthy(&sidecars);
    let said = exec(&sidecars, &[], &["python3", "-c", ASK]);
    let seen: Value = serde_json::from_str(&said.stdout).expect(&said.stderr);
    for request in ["egress CONNECT", "egress GET", "pipelock CONNECT", "pipelock GET"] {
        assert_eq!(seen[request], 403, "{request}: {seen}");
    }
    let allowed = seen["allowed"].to_string();
    assert!(!allowed.contains("api.example.com"), "{allowed}");
    for address in ["git://127.0.0.1/app.git", "http://127.0.0.1:9420/app.git"] {
        let said = exec(&sidecars, &[], &["git", "ls-remote", address]);
        assert_eq!(said.code, 128, "{address}: {said:?}");
    }
}
