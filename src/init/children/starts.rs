//! Children between fork and exec. Most execute in less than a millisecond; one whose program is on a
//! file system that does not answer may hang for ever, and nothing waits for it.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, RawFd};

use rustix::process::Pid;

use super::raw;
use super::start_failure::{ExecAttempt, StartFailure};
use crate::init::token::Source;
use crate::poll::Registry;
use crate::sys::spawn::{Failure, Launch, Progress, Report, Spawned, spawn};

/// A child, and what it executes.
#[derive(Debug)]
pub(super) struct Start {
    report: Report,
    attempt: ExecAttempt,
    /// Its reported failure, after which it exits.
    failure: Option<Failure>,
}

/// By pid.
#[derive(Debug, Default)]
pub(super) struct Starts(BTreeMap<i32, Start>);

/// Forks a child for `launch`; the program's name is for messages.
pub(super) fn start(mut launch: Launch, program: &OsStr) -> Result<(Pid, Start), StartFailure> {
    let spawned = spawn(&launch);
    let paths = std::mem::take(&mut launch.paths);
    let attempt = ExecAttempt { program: program.to_owned(), paths };
    match spawned {
        Ok(Spawned { pid, report }) => Ok((pid, Start { report, attempt, failure: None })),
        Err(failure) => Err(attempt.explain(&failure)),
    }
}

/// A child that was made by somebody else, and is on its way.
pub(super) fn adopted(program: &OsStr, paths: Vec<CString>, report: Report) -> Start {
    let attempt = ExecAttempt { program: program.to_owned(), paths };
    Start { report, attempt, failure: None }
}

impl Starts {
    /// Adds a child of which only the end matters.
    pub(super) fn insert(&mut self, pid: Pid, start: Start) {
        self.0.insert(raw(pid), start);
    }

    /// Adds a child, and has the poll report its exec.
    pub(super) fn watch(&mut self, pid: Pid, start: Start, registry: &Registry) {
        Source::Start(raw(pid)).register(&start.report, registry);
        self.insert(pid, start);
    }

    /// Whether its exec is not confirmed yet.
    pub(super) fn is_under_way(&self, pid: Pid) -> bool {
        self.0.contains_key(&raw(pid))
    }

    /// Reads its progress; returns whether its exec has succeeded, once.
    pub(super) fn has_executed(&mut self, pid: Pid) -> bool {
        let Some(start) = self.0.get_mut(&raw(pid)) else { return false };
        if start.failure.is_some() {
            return false;
        }
        match start.report.read() {
            Progress::Pending => false,
            Progress::Failed(failure) => {
                start.failure = Some(failure);
                false
            }
            Progress::Executed => {
                self.remove(pid);
                true
            }
        }
    }

    /// It was reaped: why its exec failed, if it did.
    pub(super) fn ended(&mut self, pid: Pid) -> Option<StartFailure> {
        self.has_executed(pid);
        let Start { attempt, failure, .. } = self.remove(pid)?;
        failure.map(|failure| attempt.explain(&failure))
    }

    fn remove(&mut self, pid: Pid) -> Option<Start> {
        self.0.remove(&raw(pid))
    }

    /// The descriptor for the poll.
    pub(super) fn descriptor(&self, pid: i32) -> Option<RawFd> {
        self.0.get(&pid).map(|start| start.report.as_raw_fd())
    }
}
