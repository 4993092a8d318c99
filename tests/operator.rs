//! What an operator asks for is done, or said not to be; and nobody waits for an init that does not
//! answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use harness::controlled::{Controlled, client, service};
use harness::{Position, positions};
use predicates::str::contains;
use serde_json::{Value, json};
use test_support::until;

/// A service that ends at once with this code, every time but the first.
fn dies_later(name: &str, code: u8, more: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\n{more}\n\
         command = [\"sh\", \"-c\", 'mkdir {name} && exec sleep 1000; exit {code}']\n"
    )
}

#[test]
fn a_start_that_comes_to_nothing_is_no_success_and_nobody_elses_matter() {
    for position in positions() {
        let directory = tempfile::tempdir().unwrap();
        let place = format!("working-directory = \"{}\"", directory.path().display());
        let restart =
            format!("{place}\nrestart = {{ policy = \"always\", delay = \"0s\", max = 1 }}");
        let text = service("other", "")
            + &dies_later("bad", 5, &place)
            + &dies_later("worse", 6, &restart)
            + "[[service]]\nname = \"late\"\ncommand = [\"sleep\", \"1000\"]\n\
               on-exit = \"ignore\"\nstart-timeout = \"1ms\"\nready = { file = \"/nonexistent\" }\n";
        let bundle = Controlled::new(position, &text);
        for name in ["bad", "worse"] {
            until("it has run once", || directory.path().join(name).exists().then_some(()));
        }
        for (arguments, reason) in [
            ("restart bad", "service \"bad\" exited with code 5\n"),
            ("start bad", "service \"bad\" exited with code 5\n"),
            ("restart other bad", "service \"bad\" exited with code 5\n"),
            ("restart worse", "service \"worse\" exited with code 6"),
            ("start late", "service \"late\" did not become ready in time"),
        ] {
            bundle.says(arguments).code(1).stderr(contains(reason));
        }
        for name in ["bad", "worse", "late"] {
            until("it is given up", || (bundle.service(name)["state"] == "failed").then_some(()));
        }
        bundle.says("restart other").success();
        bundle.says("start other").success();
        bundle.says("shutdown --code 3").success();
        bundle.ends_with(3);
    }
}

#[test]
fn what_a_reload_can_not_start_leaves_the_bundle_alone() {
    let bundle = Controlled::new(Position::Child, &service("web", ""));
    bundle.says("wait web --ready").success();
    let new = "[[service]]\nname = \"new\"\ncommand = [\"/nosuch\"]\n\
               [[service]]\nname = \"needy\"\ncommand = [\"sleep\", \"1000\"]\nrequires = [\"new\"]\n";
    bundle.rewrite(&(service("web", "") + new));
    bundle.says("reload").success();
    bundle
        .says("start new")
        .code(1)
        .stderr(contains("could not be started: command /nosuch not found"));
    let reason = "\"needy\" waits for a required service: new is failed\n";
    until("it can't be started", || {
        let output = bundle.command("start needy").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said.contains(reason).then_some(())
    });
    assert_eq!(bundle.service("web")["state"], "ready");
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn a_signal_goes_to_all_of_them_or_to_nobody() {
    let text = service("a", "") + &service("b", "") + &service("down", "");
    let mut bundle = Controlled::new(Position::Child, &text);
    for name in ["a", "b", "down"] {
        bundle.says(&format!("wait {name} --ready")).success();
    }
    bundle.says("stop down").success();
    bundle
        .says("signal a down HUP")
        .code(1)
        .stderr(contains("no signal was sent: down is stopped"));
    bundle.says("signal b a HUP").success();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let line = bundle.running.line();
        heard.extend(line.ends_with(" HUP").then_some(line));
    }
    heard.sort();
    assert_eq!(heard, ["[a] HUP", "[b] HUP"]);
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn what_comes_too_late_is_not_called_done() {
    let script = "trap 'echo asked' TERM; echo up; while :; do sleep 1000 & wait; done";
    let text = format!("[[service]]\nname = \"slow\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n");
    let mut bundle = Controlled::new(Position::Child, &text);
    bundle.running.wait_for("[slow] up");
    bundle.says("shutdown --code 7").success();
    bundle.running.wait_for("[slow] asked");
    bundle.says("shutdown --code 7").success();
    bundle.says("shutdown --code 8").code(1).stderr(contains("shutting down already"));
    for arguments in ["start slow", "restart slow --no-wait", "stop slow --no-wait"] {
        bundle.says(arguments).code(1).stderr(contains("the bundle is shutting down"));
    }
    bundle.running.signal("TERM");
    bundle.ends_with(7);
}

#[test]
fn requests_of_a_client_that_has_left_are_carried_out() {
    let text = service("a", "") + &service("b", "") + &service("c", "");
    let bundle = Controlled::new(Position::Child, &text);
    for name in ["a", "b", "c"] {
        bundle.says(&format!("wait {name} --ready")).success();
    }
    let stop = |name: &str| json!({"command": "stop", "services": [name], "wait_seconds": 60});
    let requests = format!("{}\n{}\n{}\n", stop("a"), stop("b"), stop("c"));
    let mut stream = UnixStream::connect(bundle.socket()).unwrap();
    stream.write_all(requests.as_bytes()).unwrap();
    drop(stream);
    for name in ["a", "b", "c"] {
        bundle.says(&format!("wait {name} --exited")).success();
    }
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn requests_that_come_at_once_are_answered_one_after_the_other() {
    let bundle = Controlled::new(Position::Child, &service("a", ""));
    bundle.says("wait a --ready").success();
    let mut stream = BufReader::new(UnixStream::connect(bundle.socket()).unwrap());
    let change = |command: &str| json!({"command": command, "services": ["a"], "wait_seconds": 60});
    let status = json!({"command": "status"});
    write!(stream.get_mut(), "{}\n{}\n{status}\n", change("stop"), change("start")).unwrap();
    let mut next = || -> Value {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!((&next()["ok"], &next()["ok"]), (&json!(true), &json!(true)));
    assert_eq!(next()["services"][0]["state"], "ready");
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

/// Says that this does not answer, and ends with this code.
fn gives_up(mut command: std::process::Command, code: i32) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains("sidecar-init does not answer within 100ms"), "{said}");
}

#[test]
fn an_init_that_is_stopped_is_not_waited_for() {
    let bundle = Controlled::new(Position::Child, &service("web", ""));
    bundle.says("wait web --ready").success();
    bundle.running.signal("STOP");
    for (arguments, code) in [
        ("health", 1),
        ("status", 69),
        ("status --watch", 69),
        ("logs web -f", 69),
        ("events", 69),
        ("reload", 69),
        ("signal web HUP", 69),
        ("stop web --no-wait", 69),
    ] {
        gives_up(bundle.command(&format!("{arguments} --timeout 100ms")), code);
    }
    // Those that wait notice it, too.
    for arguments in ["wait web --exited", "stop web"] {
        let output = bundle.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{output:?}");
    }
    bundle.running.signal("CONT");
    bundle.says("shutdown --timeout 60s").success();
    bundle.ends_with(0);
}

#[test]
fn a_socket_with_a_full_backlog_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    // A backlog of none holds one connection, listen(2).
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(&socket).unwrap();
    gives_up(client(&socket, "health --timeout 100ms"), 1);
    gives_up(client(&socket, "status --timeout 100ms"), 69);
}
