//! Sessions end: silent ones, endless ones, too many, and all of them when the gate does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use harness::{Client, Settings, World, text};
use rustix::process::Signal;
use test_support::{HANG, until};

fn world(gate: &str) -> Option<World> {
    World::with(&Settings { gate, ..Settings::default() })
}

fn connect(world: &World, protocol: &str) -> TcpStream {
    let stream = TcpStream::connect(world.gate.address(protocol)).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream
}

/// Begins a push as git does, up to the list of refs, and no further.
fn begin_push(world: &World) -> TcpStream {
    let mut stream = connect(world, "git");
    let request = "git-receive-pack /app.git\0host=localhost\0";
    write!(stream, "{:04x}{request}", request.len() + 4).unwrap();
    let mut first = [0; 8];
    stream.read_exact(&mut first).unwrap();
    assert_ne!(&first[4..], b"ERR ", "the gate refuses");
    stream
}

/// The begin of a push over HTTP whose body has this length.
fn push_request(length: usize) -> String {
    format!(
        "POST /app.git/git-receive-pack HTTP/1.1\r\nHost: x\r\n\
         Content-Type: application/x-git-receive-pack-request\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// Reads until the other side closes.
fn closed(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "never closed"),
    }
    text(&rest)
}

/// The processes whose parent is this one.
fn children(parent: u32) -> Vec<String> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_push_that_hangs_is_cut_with_all_its_processes() {
    let Some(world) = world("idle-timeout = \"1s\"") else { return };
    let stream = begin_push(&world);
    closed(stream);
    assert_eq!(world.gate.wait_for("session-cut")["reason"], "idle-timeout");
    until("its git is gone", || children(world.gate.pid()).is_empty().then_some(()));
}

/// Over HTTP, since a push there begins without a refresh, which may take longer than this session.
#[test]
fn a_session_that_never_ends_is_cut_though_it_is_not_silent() {
    let gate = "request-timeout = \"2s\"\nidle-timeout = \"2s\"\nsession-timeout = \"4s\"\n\
                fetch-timeout = \"4s\"\npush-timeout = \"4s\"";
    let Some(world) = world(gate) else { return };
    let mut stream = connect(&world, "http");
    stream.write_all(push_request(100_000).as_bytes()).unwrap();
    // A command that never comes to its end, one byte after another.
    let command = format!("fff0{}", "0".repeat(60_000));
    for byte in command.bytes() {
        if stream.write_all(&[byte]).is_err() || world.gate.event("session-cut").is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(world.gate.wait_for("session-cut")["reason"], "session-timeout");
    until("its git is gone", || children(world.gate.pid()).is_empty().then_some(()));
}

#[test]
fn a_silent_connection_is_closed_and_no_git_is_started_for_it() {
    let Some(world) = world("request-timeout = \"1s\"") else { return };
    for protocol in ["git", "http"] {
        let stream = connect(&world, protocol);
        assert!(children(world.gate.pid()).is_empty());
        closed(stream);
    }
}

#[test]
fn a_push_over_http_that_hangs_is_cut() {
    let Some(world) = world("idle-timeout = \"1s\"") else { return };
    let mut stream = connect(&world, "http");
    stream.write_all(push_request(1000).as_bytes()).unwrap();
    stream.write_all(b"00").unwrap();
    closed(stream);
    let cut = world.gate.wait_for("session-cut");
    assert_eq!((&cut["protocol"], &cut["reason"]), (&"http".into(), &"idle-timeout".into()));
    until("its git is gone", || children(world.gate.pid()).is_empty().then_some(()));
}

#[test]
fn too_many_sessions_are_told_so() {
    let Some(world) = world("max-sessions = 2") else { return };
    let held = [begin_push(&world), begin_push(&world)];
    let output = Client::try_clone(&world.gate.git_url(), &world.path("one"));
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("git-gate: refused: too many sessions"), "{said}");
    let output = Client::try_clone(&world.gate.http_url(), &world.path("two"));
    let said = text(&output.stderr);
    assert!(said.contains("git-gate: refused: too many sessions"), "{said}");
    drop(held);
    until("there is room again", || {
        let path = world.path("three");
        Client::try_clone(&world.gate.git_url(), &path).status.success().then_some(())
    });
}

/// Asks as a watcher of the gate does.
fn health(world: &World) -> String {
    let mut stream = connect(world, "health");
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    closed(stream)
}

#[test]
fn clients_that_take_all_sessions_do_not_make_the_gate_look_ill() {
    let Some(world) = world("max-sessions = 2") else { return };
    let _held: Vec<TcpStream> = (0..20).map(|_| connect(&world, "http")).collect();
    world.gate.wait_for("session-refused");
    let answer = health(&world);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn silent_watchers_are_closed_and_others_answered() {
    let Some(world) = World::begin() else { return };
    let silent: Vec<TcpStream> = (0..40).map(|_| connect(&world, "health")).collect();
    let answer = health(&world);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for stream in silent {
        closed(stream);
    }
}

#[test]
fn term_ends_it_with_code_0_and_leaves_no_process() {
    let Some(mut world) = World::begin() else { return };
    let stream = begin_push(&world);
    let leaders = children(world.gate.pid());
    assert_eq!(leaders.len(), 1);
    world.gate.signal(Signal::TERM);
    world.gate.wait_for("ending");
    let address = world.gate.address("git");
    until("the port is closed", || TcpStream::connect(&address).err());
    // The session does not end by itself, so it is cut.
    assert_eq!(world.gate.end().code(), Some(0));
    closed(stream);
    let gone = |pid: &String| !std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(leaders.iter().all(gone));
}

#[test]
fn a_push_that_is_under_way_may_end_when_the_gate_is_asked_to() {
    let script = "[ $1 = stdin ] && touch \"$(dirname \"$0\")/begun\" && sleep 1; exec REAL \"$@\"";
    let settings = Settings { gitleaks: Some(script), ..Settings::default() };
    let Some(mut world) = World::with(&settings) else { return };
    let client = world.client("client");
    client.commit("a", "1\n");
    let push = client.command(&["push", "origin", "main"]).stderr(Stdio::piped()).spawn().unwrap();
    until("the scan has begun", || world.path("begun").exists().then_some(()));
    world.gate.signal(Signal::TERM);
    assert_eq!(world.gate.end().code(), Some(0));
    let output = push.wait_with_output().unwrap();
    // Four seconds are much; where they are not enough the session is cut, and that is said.
    let is_cut = world.gate.event("session-cut").is_some();
    assert_eq!(output.status.success(), !is_cut, "{}", text(&output.stderr));
    assert!(is_cut || world.refs(&world.upstream()).contains(&client.head()));
}

#[test]
fn a_client_that_goes_away_takes_its_processes_along() {
    let script = "[ $1 = stdin ] && touch \"$(dirname \"$0\")/begun\" && exec sleep 1000; \
                  exec REAL \"$@\"";
    let settings = Settings { gitleaks: Some(script), ..Settings::default() };
    let Some(world) = World::with(&settings) else { return };
    let client = world.client("client");
    client.commit("a", "1\n");
    let mut push = client.command(&["push", "-q", "origin", "main"]).spawn().unwrap();
    until("the scan has begun", || world.path("begun").exists().then_some(()));
    push.kill().unwrap();
    push.wait().unwrap();
    until("its git is gone", || children(world.gate.pid()).is_empty().then_some(()));
    assert!(!world.refs(&world.upstream()).contains(&client.head()));
}
