//! Children that were made, and are on their way to their program. Most are there in less than a
//! millisecond; one whose program is on a file system that does not answer may stay for ever, and
//! nobody waits for it.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use mio::Interest;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::json;

use super::Init;
use super::launch::Attempt;
use super::token::Source;
use crate::poll::Registry;
use crate::supervisor::{Event, ServiceId, State};
use crate::sys::spawn::{Failure, Progress, Report};

/// One child, and what it was told to do.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) report: Report,
    pub(super) attempt: Attempt,
    /// Its last word, after which it only ends.
    failure: Option<Failure>,
}

/// What is said of a start that has failed: the exit code that it means, and the reason.
pub(super) type Refusal = (u8, String);

/// By pid.
#[derive(Debug, Default)]
pub(super) struct Starts(BTreeMap<i32, Start>);

impl Start {
    pub(super) fn new(report: Report, attempt: Attempt) -> Start {
        Start { report, attempt, failure: None }
    }
}

impl Starts {
    /// Enters a child of which only its end matters.
    pub(super) fn insert(&mut self, pid: Pid, start: Start) {
        self.0.insert(raw(pid), start);
    }

    /// Enters a child of which it is to be told when its program runs.
    pub(super) fn watch(&mut self, pid: Pid, start: Start, registry: &Registry) {
        let token = Source::Start(raw(pid)).token();
        registry.register(&start.report.as_raw_fd(), token, Interest::READABLE);
        self.insert(pid, start);
    }

    /// Whether its program is not known to run.
    pub(super) fn is_under_way(&self, pid: Pid) -> bool {
        self.0.contains_key(&raw(pid))
    }

    /// Looks how far it has got; whether its program runs, which is told once.
    fn has_executed(&mut self, pid: Pid) -> bool {
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

    /// It was reaped: why its program was not executed, if it was not.
    pub(super) fn ended(&mut self, pid: Pid) -> Option<Refusal> {
        self.has_executed(pid);
        let Start { attempt, failure, .. } = self.remove(pid)?;
        failure.map(|failure| attempt.explain(&failure))
    }

    fn remove(&mut self, pid: Pid) -> Option<Start> {
        self.0.remove(&raw(pid))
    }

    /// What the poll watches for this child.
    pub(super) fn descriptor(&self, pid: i32) -> Option<RawFd> {
        self.0.get(&pid).map(|start| start.report.as_raw_fd())
    }
}

fn lives(pid: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(pid), look), Ok(None))
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

impl Init {
    /// The poll has said that this child has got further.
    pub(super) fn start_went_on(&mut self, pid: i32) {
        if let Some(pid) = Pid::from_raw(pid)
            && self.starts.has_executed(pid)
            && let Some(id) = self.processes.service(pid)
        {
            self.executed(id, pid);
        }
    }

    /// What is learnt of a service's program comes after that it runs.
    pub(super) fn learn_start_of(&mut self, id: ServiceId) {
        if let Some(process) = self.processes.get(id) {
            self.start_went_on(raw(process.pid));
        }
    }

    fn executed(&mut self, id: ServiceId, pid: Pid) {
        self.history.started(id, Instant::now());
        if self.plan.is_one_command {
            self.let_go(id);
        }
        let is_wanted = matches!(self.supervisor.state(id), State::Spawning { .. });
        // One that was asked to end and is gone may never have run its program: its end closes the
        // pipe, too.
        if is_wanted || lives(pid) {
            self.tell(&format!("service \"{}\" started (pid {pid})", self.plan.name(id)));
            self.publish("started", Some(id), json!({"pid": raw(pid)}));
        }
        self.facts.push(Event::Spawned(id));
    }

    /// The start has come to nothing.
    pub(super) fn start_failed(&mut self, id: ServiceId, (code, reason): Refusal) {
        let text = match self.plan.is_one_command {
            true => reason.clone(),
            false => format!("service \"{}\": {reason}", self.plan.name(id)),
        };
        self.say(&text);
        self.publish("start-failed", Some(id), json!({"code": code, "reason": text}));
        self.refusals.insert(id, reason);
        self.facts.push(Event::SpawnFailed(id, code));
    }
}
