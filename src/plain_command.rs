//! The short way for one plain command, `sidecar-init -- COMMAND`. It does only what every such run
//! needs, so that the init touches fewer pages of memory and makes fewer system calls.
//!
//! In every other case (a failed exec, a signal, an exit code other than 0, remaining processes, a
//! system call that fails) it hands over to [`Init`](crate::init::Init), which takes over the child. The
//! kernel keeps the rest of the state: unread signals are still pending, and zombies still exist.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait};

use crate::cgroup::OutOfMemory;
use crate::exit::ExitStatus;
use crate::poll::wait_for_any;
use crate::program;
use crate::signal::Signal;
use crate::sys::descriptors::{self, Inherited};
use crate::sys::entry;
use crate::sys::process::{become_reaper, leave_directory};
use crate::sys::signals::{self, Signals};
use crate::sys::spawn::{Report, Spawned, spawn};
use crate::sys::wait::exit_status;

/// The prefix of the variables that the init reads.
const OURS: &[u8] = b"SIDECAR_INIT_";
/// How many orphans are reaped at once; with more the init takes over.
const MOST_REAPED: usize = 128;

/// The state that the init takes over.
#[derive(Debug)]
pub struct HandOver {
    /// The inherited descriptors, until they are closed because the command runs.
    inherited: Option<Inherited>,
    /// The command, if it is started.
    pub(crate) begun: Option<Begun>,
}

impl HandOver {
    /// Kills the command, because there is no init that could take it over.
    pub fn kill(&self) {
        if let Some(begun) = self.begun.as_ref().filter(|begun| begun.status.is_none()) {
            let _ = signals::kill(begun.pid.as_raw_nonzero().get(), Signal::KILL);
        }
    }

    /// Takes the inherited descriptors. Call it before `Init::new`, which makes all close-on-exec.
    pub fn take_inherited(&mut self) -> Vec<OwnedFd> {
        self.inherited.take().map_or_else(Vec::new, Inherited::take)
    }
}

/// A command that was started.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) started: Instant,
    /// The count before its start.
    pub(crate) out_of_memory: OutOfMemory,
    pub(crate) pid: Pid,
    /// The paths at which its program is looked for.
    pub(crate) paths: Vec<CString>,
    /// Reports whether exec succeeded; `None`: it did.
    pub(crate) report: Option<Report>,
    /// When exec succeeded.
    pub(crate) executed_at: Option<Instant>,
    /// Its exit status, if it is reaped.
    pub(crate) status: Option<ExitStatus>,
    /// A signal that was read from the signalfd.
    pub(crate) received: Option<Signal>,
    /// Whether the command got that signal.
    pub(crate) was_forwarded: bool,
}

/// The result of one turn.
enum Turn {
    Continue,
    /// The command has exited with code 0, and no process remains.
    Over,
    HandOver,
}

/// Runs the command in these arguments, which begin with the program's name. Returns the exit code.
/// `are_blocked`: whether all signals are. If not, the signalfd would report none.
///
/// # Errors
/// The init has to take over.
pub fn run(
    arguments: &[OsString],
    inherited: Inherited,
    are_blocked: bool,
) -> Result<u8, HandOver> {
    let command = command_of(arguments).filter(|_| are_blocked && !has_terminal());
    let begun = command.and_then(begin);
    let mut state = HandOver { inherited: Some(inherited), begun: None };
    let Some((mut begun, signals)) = begun else { return Err(state) };
    loop {
        match turn(&mut begun, &signals, &mut state.inherited) {
            Turn::Continue => {}
            Turn::Over => {
                // The process ends: the kernel closes them.
                std::mem::forget((begun, signals));
                return Ok(0);
            }
            Turn::HandOver => {
                state.begun = Some(begun);
                return Err(state);
            }
        }
    }
}

fn command_of(arguments: &[OsString]) -> Option<&[OsString]> {
    let (first, command) = arguments.get(1..)?.split_first()?;
    let is_command = *first == "--" && command.first().is_some_and(|program| !program.is_empty());
    is_command.then_some(command)
}

/// Without a controlling terminal open(2) fails with ENXIO, tty(4).
fn has_terminal() -> bool {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    !matches!(rustix::fs::open("/dev/tty", flags, Mode::empty()), Err(Errno::NXIO))
}

/// Starts the command as the init does. `None`: nothing is started.
fn begin(command: &[OsString]) -> Option<(Begun, Signals)> {
    let started = Instant::now();
    let environment = entry::environment();
    if environment.iter().any(|variable| variable.to_bytes().starts_with(OURS)) {
        return None;
    }
    signals::reset_dispositions();
    become_reaper().ok()?;
    let signals = Signals::open().ok()?;
    let mut launch = program::one_command(command, environment).ok()?;
    let out_of_memory = OutOfMemory::watch();
    let Spawned { pid, report } = spawn(&launch).ok()?;
    let paths = std::mem::take(&mut launch.paths);
    let begun = Begun {
        started,
        out_of_memory,
        pid,
        paths,
        report: Some(report),
        executed_at: None,
        status: None,
        received: None,
        was_forwarded: false,
    };
    Some((begun, signals))
}

fn turn(begun: &mut Begun, signals: &Signals, inherited: &mut Option<Inherited>) -> Turn {
    let report = begun.report.as_ref().map_or(signals.as_fd(), Report::as_fd);
    let mut polled =
        [PollFd::new(signals, PollFlags::IN), PollFd::from_borrowed_fd(report, PollFlags::IN)];
    if wait_for_any(&mut polled).is_err() {
        return Turn::HandOver;
    }
    let [seen, told] = [polled[0].revents(), polled[1].revents()];
    if begun.report.is_some() && !told.is_empty() {
        if told.contains(PollFlags::IN) {
            // The reason why exec failed.
            return Turn::HandOver;
        }
        begun.report = None;
        begun.executed_at = Some(Instant::now());
        if let Err(left) = release(inherited.take(), signals) {
            *inherited = Some(left);
            return Turn::HandOver;
        }
    }
    if seen.is_empty() {
        return Turn::Continue;
    }
    match signals.next() {
        Ok(None) => Turn::Continue,
        Ok(Some(received)) if received.signal == Signal::CHLD => reap(begun),
        Ok(Some(received)) => {
            begun.received =
                Some(received.signal).filter(|_| received.sender != std::process::id());
            begun.was_forwarded =
                begun.received.is_some() && begun.report.is_none() && begun.forward();
            Turn::HandOver
        }
        Err(_) => Turn::HandOver,
    }
}

/// The command runs: closes our copies of what it has inherited.
fn release(inherited: Option<Inherited>, signals: &Signals) -> Result<(), Inherited> {
    let done = inherited.map_or(Ok(()), |inherited| inherited.close(&[signals.as_fd()]));
    descriptors::empty_input_and_output();
    leave_directory();
    done
}

fn reap(begun: &mut Begun) -> Turn {
    for _ in 0..MOST_REAPED {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if pid == begun.pid {
                    begun.status = Some(exit_status(status));
                }
            }
            // Other processes remain.
            Ok(None) if begun.status.is_some() => return Turn::HandOver,
            Ok(None) => return Turn::Continue,
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) if begun.status == Some(ExitStatus::Code(0)) => return Turn::Over,
            Err(_) => return Turn::HandOver,
        }
    }
    Turn::HandOver
}

impl Begun {
    /// Forwards the signal. The child is not reaped yet, so its pid can't be another process's.
    fn forward(&self) -> bool {
        let pid = self.pid.as_raw_nonzero().get();
        self.status.is_none()
            && self.received.is_some_and(|signal| signals::kill(pid, signal).is_ok())
    }
}
