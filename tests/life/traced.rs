//! A life under strace(1), which follows the init and nobody else, also where that is PID 1.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Kind, Life};
use crate::harness::{Ended, Position, kill, start};
use test_support::until;

/// A variable that everything has which was started in a life; it names the life's folder.
pub const MARK: &str = "TEST_LIFE";

/// How long an init may take to end once it was asked to. Its grace is 3 s.
const END: Duration = Duration::from_secs(90);

/// A system call, as strace writes it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    pub arguments: String,
    /// What it returned: a number, and perhaps what that means.
    pub result: String,
}

impl Call {
    /// One line: `name(arguments) = result`. Signals and the end have other lines.
    pub fn parse(line: &str) -> Option<Call> {
        let (name, rest) = line.split_once('(')?;
        let is_name = |name: &str| !name.is_empty() && !name.contains([' ', '+', '-']);
        if !is_name(name) {
            return None;
        }
        // What was going on when it ended has no result.
        let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, "?"));
        let arguments = arguments.trim_end().trim_end_matches(')');
        Some(Call {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            result: result.to_owned(),
        })
    }

    pub fn has_failed(&self) -> bool {
        self.result.starts_with("-1 ")
    }

    pub fn is_injected(&self) -> bool {
        self.result.ends_with("(INJECTED)")
    }
}

/// What the init called: before its `main`, and from there on.
#[derive(Debug, Default)]
pub struct Trace {
    pub before: Vec<Call>,
    pub calls: Vec<Call>,
}

impl Trace {
    pub fn read(path: &Path) -> Trace {
        let text = std::fs::read(path).unwrap();
        let mut before: Vec<Call> =
            String::from_utf8_lossy(&text).lines().filter_map(Call::parse).collect();
        let blocks = |(index, call): (usize, &Call)| {
            (call.name == "rt_sigprocmask" && call.arguments.contains("~[]")).then_some(index)
        };
        // The first instructions of the program block all signals, and then its `main` does.
        let begin = before.iter().enumerate().filter_map(blocks).nth(1);
        let calls = begin.map_or_else(Vec::new, |begin| before.split_off(begin));
        Trace { before, calls }
    }
}

/// How a life went.
#[derive(Debug)]
pub struct Lived {
    /// `None`: it had to be killed.
    pub ended: Option<Ended>,
    /// The first step that went otherwise than it should.
    pub lived: Result<(), String>,
    /// What was still there when the init was not.
    pub survivors: Vec<String>,
    pub trace: Trace,
    /// Where its files were.
    pub folder: PathBuf,
    pub was_up: bool,
    pub parent_was_told: bool,
    pub seconds: u64,
}

/// Lives it with these options of strace.
pub fn live(kind: Kind, position: Position, options: &[&str]) -> Lived {
    let begin = Instant::now();
    let life = Life::new(kind);
    let mut running = start(&mut life.command(position));
    running.wait_for("gate");
    let init = running.pid();
    let file = life.place("trace");
    let mut tracer = attach(init, &file, options);
    running.write("\n");
    let lived = life.live(&mut running);
    if lived.is_err() {
        running.try_signal("TERM");
    }
    let has_ended = running.ends_within(END);
    if !has_ended {
        running.kill_all();
    }
    let survivors = survivors(life.directory.path(), tracer.id());
    tracer.wait().unwrap();
    let ended = Some(running.end()).filter(|_| has_ended);
    let trace = Trace::read(&file);
    Lived {
        ended,
        lived,
        survivors,
        trace,
        folder: life.directory.path().to_owned(),
        was_up: life.was_up(),
        parent_was_told: life.parent_was_told(),
        seconds: begin.elapsed().as_secs(),
    }
}

fn attach(pid: i32, file: &Path, options: &[&str]) -> Child {
    let mut command = Command::new("strace");
    command.args(["-q", "-yy", "-s", "64", "-o"]).arg(file).args(options);
    command.args(["-p", &pid.to_string()]).stdin(Stdio::null()).stderr(Stdio::null());
    let tracer = command.spawn().unwrap();
    until("strace follows it", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:\t"))?;
        (tracer != "0").then_some(())
    });
    tracer
}

/// What has the mark and is not the tracer; it is killed.
fn survivors(mark: &Path, tracer: u32) -> Vec<String> {
    let mark = format!("{MARK}={}", mark.display());
    let mut survivors = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<u32>() else { continue };
        // One that is just ending has none.
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if pid == tracer || !environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes())
        {
            continue;
        }
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        survivors.push(String::from_utf8_lossy(&command).replace('\0', " "));
        let _ = std::panic::catch_unwind(|| kill(i32::try_from(pid).unwrap(), "KILL"));
    }
    survivors
}
