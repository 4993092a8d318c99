//! Sockets that the init holds for services.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use harness::{PYTHON, Position, bundle, bundle_command, positions, run, start_bundle};
use test_support::notices::is_root;
use test_support::programs::has;
use test_support::{free_port, until};

/// What libc calls EADDRINUSE.
const IN_USE: &str =
    if cfg!(target_env = "musl") { "Address in use" } else { "Address already in use" };

/// Answers each connection with its pid and LISTEN_PID, and ends with the first that says "end".
const SERVER: &str = r#"
import os, socket, sys
listener = socket.socket(fileno=2 + int(os.environ["LISTEN_FDS"]))
print("up", flush=True)
while True:
    connection, _ = listener.accept()
    asked = connection.recv(100)
    connection.sendall(b"%d %s" % (os.getpid(), os.environ["LISTEN_PID"].encode()))
    connection.close()
    if asked == b"end":
        sys.exit(0)
"#;

fn server(listen: &str, more: &str) -> String {
    format!(
        "[[service]]\nname = \"web\"\ncommand = [\"/usr/bin/python3\", \"-c\", '''{SERVER}''']\n\
         listen = [{listen}]\nenvironment-drop = [\"PYTHON*\"]\n{more}\n"
    )
}

/// The pid that the server says it has.
fn exchange(mut connection: impl Read + Write, text: &str) -> String {
    connection.write_all(text.as_bytes()).unwrap();
    answer(connection)
}

fn answer(mut connection: impl Read) -> String {
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (pid, listen_pid) = answer.split_once(' ').expect("pid and LISTEN_PID");
    assert_eq!(pid, listen_pid);
    pid.to_owned()
}

#[test]
fn a_connection_waits_while_the_service_starts_again() {
    if !has(PYTHON) {
        return;
    }
    for position in positions() {
        let port = free_port();
        let listen = format!("\"tcp:127.0.0.1:{port}\"");
        let restart = "restart = { policy = \"always\", delay = \"0s\" }";
        let mut running = start_bundle(position, &server(&listen, restart));
        let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
        // Not sooner: what another test forks right now may still hold the listener of `free_port`.
        running.wait_for("[web] up");
        let first = exchange(connect(), "hello");
        // This one ends it; the next is made before anybody can know whether there is a server.
        assert_eq!(exchange(connect(), "end"), first);
        let second = exchange(connect(), "hello");
        assert_ne!(first, second);
        running.wait_for("[web] up");
        running.signal("TERM");
        assert_eq!(running.end().code(), 0);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}

#[test]
fn a_unix_socket_is_there_before_the_service_and_gone_after_it() {
    if !has(PYTHON) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    // A stale one is in the way.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = format!("\"tcp:127.0.0.1:{}\", \"unix:{}\"", free_port(), path.display());
    let running = start_bundle(Position::Child, &server(&listen, ""));
    let connection = until("it is there", || UnixStream::connect(&path).ok());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o666);
    exchange(connection, "hello");
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_service_without_privileges_gets_a_low_port() {
    if !has(PYTHON) || !is_root() {
        return;
    }
    let free = (600..1024).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let port = free.unwrap().local_addr().unwrap().port();
    let listen = format!("\"tcp:127.0.0.1:{port}\"");
    let more = "user = 65534\nworking-directory = \"/\"";
    let mut running = start_bundle(Position::Child, &server(&listen, more));
    running.wait_for("[web] up");
    let pid = exchange(TcpStream::connect(("127.0.0.1", port)).unwrap(), "hello");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
}

#[test]
fn what_can_not_be_listened_on_starts_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = format!(
        "[[service]]\nname = \"a\"\ncommand = [\"echo\", \"started\"]\n\
         [[service]]\nname = \"b\"\ncommand = [\"true\"]\nlisten = [\"tcp:127.0.0.1:{port}\"]\n"
    );
    let ended = run(&mut bundle_command(Position::Child, &bundle(&text)));
    assert_eq!((ended.code(), &*ended.stdout), (125, ""), "{ended:?}");
    let words = format!("service \"b\" can't listen on tcp:127.0.0.1:{port}: {IN_USE}");
    assert!(ended.stderr.contains(&words), "{ended:?}");
}

/// A path at which somebody listens who accepts nothing more: a connect(2) that waits would wait
/// for them.
struct FullBacklog {
    path: std::path::PathBuf,
    _listener: UnixListener,
    _waiting: UnixStream,
    _directory: tempfile::TempDir,
}

impl FullBacklog {
    fn new() -> FullBacklog {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        // A backlog of none holds one connection, listen(2).
        rustix::net::listen(&listener, 0).unwrap();
        let waiting = UnixStream::connect(&path).unwrap();
        FullBacklog { path, _listener: listener, _waiting: waiting, _directory: directory }
    }

    fn refusal(&self) -> String {
        format!("can't listen on unix:{}: {IN_USE}", self.path.display())
    }
}

#[test]
fn a_full_backlog_at_its_path_is_not_waited_for_at_the_start() {
    let full = FullBacklog::new();
    let text = format!(
        "[[service]]\nname = \"a\"\ncommand = [\"sleep\", \"1000\"]\nlisten = [\"unix:{}\"]\n",
        full.path.display()
    );
    let ended = run(&mut bundle_command(Position::Child, &bundle(&text)));
    assert_eq!(ended.code(), 125, "{ended:?}");
    assert!(ended.stderr.contains(&full.refusal()), "{ended:?}");

    // Without a control socket everything else works.
    let text = format!(
        "[bundle]\nsocket = \"{}\"\n[[service]]\nname = \"a\"\ncommand = [\"true\"]\n",
        full.path.display()
    );
    let ended = run(&mut bundle_command(Position::Child, &bundle(&text)));
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains("can't open the control socket"), "{ended:?}");
}

#[test]
fn a_full_backlog_at_its_path_is_not_waited_for_at_a_reload() {
    let full = FullBacklog::new();
    let control = full.path.with_file_name("control");
    let text = |more: &str| {
        format!(
            "[bundle]\nsocket = \"{}\"\n[[service]]\nname = \"a\"\n\
             command = [\"sh\", \"-c\", \"echo up; exec sleep 1000\"]\n{more}",
            control.display()
        )
    };
    let mut running = start_bundle(Position::Child, &text(""));
    running.wait_for("[a] up");
    running.rewrite(&text(&format!("listen = [\"unix:{}\"]\n", full.path.display())));
    let reload = std::process::Command::new(harness::binary())
        .args(["reload", "--socket"])
        .arg(&control)
        .output();
    let reload = reload.unwrap();
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert_eq!(reload.status.code(), Some(1), "{said}");
    assert!(said.contains(&full.refusal()), "{said}");
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
}

#[test]
fn a_file_in_the_place_of_a_socket_is_left_alone() {
    let precious = bundle("precious");
    let path = precious.path().display();
    let service = "[[service]]\nname = \"a\"\ncommand = [\"true\"]\n";
    for (text, code) in [
        (format!("{service}listen = [\"unix:{path}\"]\n"), 125),
        (format!("[bundle]\nsocket = \"{path}\"\n{service}"), 0),
    ] {
        let ended = run(&mut bundle_command(Position::Child, &bundle(&text)));
        assert_eq!(ended.code(), code, "{ended:?}");
        assert!(ended.stderr.contains(IN_USE), "{ended:?}");
        assert_eq!(std::fs::read_to_string(precious.path()).unwrap(), "precious");
    }
}
