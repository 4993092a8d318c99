//! Stand-ins for the init, for egress and for pipelock.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

/// The script of the init: notes what it is told, and "reloads" by copying the file, unless a file
/// named `refuse` or `ignore` is there.
const INIT: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$*" >> init.log
[ -e refuse ] && { printf 'no such service\033[2J\n' >&2; exit 1; }
[ -e ignore ] && exit 0
case "$*" in
    'signal egress HUP') cp etc/routes.yaml egress.loaded 2>/dev/null || : > egress.loaded ;;
    'signal pipelock HUP') cp etc/pipelock.yaml pipelock.loaded ;;
    *) echo "unexpected: $*" >&2; exit 64 ;;
esac
"#;

/// What is around supervise.
pub struct Proxies {
    pub egress: String,
    pub pipelock: String,
    pub init: PathBuf,
}

impl Proxies {
    pub fn start(root: &Path) -> Self {
        let init = root.join("sidecar-init");
        std::fs::write(&init, INIT).unwrap();
        std::fs::set_permissions(&init, std::fs::Permissions::from_mode(0o755)).unwrap();
        Proxies {
            egress: listen(root.join("egress.loaded"), answer_as_egress),
            pipelock: listen(root.join("pipelock.loaded"), answer_as_pipelock),
            init,
        }
    }
}

type Answer = fn(method: &str, target: &str, loaded: &str) -> (u16, String);

fn listen(loaded: PathBuf, answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let text = std::fs::read_to_string(&loaded).unwrap_or_default();
            // A client that goes away is no concern of the stand-in's.
            let _ = serve(stream, &text, answer);
        }
    });
    address
}

fn serve(mut stream: TcpStream, loaded: &str, answer: Answer) -> std::io::Result<()> {
    let mut head = BufReader::new(stream.try_clone()?).lines();
    let first = head.next().unwrap_or_else(|| Ok(String::new()))?;
    while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = answer(method, target, loaded);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// 200 for a host with a route, 403 otherwise, and the introspection.
fn answer_as_egress(_method: &str, target: &str, loaded: &str) -> (u16, String) {
    let routes = supervise::change::routes(loaded).unwrap_or_default();
    if target == "http://_egress.local/allowlist" {
        return (200, json!({"routes": routes}).to_string());
    }
    let host = target.trim_start_matches("http://").split('/').next().unwrap_or_default();
    match routes.iter().any(|route| route.host == host) {
        true => (200, "hello".to_owned()),
        false => (403, format!("no route for {host}")),
    }
}

/// As pipelock 2.3 does: a tunnel to a host that is not on its list is refused in these words.
fn answer_as_pipelock(method: &str, target: &str, loaded: &str) -> (u16, String) {
    let host = target.split(':').next().unwrap_or_default();
    let hosts = supervise::change::hosts(loaded).unwrap_or_default();
    let covers = |entry: &str| match entry.strip_prefix('*') {
        Some(end) => format!(".{host}").ends_with(end),
        None => host == entry,
    };
    if method == "CONNECT" && hosts.iter().any(|entry| covers(entry)) {
        return (502, "no upstream in this test".to_owned());
    }
    (403, format!("CONNECT blocked: domain not in allowlist: {host}"))
}
