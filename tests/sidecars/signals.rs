//! Signals to the container, while an agent is at work.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use crate::docker::docker;
use crate::running::Running;
use crate::world::{Setup, hang_up, is_there, pipelock_config, services, waiting};

/// Asks for a route, and waits for the decision in one call.
const ASKING: &str = r#"
import asyncio
from mcp import Client

async def main():
    async with Client("http://supervise:9100/mcp") as client:
        wanted = {"host": "late.example.com", "justification": "a test", "wait_seconds": 600}
        answer = await client.call_tool("propose_egress_route", wanted)
        print(" ".join(answer.content[0].text.split()), flush=True)
        allowed = await client.call_tool("list_allowed", {})
        print(" ".join(allowed.content[0].text.split()), flush=True)

asyncio.run(main())
"#;

#[test]
fn usr1_restarts_pipelock_while_a_call_of_the_agent_waits() {
    if !is_there() {
        return;
    }
    let world = Setup::new().environment("SUPERVISE_WAIT", "10m").start();
    let mut script = Running::python(&world.agent, ASKING);
    let id = waiting(&world);

    let before = services(&world.sidecars);
    world.sidecars.wait_after(|| world.sidecars.kill("USR1"), "service \"pipelock\" is ready");
    assert_ne!(services(&world.sidecars)["pipelock"]["pid"], before["pipelock"]["pid"]);
    // Not in its kill switch, as USR1 itself would put it.
    let said = world.curl(&["https://api.example.com/v1/hello"]);
    assert_eq!(said.stdout, "reached /v1/hello\n\n200");
    for service in ["egress", "git-gate", "supervise"] {
        assert_eq!(services(&world.sidecars)[service]["pid"], before[service]["pid"], "{service}");
    }

    let said = world.operator(&["supervise", "reject", &id, "--note", "not today"]);
    assert_eq!(said.code, 0, "{said:?}");
    let answer = script.line();
    assert!(answer.contains("rejected") && answer.contains("not today"), "{answer}");
    let allowed = script.line();
    assert!(allowed.contains("api.example.com"), "the client goes on: {allowed}");
}

#[test]
fn hup_lets_egress_and_pipelock_read_their_files_again() {
    if !is_there() {
        return;
    }
    let world = Setup::new().start();
    let status = || world.curl(&["https://late.example.com/"]).stdout;
    assert_eq!(status(), "\n000");
    let before = services(&world.sidecars);

    // Both have to know the host before a request gets there.
    let routes = fs::read_to_string(world.setup.path("egress/routes.yaml")).unwrap();
    let routes = format!("{routes}  - host: late.example.com\n");
    let hosts = ["api.example.com", "raw.example.com", "late.example.com"];
    hang_up(&world.sidecars, || {
        world.setup.write("egress/routes.yaml", &routes);
        world.setup.write("pipelock/pipelock.yaml", &pipelock_config(&hosts));
        assert_eq!(status(), "\n000");
    });
    assert_eq!(status(), "reached /\n\n200");
    for (name, service) in services(&world.sidecars) {
        assert_eq!(service["pid"], before[&name]["pid"], "{name}");
    }
}

/// Holds a tunnel in which nothing is said, one in which an answer is half-way, a WebSocket and a
/// push to the git gate that never says what it pushes; and tells when all four are over.
const HOLDING: &str = r#"
import asyncio, ssl
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

async def tunnel():
    reader, writer = await asyncio.open_connection("egress", 9099)
    writer.write(b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n")
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer

async def stream():
    reader, writer = await tunnel()
    await writer.start_tls(ssl.create_default_context(), server_hostname="api.example.com")
    writer.write(b"GET /v1/events HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    await reader.readuntil(b"data: 1\n\n")
    return reader, writer

async def push():
    reader, writer = await asyncio.open_connection("git-gate", 9418)
    request = b"git-receive-pack /app.git\0host=git-gate\0"
    writer.write(b"%04x" % (len(request) + 4) + request)
    length = int(await reader.readexactly(4), 16)
    assert b"report-status" in await reader.readexactly(length - 4)
    return reader, writer

async def over(reader):
    try:
        while await reader.read(65536):
            pass
    except OSError:
        pass

async def main():
    held = [await tunnel(), await stream(), await push()]
    async with connect("wss://raw.example.com/v1/socket", proxy="http://egress:9099") as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        print("open", flush=True)
        for reader, _ in held:
            await over(reader)
        try:
            await socket.recv()
        except ConnectionClosed:
            pass
    print("closed", flush=True)

asyncio.run(main())
"#;

/// An empty repository, which the git gate reaches by its path.
fn with_repository(setup: Setup) -> Setup {
    let folder = setup.path("upstream");
    let made = Command::new("git").args(["init", "-q", "--bare"]).arg(&folder).status().unwrap();
    assert!(made.success());
    give(&folder);
    setup.write(
        "git-gate/upstreams.toml",
        "[gate]\nprotocols = [\"file\"]\n[[upstream]]\nname = \"app\"\nurl = \"file:///upstream\"\n",
    );
    setup.option(&format!("--volume={}:/upstream", folder.display()))
}

/// git serves no repository of another user.
fn give(path: &std::path::Path) {
    chown(path, Some(903), Some(903)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

#[test]
fn stop_ends_all_within_the_grace_although_tunnels_are_open() {
    if !is_there() {
        return;
    }
    let world = with_repository(Setup::new()).start();
    let mut script = Running::python(&world.agent, HOLDING);
    assert_eq!(script.line(), "open", "{:?}", world.egress_log());

    docker(&["stop", "-t", "10", world.sidecars.name()]);
    assert_eq!(world.sidecars.wait(), 0, "{}", world.sidecars.stderr());
    let stderr = world.sidecars.stderr();
    let record = world.sidecars.record();
    assert!(record.starts_with("sidecar-init: ended: SIGTERM received after "), "{record}");
    // It would name those who overran the grace.
    assert!(record.ends_with("; exit code 0"), "{record}");
    assert!(!stderr.contains("SIGKILL"), "{stderr}");
    assert_eq!(script.line(), "closed");
}
