//! Stand-ins for the init, for egress and for pipelock.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

/// The script of the init: notes what it is told, and "reloads" by copying the file, unless a file
/// named `refuse` or `ignore` is there, or `refuse-SERVICE` or `ignore-SERVICE`. With `lose-queue`
/// the queue is gone by then.
const INIT: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$*" >> init.log
[ -e lose-queue ] && mv run/queue run/lost 2>/dev/null
[ -e refuse ] || [ -e "refuse-$2" ] && { printf 'no such service\033[2J\n' >&2; exit 1; }
[ -e ignore ] || [ -e "ignore-$2" ] && exit 0
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
        let pipelock = listen(root.join("pipelock.loaded"), answer_as_pipelock);
        let (file, behind) = (root.join("etc/pipelock.yaml"), pipelock.clone());
        let egress = listen(root.join("egress.loaded"), move |method, target, loaded| {
            // Where pipelock has no file there is none.
            answer_as_egress(method, target, loaded, file.exists().then_some(&behind))
        });
        Proxies { egress, pipelock, init }
    }

    /// The status of the agent's own request to this host.
    pub fn ask_as_agent(&self, host: &str) -> u16 {
        ask(&self.egress, "GET", &format!("http://{host}/v1/"))
    }
}

fn ask(address: &str, method: &str, target: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("{method} {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn listen(
    loaded: PathBuf,
    answer: impl Fn(&str, &str, &str) -> (u16, String) + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let text = std::fs::read_to_string(&loaded).unwrap_or_default();
            // A client that goes away is no concern of the stand-in's.
            let _ = serve(stream, |method, target| answer(method, target, &text));
        }
    });
    address
}

fn serve(
    mut stream: TcpStream,
    answer: impl Fn(&str, &str) -> (u16, String),
) -> std::io::Result<()> {
    let mut head = BufReader::new(stream.try_clone()?).lines();
    let first = head.next().unwrap_or_else(|| Ok(String::new()))?;
    while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = answer(method, target);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// The introspection; for a host with a route what the proxy behind says, if there is one; else 403.
fn answer_as_egress(
    _method: &str,
    target: &str,
    loaded: &str,
    behind: Option<&String>,
) -> (u16, String) {
    let routes = supervise::change::routes(loaded).unwrap_or_default();
    if target == "http://_egress.local/allowlist" {
        return (200, json!({"routes": routes}).to_string());
    }
    let host = target.trim_start_matches("http://").split('/').next().unwrap_or_default();
    // Other than pipelock's, a wildcard of egress does not stand for the name itself.
    let covers = |pattern: &str| match pattern.strip_prefix('*') {
        Some(end) => host.ends_with(end),
        None => host == pattern,
    };
    if !routes.iter().any(|route| covers(&route.host)) {
        return (403, format!("no route for {host}"));
    }
    match behind.map(|address| ask(address, "CONNECT", &format!("{host}:443"))) {
        Some(403) => (403, format!("pipelock refuses {host}")),
        _ => (200, "hello".to_owned()),
    }
}

/// As pipelock 2.3 does: a tunnel to a host that is not on its list is refused in these words.
fn answer_as_pipelock(method: &str, target: &str, loaded: &str) -> (u16, String) {
    let host = target.split(':').next().unwrap_or_default();
    let hosts = supervise::change::hosts(loaded).unwrap_or_default();
    let covers = |entry: &str| {
        let entry = entry.to_lowercase();
        let entry = entry.trim_end_matches('.');
        match entry.strip_prefix('*') {
            Some(end) => format!(".{host}").ends_with(end),
            None => host == entry,
        }
    };
    if method == "CONNECT" && hosts.iter().any(|entry| covers(entry)) {
        return (502, "no upstream in this test".to_owned());
    }
    (403, format!("CONNECT blocked: domain not in allowlist: {host}"))
}
