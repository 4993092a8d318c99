//! What the agent can make each sidecar keep: attacks that need no permission, or an ordinary one, each
//! on sidecars of its own. The table in docs/sidecars.md is what this prints.

use crate::downloads::{self, DIGEST};
use crate::git::memory::{DELTA_BOMB, cgroup};
use crate::git::{refused, upstream};
use crate::web::{MOST_MEMORY_KIB, most_memory_kib};
use crate::world::{World, is_there};

const SERVICES: [&str; 4] = ["egress", "pipelock", "git-gate", "supervise"];

/// Sends what begins with `begin` and goes on with `more`, for as long as it is taken, and prints the
/// line that is answered. The answer is lost where the other side closes while much is on its way
/// (RFC 9112, section 9.6): so the first connection ends a little above the limit, and waits.
const ENDLESS: &str = "
import socket, sys
host, port, begin, more, limit = sys.argv[1:]
begin, more = (text.encode().decode('unicode_escape').encode() for text in (begin, more))
def connected():
    connection = socket.create_connection((host, int(port)))
    connection.sendall(begin)
    return connection
first = connected()
first.sendall((more * (int(limit) // len(more) + 1))[:int(limit)])
print(first.recv(4096).decode().split('\\r\\n')[0])
for _ in range(4):
    block, sent = more * (1_000_000 // len(more)), 0
    try:
        connection = connected()
        while sent < 200_000_000:
            connection.sendall(block)
            sent += len(block)
    except OSError:
        pass
    print(sent < 200_000_000)
";

enum Attack {
    /// Where to, how it begins, with what it goes on, after how many bytes of that it is refused, and
    /// how.
    Endless(&'static str, u16, &'static str, &'static str, u32, &'static str),
    /// A push, and what is said of it.
    Push(&'static str, &'static str),
    /// What is downloaded, and its size.
    Download(&'static str, &'static str),
}
use Attack::{Download, Endless, Push};

const ATTACKS: [(&str, Attack); 6] = [
    (
        "a head without end, four times",
        Endless(
            "egress",
            9099,
            "GET http://nowhere.invalid/ HTTP/1.1\\r\\nHost: nowhere.invalid\\r\\nX: ",
            "A",
            70_000,
            "HTTP/1.1 431 Request Header Fields Too Large",
        ),
    ),
    (
        "a path without end, encoded over and over, four times",
        Endless(
            "egress",
            9099,
            "GET http://api.example.com/v1/%",
            "25",
            20_000,
            "HTTP/1.1 414 Request-URI Too Long",
        ),
    ),
    (
        "a message to supervise without end, four times",
        Endless(
            "supervise",
            9100,
            "POST /mcp HTTP/1.1\\r\\nHost: supervise:9100\\r\\nContent-Type: application/json\\r\\n\
             Accept: application/json, text/event-stream\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n",
            "5\\r\\naaaaa\\r\\n",
            280_000,
            "HTTP/1.1 413 Payload Too Large",
        ),
    ),
    (
        "a push of 16 kB: a delta that makes 6 GB",
        Push(
            "python -c \"$bomb\" $(git rev-parse HEAD)",
            "an object in it unpacks to 6442450560 bytes; max-file-size is 52428800",
        ),
    ),
    (
        "a push of 2 MB: gzip with 1.9 GB of zeros",
        Push(
            "head -c 1900000000 /dev/zero | gzip -9 > zeros.gz; commit; push main",
            "what is packed in \"zeros.gz\" has more than max-file-size (52428800 bytes)",
        ),
    ),
    (
        "a download of 200 MB with `scan: {responses: none}`",
        Download("https://files.example.com/release.bin", "200000000 "),
    ),
];

impl Attack {
    fn end(&self) -> &'static str {
        match self {
            Endless(.., answer) => answer.split(' ').nth(1).unwrap(),
            Push(..) => "refused",
            Download(..) => "arrives",
        }
    }
}

/// All four, with the web and the git server, in 1 GiB.
fn start() -> World {
    let setup = upstream::setup("");
    downloads::allow(&setup);
    upstream::start(setup.option("--memory=1g").option("--memory-swap=1g"))
}

fn carry_out(world: &World, attack: &Attack) {
    match *attack {
        Endless(host, port, begin, more, limit, answer) => {
            let (port, limit) = (port.to_string(), limit.to_string());
            let said = world.agent_python(ENDLESS, &[host, &port, begin, more, &limit]);
            let expected = format!("{answer}\n{}", "True\n".repeat(4));
            assert_eq!((said.code, said.stdout), (0, expected), "{}", said.stderr);
        }
        Push(script, reason) => {
            let bomb = format!("bomb=$(cat <<'END'\n{DELTA_BOMB}\nEND\n)");
            let clone = "git clone -q http://git-gate:9420/app.git client; cd client";
            let said = refused(world, &format!("{bomb}\n{clone}\n{script}"));
            assert!(said.contains(reason), "{said}");
        }
        Download(url, size) => {
            let said = world.agent_python(DIGEST, &[url]);
            assert!(said.stdout.starts_with(size), "{said:?}");
        }
    }
}

/// A row of the table.
fn row(world: &World, name: &str, end: &str) -> String {
    let megabytes = |kib: u64| format!("{} MB", kib * 1024 / 1_000_000);
    let (all, killed) = cgroup(world);
    assert_eq!(killed, "oom_kill 0", "{name}");
    let mut cells = vec![name.to_owned(), end.to_owned()];
    for service in SERVICES {
        let most = most_memory_kib(world, service);
        assert!(most < MOST_MEMORY_KIB, "{name}: {service} has taken {most} KiB");
        cells.push(megabytes(most));
    }
    cells.push(megabytes(all >> 10));
    format!("| {} |", cells.join(" | "))
}

#[test]
fn what_an_agent_can_make_the_sidecars_keep() {
    if !is_there() {
        return;
    }
    let mut rows = vec![row(&start(), "none", "")];
    for (name, attack) in &ATTACKS {
        let world = start();
        carry_out(&world, attack);
        rows.push(row(&world, name, attack.end()));
        assert_eq!(world.operator(&["sidecar-init", "health"]).code, 0, "{name}");
    }
    eprintln!("{}", rows.join("\n"));
}
