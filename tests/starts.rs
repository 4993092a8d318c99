//! Starts that take their time: a program whose execution is held up, and nobody waits for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use harness::{Position, Running, positions, run, start_bundle};
use serde_json::Value;
use test_support::until;

/// A program whose execution is held up, as on a file system that does not answer: somebody has a
/// lease on its file, which open(2) and so execve(2) wait for, fcntl(2).
struct HeldUp {
    holder: Child,
    directory: tempfile::TempDir,
}

/// Holds the lease, although the kernel asks it to give it back, until its standard input ends.
const HOLDER: &str = "import fcntl, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open(sys.argv[1])
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)";

impl HeldUp {
    /// It is this shell script.
    fn new(script: &str) -> HeldUp {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{}\n", harness::with_witness(script)))
            .unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let mut holder = Command::new(harness::PYTHON)
            .args(["-c", HOLDER])
            .arg(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        HeldUp { holder, directory }
    }

    fn program(&self) -> String {
        self.directory.path().join("program").display().to_string()
    }

    /// From here on it can be executed.
    fn let_go(&mut self) {
        drop(self.holder.stdin.take());
        assert!(self.holder.wait().unwrap().success());
    }
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A bundle with a control socket.
struct Bundle {
    running: Running,
    directory: tempfile::TempDir,
}

impl Bundle {
    fn new(position: Position, services: &str) -> Bundle {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let services = harness::with_witness(services);
        let text =
            format!("[bundle]\ngrace = \"1h\"\nsocket = \"{}\"\n{services}", socket.display());
        Bundle { running: start_bundle(position, &text), directory }
    }

    fn client(&self, arguments: &str) -> Command {
        let mut command = Command::new(harness::binary());
        command.args(arguments.split(' '));
        command.env("SIDECAR_INIT_SOCKET", self.socket());
        command
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn state(&self, name: &str) -> String {
        let said = self.client("status --json").output().unwrap().stdout;
        let status: Value = serde_json::from_slice(&said).unwrap();
        let services = status["services"].as_array().unwrap();
        let service = services.iter().find(|service| service["name"] == name).unwrap();
        service["state"].as_str().unwrap().to_owned()
    }
}

const WEB: &str = "[[service]]
name = \"web\"
command = [\"WITNESS\", \"web\", \"TERM=!0\", \"HUP=HUP\"]
";

fn slow(program: &HeldUp, more: &str) -> String {
    let program = program.program();
    format!("[[service]]\nname = \"slow\"\ncommand = [\"{program}\"]\n{more}\n")
}

#[test]
fn nobody_waits_for_a_program_that_is_not_executed() {
    for position in positions() {
        let program = HeldUp::new("exit 1");
        let mut bundle = Bundle::new(position, &(slow(&program, "") + WEB));
        bundle.running.wait_for("[web] web");
        until("it is being started", || (bundle.state("slow") == "starting").then_some(()));
        assert!(bundle.client("signal web HUP").status().unwrap().success());
        bundle.running.wait_for("[web] HUP");
        bundle.running.signal("TERM");
        let ended = bundle.running.end();
        assert_eq!(ended.code(), 0, "{ended:?}");
        assert!(!ended.stderr.contains("overran"), "{ended:?}");
        assert!(ended.stderr.contains("service \"slow\" was killed by SIGTERM"), "{ended:?}");
    }
}

#[test]
fn a_start_that_takes_too_long_is_a_service_that_is_late() {
    let program = HeldUp::new("exit 1");
    let text = WEB.to_owned() + &slow(&program, "start-timeout = \"100ms\"");
    let ended = run(&mut harness::bundle_command(
        Position::Child,
        &harness::bundle(&harness::with_witness(&text)),
    ));
    assert_eq!(ended.code(), 124, "{ended:?}");
    let reason = "\"slow\" did not become ready in time: its command is not executed yet";
    assert!(ended.stderr.contains(reason), "{ended:?}");
}

#[test]
fn a_start_that_is_under_way_can_be_stopped() {
    let mut program = HeldUp::new("exec WITNESS slow TERM=!0");
    let mut bundle = Bundle::new(Position::Child, &(WEB.to_owned() + &slow(&program, "")));
    bundle.running.wait_for("[web] web");
    until("it is being started", || (bundle.state("slow") == "starting").then_some(()));
    assert!(bundle.client("stop slow").status().unwrap().success());
    assert_eq!(bundle.state("slow"), "stopped");
    assert_eq!(bundle.state("web"), "ready", "the bundle goes on");
    program.let_go();
    assert!(bundle.client("start slow").status().unwrap().success());
    bundle.running.wait_for("[slow] slow");
    bundle.running.signal("TERM");
    assert_eq!(bundle.running.end().code(), 0);
}

#[test]
fn a_stop_command_is_run_when_there_is_a_program_that_it_can_stop() {
    let mut program = HeldUp::new("exec sleep 1000");
    let asked = program.directory.path().join("asked");
    let more = format!("stop-command = [\"touch\", \"{}\"]", asked.display());
    let mut bundle = Bundle::new(Position::Child, &(WEB.to_owned() + &slow(&program, &more)));
    bundle.running.wait_for("[web] web");
    until("it is being started", || (bundle.state("slow") == "starting").then_some(()));
    assert!(bundle.client("stop slow --no-wait").status().unwrap().success());
    until("it is to end", || (bundle.state("slow") == "stopping").then_some(()));
    assert!(!asked.exists());
    program.let_go();
    until("the stop-command has run", || asked.exists().then_some(()));
    assert!(bundle.client("signal slow KILL").status().unwrap().success());
    until("it is stopped", || (bundle.state("slow") == "stopped").then_some(()));
    bundle.running.signal("TERM");
    assert_eq!(bundle.running.end().code(), 0);
}

#[test]
fn one_command_that_is_not_executed_ends_by_the_signal() {
    for position in positions() {
        let program = HeldUp::new("exit 1");
        let running = harness::start(harness::init(position).args(["--", &program.program()]));
        let command = running.command_pid();
        running.signal("USR1");
        let ended = running.end();
        assert_eq!(ended.code(), 128 + 10, "pid {command}: {ended:?}");
    }
}

#[test]
fn a_check_a_hook_and_a_stop_command_that_are_not_executed_hold_up_nothing() {
    let program = HeldUp::new("exit 1");
    let path = program.program();
    let more = format!(
        "live = {{ exec = [\"{path}\"], period = \"10ms\", timeout = \"50ms\", failures = 3 }}\n\
         stop-command = [\"{path}\"]\ngrace = \"100ms\"\n"
    );
    let text = format!(
        "[bundle]\ngrace = \"300ms\"\non-event = {{ command = [\"{path}\"] }}\n{WEB}{more}"
    );
    let ended = start_bundle(Position::Child, &harness::with_witness(&text)).end();
    assert_eq!(ended.code(), 124, "{ended:?}");
    assert!(ended.stderr.contains("failed its liveness check: no answer within"), "{ended:?}");
    assert!(ended.stderr.contains("overran its grace"), "{ended:?}");
}
