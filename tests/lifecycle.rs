//! Order, readiness, restarts and liveness, with real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use harness::{
    Position, Running, bundle, bundle_command, kill, positions, run, start, start_bundle,
};
use test_support::programs::has;
use test_support::until;

fn service(name: &str, script: &str, more: &str) -> String {
    let script = harness::with_witness(script);
    format!("[[service]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n{more}\n")
}

/// A service that starts when `first` is ready, and says so.
fn second() -> String {
    service("second", "exec WITNESS second TERM=!0", "after = [\"first\"]")
}

fn first(more: &str) -> String {
    service("first", "exec WITNESS first TERM=!0", more)
}

fn started(text: &str) -> Running {
    start_bundle(Position::Child, text)
}

/// Ends it.
fn ends_well(running: Running) {
    running.signal("TERM");
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
}

/// A port that nobody listens on, and the listener that can.
fn port() -> (u16, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener.local_addr().unwrap().port(), listener)
}

/// How many children the init has that are no exec probes.
fn services(running: &Running) -> usize {
    let is_service = |pid: &i32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        ["sh\n", "witness\n"].contains(&&*name)
    };
    harness::children(running.pid()).into_iter().filter(is_service).count()
}

/// Waits until `first` runs, and makes sure that `second` was not started before `event`.
fn second_waits_for(more: &str, event: impl FnOnce(&mut Running)) {
    let mut running = started(&(second() + &first(more)));
    running.wait_for("[first] first");
    assert_eq!(services(&running), 1, "{more}");
    event(&mut running);
    running.wait_for("[second] second");
    ends_well(running);
}

#[test]
fn tcp_readiness() {
    let (port, listener) = port();
    drop(listener);
    let check = format!("ready = {{ tcp = \"127.0.0.1:{port}\", period = \"10ms\" }}");
    let mut listener = None;
    second_waits_for(&check, |_| {
        listener = Some(TcpListener::bind(("127.0.0.1", port)).unwrap());
    });
}

#[test]
fn unix_readiness() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let check = format!("ready = {{ unix = \"{}\", period = \"10ms\" }}", path.display());
    let mut listener = None;
    second_waits_for(&check, |_| listener = Some(UnixListener::bind(&path).unwrap()));
}

#[test]
fn file_readiness() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let check = format!("ready = {{ file = \"{}\", period = \"10ms\" }}", path.display());
    second_waits_for(&check, |_| std::fs::write(&path, "").unwrap());
}

#[test]
fn exec_readiness() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let check = format!(
        "ready = {{ exec = [\"test\", \"-e\", \"{}\"], period = \"10ms\" }}",
        path.display()
    );
    second_waits_for(&check, |_| std::fs::write(&path, "").unwrap());
}

#[test]
fn http_readiness() {
    let (port, listener) = port();
    let check = format!("ready = {{ http = \"http://localhost:{port}/up\", period = \"10ms\" }}");
    second_waits_for(&check, |_| {
        for status in ["503 Not yet", "200 OK"] {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let count = connection.read(&mut request).unwrap();
            assert!(request[..count].starts_with(b"GET /up HTTP/1.1\r\nHost: localhost:"));
            write!(connection, "HTTP/1.1 {status}\r\n\r\n").unwrap();
        }
    });
}

#[test]
fn readiness_by_a_line_a_newline_and_a_datagram() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = &*harness::fifo(&directory, "go");
    let notify = "python3 -c \"import os,socket; s=socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); \
                  s.sendto(b'READY=1', chr(0)+os.environ['NOTIFY_SOCKET'][1:])\"";
    for (say, key) in [
        ("echo now serving port 1", "ready = { log = \"serving\" }"),
        ("echo >&3", "notify = \"fd:3\""),
        ("echo >&7", "notify = \"fd:7\""),
        (notify, "notify = \"systemd\""),
    ] {
        if say == notify && !has("python3") {
            continue;
        }
        let script = format!("echo first; read x < {fifo}; {say}; exec WITNESS up TERM=!0");
        let mut running = started(&(second() + &service("first", &script, key)));
        running.wait_for("[first] first");
        assert_eq!(services(&running), 1, "{key}");
        std::fs::write(fifo, "go\n").unwrap();
        running.wait_for("[second] second");
        ends_well(running);
    }
}

#[test]
fn a_stranger_can_not_say_that_a_service_is_ready() {
    let text = first("notify = \"systemd\"\nstart-timeout = \"300ms\"") + &second();
    let mut running = started(&text);
    running.wait_for("[first] first");
    let main = harness::children(running.pid())[0];
    let environment = std::fs::read(format!("/proc/{main}/environ")).unwrap();
    let variable = environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(b"NOTIFY_SOCKET=@"))
        .unwrap();
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(variable).unwrap();
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket.send_to_addr(b"READY=1", &address).unwrap();
    let ended = running.end();
    assert_eq!(ended.code(), 124, "{ended:?}");
    assert!(!ended.stdout.contains("second"), "{ended:?}");
    assert!(ended.record().contains("service \"first\" did not become ready in time"), "{ended:?}");
}

#[test]
fn a_pause_of_all_is_no_time_in_which_to_become_ready() {
    let script = "exec WITNESS first USR1=ready TERM=!0";
    let more = "ready = { log = \"ready\" }\nstart-timeout = \"2s\"";
    let mut running = started(&(second() + &service("first", script, more)));
    running.wait_for("[first] first");
    let (init, service) = (running.pid(), running.command_pid());
    kill(service, "STOP");
    kill(init, "STOP");
    kill(service, "USR1");
    let begin = Instant::now();
    until("the pause is longer than the start-timeout", || {
        (begin.elapsed() > Duration::from_millis(3500)).then_some(())
    });
    kill(init, "CONT");
    kill(service, "CONT");
    running.wait_for("[second] second");
    ends_well(running);
}

#[test]
fn an_orphan_that_ends_together_with_a_service_is_reaped() {
    let script = "(setsid WITNESS orphan &); exec WITNESS first TERM=!0";
    let mut running = started(&(second() + &service("first", script, "on-exit = \"ignore\"")));
    running.wait_for("[second] second");
    // An argument of its own: the shell, which becomes the first, has both words in its script.
    let child_with = |argument: &str| {
        let has_it = |pid: &i32| {
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            command.is_ok_and(|command| command.split('\0').any(|word| word == argument))
        };
        harness::children(running.pid()).into_iter().find(has_it)
    };
    let orphan = until("the orphan is the init's child", || child_with("orphan"));
    let first = until("the first runs", || child_with("first"));
    // Both are dead before the init learns of either, so it gets one SIGCHLD.
    kill(running.pid(), "STOP");
    kill(first, "KILL");
    kill(orphan, "KILL");
    until("both are dead", || {
        let is_dead = |pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.contains(") Z ")
        };
        (is_dead(first) && is_dead(orphan)).then_some(())
    });
    kill(running.pid(), "CONT");
    until("only the other service is left", || {
        (harness::children(running.pid()).len() == 1).then_some(())
    });
    ends_well(running);
}

#[test]
fn what_is_not_ready_in_time_says_why() {
    let (port, listener) = port();
    drop(listener);
    let check = format!("ready = {{ tcp = \"127.0.0.1:{port}\" }}\nstart-timeout = \"100ms\"");
    let ended = started(&first(&check)).end();
    assert_eq!(ended.code(), 124);
    let reason = "service \"first\" did not become ready in time: Connection refused";
    assert!(ended.stderr.contains(reason), "{ended:?}");
}

#[test]
fn a_probe_that_hangs_is_given_up() {
    let (port, _listener) = port();
    for check in
        [format!("http = \"http://127.0.0.1:{port}/\""), "exec = [\"sleep\", \"1000\"]".to_owned()]
    {
        let more = format!("ready = {{ {check}, timeout = \"50ms\" }}\nstart-timeout = \"400ms\"");
        let ended = started(&first(&more)).end();
        assert_eq!(ended.code(), 124);
        assert!(ended.stderr.contains("in time: no answer within 50ms"), "{ended:?}");
    }
}

#[test]
fn a_oneshot_comes_first_and_its_failure_is_the_end() {
    for code in [0, 9] {
        let migrate =
            service("first", &format!("echo migrated; exit {code}"), "type = \"oneshot\"");
        let mut running = started(&(second() + &migrate));
        if code == 0 {
            running.wait_for("[second] second");
            ends_well(running);
        } else {
            let ended = running.end();
            assert_eq!((ended.code(), &*ended.stdout), (9, "[first] migrated\n"), "{ended:?}");
        }
    }
}

#[test]
fn a_crashing_service_comes_back_and_ends_the_bundle_when_it_is_enough() {
    for position in positions() {
        let restart = "restart = { max = 3, delay = \"10ms\" }";
        let file = bundle(&service("a", "echo again; exit 6", restart));
        let ended = run(&mut bundle_command(position, &file));
        assert_eq!(ended.code(), 6, "{position:?} {ended:?}");
        assert_eq!(ended.stdout, "[a] again\n".repeat(4));
        assert!(ended.stderr.contains("no more restarts"), "{ended:?}");
    }
}

#[test]
fn what_it_left_behind_is_gone_before_it_starts_again() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("runs");
    let state = state.display();
    // The second run reports whether what the first run left in its group is still there.
    let script = format!(
        "if [ -e {state} ]; then kill -0 $(cat {state}) 2>/dev/null && echo meets || echo alone; \
         exec WITNESS up TERM=!0; fi; sleep 1000 & echo $! > {state}; exit 1"
    );
    for position in positions() {
        let _ = std::fs::remove_file(state.to_string());
        let file = bundle(&service("a", &script, "restart = { delay = \"0s\" }"));
        let mut running = start(&mut bundle_command(position, &file));
        running.wait_for("[a] alone");
        running.wait_for("[a] up");
        ends_well(running);
    }
}

#[test]
fn what_fails_its_liveness_check_is_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let well = directory.path().join("well");
    std::fs::write(&well, "").unwrap();
    let more = format!(
        "live = {{ file = \"{}\", period = \"10ms\", failures = 2 }}\nrestart = {{ delay = \"10ms\" }}",
        well.display()
    );
    let mut running = started(&first(&more));
    running.wait_for("[first] first");
    std::fs::remove_file(&well).unwrap();
    running.wait_for("[first] first");
    std::fs::write(&well, "").unwrap();
    running.signal("TERM");
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains("has failed its liveness check: "), "{ended:?}");
}

#[test]
fn a_signal_restarts_a_service() {
    let text = first("") + "[signals]\nUSR1 = { restart = [\"first\"] }\n";
    let mut running = started(&text);
    for _ in 0..3 {
        running.wait_for("[first] first");
        running.signal("USR1");
    }
    running.wait_for("[first] first");
    ends_well(running);
}

#[test]
fn a_stop_command_stops() {
    let directory = tempfile::tempdir().unwrap();
    let stop = harness::fifo(&directory, "stop");
    let script = format!("trap '' TERM; echo up; read x < {stop}; echo told $x");
    let command = format!("stop-command = [\"sh\", \"-c\", \"echo go > {stop}\"]");
    let mut running = started(&service("a", &script, &command));
    running.wait_for("[a] up");
    running.signal("TERM");
    let ended = running.end();
    assert_eq!((ended.code(), &*ended.stdout), (0, "[a] up\n[a] told go\n"), "{ended:?}");
}

#[test]
fn a_stop_command_has_as_long_as_its_service() {
    let directory = tempfile::tempdir().unwrap();
    let (go, stop) = (harness::fifo(&directory, "go"), harness::fifo(&directory, "stop"));
    // Nobody waits for a reader here.
    let mut end = std::fs::File::options().read(true).write(true).open(&go).unwrap();
    let script = format!(
        "trap '' TERM; (setsid WITNESS stray TERM=asked!0 &); read x <{stop}; echo told $x"
    );
    let command = format!("stop-command = [\"sh\", \"-c\", \"read x <{go}; echo $x >{stop}\"]");
    let text = format!("[bundle]\ngrace = \"3s\"\n{}", service("a", &script, &command));
    for position in positions() {
        let mut running = start_bundle(position, &text);
        running.wait_for("[a] stray");
        running.signal("TERM");
        running.wait_for("[a] asked");
        writeln!(end, "go").unwrap();
        let ended = running.end();
        assert_eq!(ended.code(), 0, "{ended:?}");
        assert!(
            ended.stdout.contains("[a] told go") && !ended.record().contains("overran"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_main_command_starts_when_all_is_ready() {
    let (port, listener) = port();
    let check = format!("ready = {{ http = \"http://127.0.0.1:{port}/\" }}");
    let file = bundle(&first(&check));
    let command = &mut bundle_command(Position::Child, &file);
    let mut running = start(command.args(["--", "sh", "-c", "echo main; exit 5"]));
    running.wait_for("[first] first");
    assert_eq!(services(&running), 1);
    let (mut connection, _) = listener.accept().unwrap();
    connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    running.wait_for("main");
    assert_eq!(running.end().code(), 5);
}

#[test]
fn a_selection_that_leaves_out_what_is_required_says_so() {
    let file = bundle(&(first("") + &service("b", "exec true", "requires = [\"first\"]")));
    let mut command = bundle_command(Position::Child, &file);
    let ended = run(command.args(["--only", "b"]));
    assert_eq!(ended.code(), 65);
    let text = "--only leaves out first, which b requires; select it too, or leave out b";
    assert!(ended.stderr.contains(text), "{ended:?}");
}

#[test]
fn the_last_events_are_in_the_file_also_when_all_is_killed() {
    for position in harness::positions() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("events");
        let text = format!(
            "[bundle]\ngrace = \"50ms\"\non-event = {{ file = \"{}\" }}\n{}",
            file.display(),
            service("stubborn", "exec WITNESS up TERM=TERM", "")
        );
        let mut running = start_bundle(position, &text);
        running.wait_for("[stubborn] up");
        running.signal("TERM");
        assert_eq!(running.end().code(), 0);
        let written = std::fs::read_to_string(&file).unwrap();
        let event = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["event"].as_str().unwrap().to_owned()
        };
        let events: Vec<String> = written.lines().map(event).collect();
        assert_eq!(
            events,
            ["started", "ready", "shutdown", "stopping", "grace-over", "exited"],
            "{position:?}"
        );
    }
}
