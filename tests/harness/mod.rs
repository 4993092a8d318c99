//! Runs the binary as a user would, in each of its two positions, and reads what it says.
//!
//! `INIT_UNDER_TEST=tini` runs the tests of one command against another init, to tell true
//! differences from our own mistakes.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

pub mod controlled;
pub mod dead_file_system;
pub mod screen;

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use test_support::programs::witness;
use test_support::{HANG, lines_of, notices, until};

/// What plays a service that needs more than a shell can do.
pub const PYTHON: &str = "/usr/bin/python3";

/// Where the init stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// PID 1 of a new PID namespace.
    Pid1,
    /// Some process, with its own parent.
    Child,
    /// The same two, with an option, so that one command is not run by the short way.
    Pid1ByInit,
    ChildByInit,
}

/// Both positions, or where the machine forbids new PID namespaces the second, and a notice.
pub fn positions() -> Vec<Position> {
    let allowed =
        unshare().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if notices::or_skip(allowed, "no new PID namespace here, so nothing is tested as PID 1") {
        return vec![Position::Pid1, Position::Child];
    }
    vec![Position::Child]
}

/// The same for one command, each by the short way and by the init.
pub fn ways() -> Vec<Position> {
    let by_init = |position: &Position| match position {
        Position::Pid1 => Position::Pid1ByInit,
        _ => Position::ChildByInit,
    };
    let positions = positions();
    let is_ours = std::env::var_os("INIT_UNDER_TEST").is_none();
    let by_init: Vec<Position> = positions.iter().filter(|_| is_ours).map(by_init).collect();
    positions.into_iter().chain(by_init).collect()
}

/// The binary, or the one to compare with.
pub fn binary() -> String {
    std::env::var("INIT_UNDER_TEST")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_sidecar-init").to_owned())
}

/// Whether it is ours, for a test of what only ours does.
pub fn is_ours(test: &str) -> bool {
    let ours = std::env::var_os("INIT_UNDER_TEST").is_none();
    notices::or_skip(ours, &format!("another init is not asked for {test}"))
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("-Ur");
    }
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    command
}

/// The init in its position, still without arguments.
pub fn init(position: Position) -> Command {
    let mut command = under(position, &binary());
    if matches!(position, Position::Pid1ByInit | Position::ChildByInit) {
        command.args(["--grace", "8s"]);
    }
    command
}

/// A program in the position, still without arguments.
pub fn under(position: Position, program: &str) -> Command {
    match position {
        Position::Pid1 | Position::Pid1ByInit => {
            let mut command = unshare();
            command.arg(program);
            command
        }
        Position::Child | Position::ChildByInit => Command::new(program),
    }
}

/// What an init that has ended left behind.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    pub fn record(&self) -> &str {
        self.stderr.lines().last().unwrap_or_default()
    }
}

/// Runs it to its end.
pub fn run(command: &mut Command) -> Ended {
    start(command).end()
}

/// Runs one command in the position to its end.
pub fn run_command(position: Position, options: &[&str], command: &[&str]) -> Ended {
    run(init(position).args(options).arg("--").args(command))
}

/// Runs one shell script in the position to its end.
pub fn run_script(position: Position, options: &[&str], script: &str) -> Ended {
    run_command(position, options, &["sh", "-c", script])
}

/// An init that runs.
pub struct Running {
    child: Child,
    pub stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
    stderr: Receiver<String>,
    /// Its bundle, if nobody else keeps that.
    file: Option<tempfile::NamedTempFile>,
}

/// Starts it with pipes for its descriptors.
pub fn start(command: &mut Command) -> Running {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the init starts");
    let lines = lines_of(child.stdout.take().unwrap());
    let mut stderr = child.stderr.take().unwrap();
    let (send_all, all) = channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        let _ = send_all.send(String::from_utf8_lossy(&text).into_owned());
    });
    let stdin = child.stdin.take();
    Running { child, stdin, lines, seen: Vec::new(), stderr: all, file: None }
}

/// Starts a bundle of this text in the position.
pub fn start_bundle(position: Position, text: &str) -> Running {
    let file = bundle(text);
    let mut running = start(&mut bundle_command(position, &file));
    running.file = Some(file);
    running
}

/// Starts one shell script in the position.
/// `WITNESS` in it becomes its path.
pub fn start_script(position: Position, options: &[&str], script: &str) -> Running {
    let script = with_witness(script);
    start(init(position).args(options).args(["--", "sh", "-c", &script]))
}

impl Running {
    /// Replaces its bundle's text.
    pub fn rewrite(&self, text: &str) {
        std::fs::write(self.file.as_ref().expect("its own bundle").path(), text).unwrap();
    }

    /// The next line on stdout.
    pub fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(HANG).expect("a line on stdout");
        self.seen.push(line.clone());
        line
    }

    /// The next line on stdout, if it comes in this time.
    pub fn try_line(&mut self, time: Duration) -> Option<String> {
        let line = self.lines.recv_timeout(time).ok()?;
        self.seen.push(line.clone());
        Some(line)
    }

    /// Reads lines until this one.
    pub fn wait_for(&mut self, wanted: &str) {
        while self.line() != wanted {}
    }

    /// Waits until nobody holds its stdout any more.
    pub fn wait_for_end_of_stdout(&mut self) {
        let more = self.lines.recv_timeout(HANG);
        assert_eq!(more, Err(RecvTimeoutError::Disconnected), "stdout goes on");
    }

    /// The init's own pid, as seen from here.
    pub fn pid(&self) -> i32 {
        let started = i32::try_from(self.child.id()).unwrap();
        if is_unshare(started) { children(started)[0] } else { started }
    }

    /// The pid of the init's first child.
    pub fn command_pid(&self) -> i32 {
        children(self.pid())[0]
    }

    /// Sends a signal, by name or number, to the init.
    pub fn signal(&self, signal: &str) {
        kill(self.pid(), signal);
    }

    /// Sends a signal to the init, if that is still there.
    pub fn try_signal(&mut self, signal: &str) {
        if self.has_ended() {
            return;
        }
        let started = i32::try_from(self.child.id()).unwrap();
        let init = children_now(started).first().copied().filter(|_| is_unshare(started));
        // Behind unshare it may just have ended.
        if let Some(init) = init.or_else(|| (!is_unshare(started)).then_some(started)) {
            send(init, signal);
        }
    }

    /// Writes this to its standard input.
    pub fn write(&mut self, text: &str) {
        self.stdin.as_mut().expect("it is open").write_all(text.as_bytes()).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Whether it has ended after this time at the latest.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let begin = Instant::now();
        until("it has ended, or not", || {
            let has_ended = self.has_ended();
            (has_ended || begin.elapsed() > time).then_some(has_ended)
        })
    }

    /// Kills the init without a chance to do anything about it, and what is below it, which it would
    /// leave behind.
    pub fn kill_all(&mut self) {
        let started = i32::try_from(self.child.id()).unwrap();
        // Stopped, a process makes no more children that would be missed.
        let mut below = vec![started];
        let mut next = 0;
        while next < below.len() {
            send(below[next], "STOP");
            below.extend(children_now(below[next]));
            next += 1;
        }
        for pid in below {
            send(pid, "KILL");
        }
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        drop(self.stdin.take());
        let status = until("the init ends", || self.child.try_wait().unwrap());
        let mut lines = std::mem::take(&mut self.seen);
        while let Ok(line) = self.lines.recv_timeout(HANG) {
            lines.push(line);
        }
        let stdout = lines.into_iter().map(|line| line + "\n").collect();
        let stderr = self.stderr.recv_timeout(HANG).expect("stderr ends");
        Ended { status, stdout, stderr }
    }
}

impl Drop for Running {
    /// A test that failed half-way leaves nothing behind: a second TERM makes the init kill all
    /// that is below it. Two that wait at the same time are one, signal(7), so it is sent until
    /// the init ends.
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        // Behind unshare it is the child, which may just have ended by itself.
        let started = i32::try_from(self.child.id()).unwrap();
        let init = children_now(started).first().copied().filter(|_| is_unshare(started));
        let deadline = Instant::now() + Duration::from_secs(2);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            send(init.unwrap_or(started), "TERM");
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.kill_all();
    }
}

/// Sends a signal by name or number.
pub fn kill(pid: i32, signal: &str) {
    assert!(send(pid, signal), "kill -{signal} {pid}");
}

/// Whether there was somebody to send it to.
fn send(pid: i32, signal: &str) -> bool {
    let script = format!("kill -{signal} {pid} 2>/dev/null");
    Command::new("sh").args(["-c", &script]).status().is_ok_and(|status| status.success())
}

fn is_unshare(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "unshare\n")
}

/// The children of a process, of which there is or will be one.
pub fn children(pid: i32) -> Vec<i32> {
    until("a child appears", || Some(children_now(pid)).filter(|children| !children.is_empty()))
}

fn children_now(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    list.unwrap_or_default().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The path of a new FIFO in this directory.
pub fn fifo(directory: &tempfile::TempDir, name: &str) -> String {
    let path = directory.path().join(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path.into_os_string().into_string().unwrap()
}

/// The script with the path of the witness in place of `WITNESS`.
pub fn with_witness(script: &str) -> String {
    if script.contains("WITNESS") {
        script.replace("WITNESS", &witness())
    } else {
        script.to_owned()
    }
}

/// A bundle's file.
pub fn bundle(text: &str) -> tempfile::NamedTempFile {
    test_support::bundles::keep(text);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// `sidecar-init run` on a bundle in the position.
pub fn bundle_command(position: Position, file: &tempfile::NamedTempFile) -> Command {
    let mut command = init(position);
    command.args(["run", "-f"]).arg(file.path());
    command
}
