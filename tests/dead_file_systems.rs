//! Paths on a file system that does not answer: whoever has to look there waits, and not the init.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::process::Command;

use harness::dead_file_system::DeadFileSystem;
use harness::{Ended, Position, Running, bundle_command, positions, start, start_bundle};
use test_support::until;

/// A bundle that runs until it is ended, with these keys of its own and of its service.
fn bundle(position: Position, keys: &str, service: &str) -> (Running, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let text = text(&directory, keys, service);
    let mut running = start_bundle(position, &harness::with_witness(&text));
    running.wait_for("[web] web");
    (running, directory)
}

fn text(directory: &tempfile::TempDir, keys: &str, service: &str) -> String {
    format!(
        "[bundle]\nsocket = \"{}\"\n{keys}\n[[service]]\nname = \"web\"\n\
         command = [\"WITNESS\", \"web\", \"TERM=!0\", \"HUP=HUP\"]\n{service}\n",
        directory.path().join("socket").display()
    )
}

/// The init does what it is there for, and ends when it is asked to.
fn goes_on((mut running, directory): (Running, tempfile::TempDir)) -> Ended {
    let mut client = Command::new(harness::binary());
    client.args(["signal", "web", "HUP", "--socket"]).arg(directory.path().join("socket"));
    assert!(client.status().unwrap().success());
    running.wait_for("[web] HUP");
    running.signal("TERM");
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    ended
}

#[test]
fn a_command_is_not_waited_for() {
    let Some(dead) = DeadFileSystem::mount() else { return };
    for position in positions() {
        let path = dead.path("program");
        let slow = format!("[[service]]\nname = \"slow\"\ncommand = [\"{}\"]", path.display());
        goes_on(bundle(position, "", &slow));
    }
}

#[test]
fn checks_of_paths_get_no_answer_and_hold_up_nobody() {
    let Some(dead) = DeadFileSystem::mount() else { return };
    for kind in ["file", "unix"] {
        let path = dead.path(kind);
        let check =
            |key| format!("{key} = {{ {kind} = \"{}\", timeout = \"50ms\" }}", path.display());
        goes_on(bundle(Position::Child, "", &check("ready")));

        let live = check("live").replace('}', ", period = \"10ms\", failures = 2 }");
        let ended = bundle(Position::Child, "", &live).0.end();
        assert_eq!(ended.code(), 124, "{ended:?}");
        let reason = "has failed its liveness check: no answer within 50ms";
        assert!(ended.stderr.contains(reason), "{ended:?}");
    }
}

#[test]
fn a_file_of_events_is_not_waited_for() {
    let Some(dead) = DeadFileSystem::mount() else { return };
    for position in positions() {
        let keys = format!("on-event = {{ file = \"{}\" }}", dead.path("events").display());
        let more = "[[service]]\nname = \"busy\"\ncommand = [\"true\"]\n\
                    restart = { policy = \"always\", delay = \"1ms\", max = 30 }\non-exit = \"ignore\"";
        let ended = goes_on(bundle(position, &keys, more));
        assert!(ended.stderr.contains("(`on-event`): no answer"), "{ended:?}");
    }
}

#[test]
fn a_termination_log_is_not_waited_for() {
    let Some(dead) = DeadFileSystem::mount() else { return };
    for position in positions() {
        let log = dead.path("log").display().to_string();
        let ended = harness::run_script(position, &["--termination-log", &log], "exit 3");
        assert_eq!(ended.code(), 3);
        assert!(ended.stderr.contains("can't write the termination log"), "{ended:?}");
    }
}

#[test]
fn sockets_whose_file_system_has_stopped_answering_hold_up_no_shutdown() {
    let held = tempfile::tempdir().unwrap();
    let listen = format!("listen = [\"unix:{}\"]", held.path().join("held").display());
    let (running, directory) = bundle(Position::Child, "", &listen);
    for place in [held.path(), directory.path()] {
        assert!(place.read_dir().unwrap().next().is_some(), "a socket is there");
    }
    let Some(_first) = DeadFileSystem::mount_over(held.path()) else { return };
    let _second = DeadFileSystem::mount_over(directory.path());
    running.signal("TERM");
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
}

#[test]
fn whoever_started_the_init_is_told_by_paths_that_hold_up_nobody() {
    let Some(dead) = DeadFileSystem::mount() else { return };
    for position in positions() {
        let directory = tempfile::tempdir().unwrap();
        let file = harness::bundle(&harness::with_witness(&text(&directory, "", "")));
        let mut command = bundle_command(position, &file);
        let mut running = start(command.env("NOTIFY_SOCKET", dead.path("notify")));
        running.wait_for("[web] web");
        goes_on((running, directory));
    }
}

#[test]
fn a_ready_file_whose_file_system_has_stopped_answering_holds_up_nobody() {
    let (directory, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = harness::bundle(&harness::with_witness(&text(&directory, "", "")));
    let mut command = bundle_command(Position::Child, &file);
    let ready_file = place.path().join("ready");
    let mut running = start(command.arg("--ready-file").arg(&ready_file));
    running.wait_for("[web] web");
    until("it is ready", || ready_file.exists().then_some(()));
    let Some(_dead) = DeadFileSystem::mount_over(place.path()) else { return };
    goes_on((running, directory));
}
