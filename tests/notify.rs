//! What services say by datagrams of sd_notify(3), and what the init tells its parent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{PYTHON, Position, bundle, bundle_command, kill, positions, start, start_bundle};
use test_support::notices::is_root;
use test_support::programs::has;
use test_support::{HANG, until};

/// A service in Python: `say` sends a datagram, `wait` waits for a signal.
const PRELUDE: &str = r#"
import os, signal, socket, sys
def say(text):
    to = os.environ["NOTIFY_SOCKET"].replace("@", "\0")
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(text.encode(), to)
def out(text):
    print(text, flush=True)
wait = signal.pause
signal.signal(signal.SIGTERM, lambda *_: (out("TERM"), os._exit(0)))
"#;

fn service(script: &str, more: &str) -> String {
    named("a", script, more)
}

fn named(name: &str, script: &str, more: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\ncommand = [\"/usr/bin/python3\", \"-c\", '''{PRELUDE}{script}''']\n\
         notify = \"systemd\"\nenvironment-drop = [\"PYTHON*\"]\n{more}\n"
    )
}

#[test]
fn a_daemon_that_forks_away_says_its_new_main_process() {
    if !has(PYTHON) {
        return;
    }
    let script = r#"
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    say("MAINPID=%d\nREADY=1" % os.getpid())
    os.write(write, b"said")
    wait()
else:
    os.read(read, 4)
    os._exit(0)
"#;
    for position in positions() {
        // Without after, the second one would start at once.
        let second = "[[service]]\nname = \"b\"\ncommand = [\"sh\", \"-c\", \"echo second; exit 7\"]\nafter = [\"a\"]\n";
        let mut running = start_bundle(position, &(service(script, "") + second));
        running.wait_for("[b] second");
        let ended = running.end();
        assert_eq!(ended.code(), 7, "the daemon's first process did not end it: {ended:?}");
        assert!(ended.stdout.contains("[a] TERM"), "{ended:?}");
    }
}

#[test]
fn the_exit_code_of_another_ones_child_is_not_known() {
    if !has(PYTHON) {
        return;
    }
    let script = r#"
if os.fork() == 0:
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(9))
    say("MAINPID=%d" % os.getpid())
    say("READY=1")
    wait()
else:
    wait()
"#;
    let second = "[[service]]\nname = \"b\"\ncommand = [\"sh\", \"-c\", \"echo second; exec sleep 1000\"]\nafter = [\"a\"]\n[signals]\nUSR1 = { to = [\"a\"] }\n";
    let mut running = start_bundle(Position::Child, &(service(script, "") + second));
    running.wait_for("[b] second");
    running.signal("USR1");
    let ended = running.end();
    assert_eq!(ended.code(), 125, "{ended:?}");
    assert!(ended.stderr.contains("its exit code went to another process"), "{ended:?}");
}

#[test]
fn a_stranger_is_no_main_process() {
    if !has(PYTHON) {
        return;
    }
    let script = "say('MAINPID=%d' % os.getppid()); say('READY=1'); wait()";
    let mut running = start_bundle(
        Position::Child,
        &(service(script, "")
            + "[[service]]\nname = \"b\"\ncommand = [\"echo\", \"b\"]\nafter = [\"a\"]\non-exit = \"ignore\"\n"),
    );
    running.wait_for("[b] b");
    let words = format!("says MAINPID={}, which is no process of its own", running.pid());
    running.signal("TERM");
    let ended = running.end();
    assert!(ended.code() == 0 && ended.stderr.contains(&words), "{ended:?}");
}

/// A directory that every user may look into.
fn open_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

#[test]
fn nobody_has_others_signalled_by_calling_them_its_main_process() {
    if !has(PYTHON) || !is_root() {
        return;
    }
    for position in positions() {
        let directory = open_directory();
        let place = directory.path().join("pid").display().to_string();
        // An orphan of root, in a session of its own.
        let daemon = format!(
            "(setsid sh -c 'echo $$ >{place}.new; mv {place}.new {place}; exec sleep 1000' &)\n\
             while [ ! -e {place} ]; do :; done; echo up; exec sleep 1000"
        );
        let root = format!(
            "[[service]]\nname = \"root\"\ncommand = [\"sh\", \"-c\", '''{daemon}''']\nready = {{ log = \"up\" }}\n"
        );
        let script = format!(
            "say('MAINPID=' + open('{place}').read()); say('READY=1'); say('WATCHDOG=trigger'); wait()"
        );
        let more = "user = 54321\nafter = [\"root\"]\non-exit = \"ignore\"";
        let mut running = start_bundle(position, &(root + &service(&script, more)));
        // Who is ended is the service that wants to be, and not the other's daemon.
        running.wait_for("[a] TERM");
        running.signal("TERM");
        let ended = running.end();
        let words = "which is no process of its own: ignored";
        assert!(ended.code() == 0 && ended.stderr.contains(words), "{ended:?}");
    }
}

#[test]
fn a_process_without_privileges_makes_none_with_them_the_main_one() {
    if !has(PYTHON) || !is_root() {
        return;
    }
    let script = r#"
root = os.fork()
if root == 0:
    signal.signal(signal.SIGTERM, lambda *_: (out("the child's TERM"), os._exit(0)))
    wait()
if os.fork() == 0:
    os.setuid(54321)
    say("MAINPID=%d\nREADY=1" % root)
    say("WATCHDOG=trigger")
wait()
"#;
    for position in positions() {
        let ended = start_bundle(position, &service(script, "")).end();
        let words = "which is of a user whom it may not signal: ignored";
        assert!(ended.code() == 124 && ended.stderr.contains(words), "{ended:?}");
        assert!(ended.stdout.contains("[a] TERM"), "{ended:?}");
    }
}

#[test]
fn nobody_enters_the_process_group_of_a_neighbour() {
    if !has(PYTHON) {
        return;
    }
    for position in positions() {
        let directory = open_directory();
        let place = directory.path().join("pid").display().to_string();
        let a = format!("open('{place}', 'w').write(str(os.getpid())); say('READY=1'); wait()");
        let b = format!(
            r#"
child = os.fork()
if child == 0:
    wait()
try:
    os.setpgid(child, int(open("{place}").read()))
    out("entered")
except PermissionError:
    out("kept out")
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
say("READY=1")
wait()
"#
        );
        let b = named("b", &b, "after = [\"a\"]");
        let mut running = start_bundle(position, &(service(&a, "") + &b));
        assert_eq!(running.line(), "[b] kept out");
        running.signal("TERM");
        assert_eq!(running.end().code(), 0);
    }
}

#[test]
fn a_neighbour_of_the_same_user_does_not_speak_for_a_service() {
    if !has(PYTHON) {
        return;
    }
    for position in positions() {
        let directory = open_directory();
        let place = directory.path().join("address").display().to_string();
        let a = format!(
            "open('{place}', 'w').write(os.environ['NOTIFY_SOCKET']); say('READY=1'); wait()"
        );
        // An orphan, in a session of its own.
        let b = format!(
            r#"
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
main = os.getpid()
between = os.fork()
if between == 0:
    os.setsid()
    between = os.getpid()
    if os.fork() > 0:
        os._exit(0)
    while os.getppid() == between:
        pass
    os.environ["NOTIFY_SOCKET"] = open("{place}").read()
    for text in ["WATCHDOG=trigger", "MAINPID=%d" % os.getpid(), "STOPPING=1"]:
        say(text)
    os.kill(main, signal.SIGUSR1)
    wait()
os.waitpid(between, 0)
signal.sigwait([signal.SIGUSR1])
out("said")
say("READY=1")
wait()
"#
        );
        let b = named("b", &b, "after = [\"a\"]");
        let mut running = start_bundle(position, &(service(&a, "") + &b));
        running.wait_for("[b] said");
        running.signal("TERM");
        let ended = running.end();
        assert_eq!(ended.code(), 0, "{ended:?}");
        assert!(ended.stderr.contains("\"a\" got a notification from process"), "{ended:?}");
    }
}

#[test]
fn a_silent_watchdog_is_a_failure() {
    if !has(PYTHON) {
        return;
    }
    let script = r#"
assert os.environ["WATCHDOG_USEC"] == "50000"
say("READY=1")
say("WATCHDOG=1")
wait()
"#;
    let ended = start_bundle(Position::Child, &service(script, "watchdog = \"50ms\"")).end();
    assert_eq!(ended.code(), 124, "{ended:?}");
    let words = "\"a\" has failed its liveness check: no WATCHDOG=1 within 50ms";
    assert!(ended.stderr.contains(words), "{ended:?}");
}

/// A service that says every quarter of a second that it is alive, and prints so by itself.
fn pinging() -> String {
    let script = r#"
import select
say("READY=1")
while True:
    say("WATCHDOG=1")
    out("alive")
    select.select([], [], [], 0.25)
"#;
    service(script, "watchdog = \"1s\"\nlog = \"inherit\"")
}

#[test]
fn what_was_said_while_the_init_was_stopped_counts() {
    if !has(PYTHON) {
        return;
    }
    for position in positions() {
        let mut running = start_bundle(position, &pinging());
        running.wait_for("alive");
        running.signal("STOP");
        // For longer than the watchdog's span, and less than the socket's queue takes.
        (0..7).for_each(|_| running.wait_for("alive"));
        running.signal("CONT");
        (0..7).for_each(|_| running.wait_for("alive"));
        running.signal("TERM");
        let ended = running.end();
        assert_eq!(ended.code(), 0, "{ended:?}");
    }
}

#[test]
fn a_pause_of_all_is_nobodys_silence() {
    if !has(PYTHON) {
        return;
    }
    let mut running = start_bundle(Position::Child, &pinging());
    running.wait_for("alive");
    let (init, service) = (running.pid(), running.command_pid());
    // Each other way round, so that each goes on for a moment without the other.
    kill(service, "STOP");
    kill(init, "STOP");
    let begin = Instant::now();
    until("the pause is longer than the watchdog", || {
        (begin.elapsed() > Duration::from_secs(3)).then_some(())
    });
    kill(init, "CONT");
    kill(service, "CONT");
    (0..7).for_each(|_| running.wait_for("alive"));
    running.signal("TERM");
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
}

#[test]
fn readiness_is_passed_to_the_parent() {
    if !has(PYTHON) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ready_file = directory.path().join("ready");
    // An earlier run has left it.
    std::fs::write(&ready_file, "").unwrap();
    let upper = UnixDatagram::bind(directory.path().join("socket")).unwrap();
    upper.set_read_timeout(Some(HANG)).unwrap();
    let hear = || {
        let mut buffer = [0; 100];
        let length = upper.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let script = r#"
assert "socket" not in os.environ["NOTIFY_SOCKET"]
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
out("up")
signal.sigwait([signal.SIGUSR1])
say("READY=1")
wait()
"#;
    let file = bundle(&(service(script, "") + "[signals]\nUSR1 = { to = [\"a\"] }\n"));
    let mut command = bundle_command(Position::Child, &file);
    command.arg("--ready-file").arg(&ready_file);
    command.env("NOTIFY_SOCKET", directory.path().join("socket"));
    let mut running = start(&mut command);
    running.wait_for("[a] up");
    assert!(!ready_file.exists());
    running.signal("USR1");
    assert!(hear().starts_with("READY=1\n"));
    assert!(ready_file.exists());
    running.signal("TERM");
    assert_eq!(hear(), "STOPPING=1");
    assert!(!ready_file.exists());
    assert_eq!(running.end().code(), 0);
}

#[test]
fn a_datagram_that_cannot_be_read_at_once_is_read_later() {
    if !has(PYTHON) || !has("strace") {
        return;
    }
    let second =
        "[[service]]\nname = \"b\"\ncommand = [\"sh\", \"-c\", \"exit 7\"]\nafter = [\"a\"]\n";
    let file = bundle(&(service("say('READY=1'); wait()", "start-timeout = \"1h\"") + second));
    let mut command = Command::new("strace");
    command.args(["-o", "/dev/null", "-e", "inject=recvmsg:error=ENOMEM:when=1"]);
    let ended = start(command.arg(harness::binary()).args(["run", "-f"]).arg(file.path())).end();
    assert_eq!(ended.code(), 7, "{ended:?}");
}

#[test]
fn a_ready_file_with_something_in_it_is_refused_and_left_alone() {
    let precious = bundle("precious");
    let file = bundle("[[service]]\nname = \"a\"\ncommand = [\"true\"]\n");
    let mut command = bundle_command(Position::Child, &file);
    let ended = start(command.arg("--ready-file").arg(precious.path())).end();
    assert_eq!(ended.code(), 125, "{ended:?}");
    let words = format!("{} is not an empty file; --ready-file", precious.path().display());
    assert!(ended.stderr.contains(&words), "{ended:?}");
    assert_eq!(std::fs::read_to_string(precious.path()).unwrap(), "precious");
}
