//! Runs a command for each event. The init does not wait for it, and its queue is limited.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::event_file::RETRY;
use crate::exit::ExitStatus;
use crate::init::children::{StartFailure, kill_session, raw};
use crate::init::learnt::{Learnt, MessageKind, Scheduled};

/// The variable with the event.
pub(in crate::init) const VARIABLE: &str = "SIDECAR_INIT_EVENT";
/// The most commands at the same time.
const MOST_RUNNING: usize = 4;
/// The most queued events; further ones are dropped and counted.
const MOST_WAITING: usize = 256;
/// The time limit of a command.
const LONGEST_RUN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(in crate::init) struct Hooks {
    waiting: VecDeque<String>,
    /// The pid and the time limit of each command.
    running: BTreeMap<i32, Instant>,
    /// When to retry a failed fork.
    retry_at: Option<Instant>,
}

impl Hooks {
    /// Queues an event for the command.
    pub(super) fn push(&mut self, event: String, learnt: &mut Learnt) {
        if self.waiting.len() < MOST_WAITING {
            return self.waiting.push_back(event);
        }
        let text = "an event was dropped: the command of `on-event` is too slow";
        learnt.remark_rate_limited(MessageKind::EventDropped, None, text.to_owned());
    }

    /// Drops the queued events, and logs how many.
    pub(super) fn give_up(&mut self, learnt: &mut Learnt) {
        let lost = std::mem::take(&mut self.waiting).len();
        if lost > 0 {
            let text = "events did not reach the command of `on-event` in time";
            learnt.remark(format!("{lost} {text}"));
        }
    }

    /// Whether a queued command may start now.
    pub(super) fn are_due(&self) -> bool {
        let is_held_up = self.running.len() >= MOST_RUNNING || self.retry_at.is_some();
        !self.waiting.is_empty() && !is_held_up
    }

    /// Kills the commands over their time limit. If there `is_none`, because a reload has removed the
    /// command, drops the queued events.
    pub(super) fn look_after(&mut self, is_none: bool, now: Instant) {
        for (pid, until) in &mut self.running {
            if *until <= now
                && let Some(pid) = Pid::from_raw(*pid)
            {
                kill_session(pid);
                // It is reaped soon.
                *until = now + LONGEST_RUN;
            }
        }
        self.retry_at = self.retry_at.filter(|at| *at > now);
        if is_none {
            self.waiting.clear();
        }
    }

    /// The next event whose command may start; [`Hooks::started`] gets the result.
    pub(in crate::init) fn take_due(&mut self) -> Option<String> {
        self.are_due().then(|| self.waiting.pop_front())?
    }

    /// The command for an event was started, or could not be.
    pub(in crate::init) fn started(
        &mut self,
        event: String,
        started: Result<Pid, String>,
        now: Instant,
        learnt: &mut Learnt,
    ) {
        match started {
            Ok(pid) => drop(self.running.insert(raw(pid), now + LONGEST_RUN)),
            // No processes, memory or descriptors at the moment.
            Err(reason) => {
                refused(&reason, learnt);
                self.waiting.push_front(event);
                self.retry_at = Some(now + RETRY);
                learnt.may_be_the_end = true;
            }
        }
    }

    /// A command was reaped.
    pub(in crate::init) fn ended(
        &mut self,
        pid: Pid,
        status: ExitStatus,
        failure: Option<StartFailure>,
        learnt: &mut Learnt,
    ) {
        self.running.remove(&raw(pid));
        match failure {
            _ if status == ExitStatus::Code(0) => {}
            Some(failure) => refused(&failure.reason, learnt),
            None => {
                let text = format!("the command of `on-event` {status}");
                learnt.remark_rate_limited(MessageKind::HookFailed, None, text);
            }
        }
    }
}

impl Scheduled for Hooks {
    /// The time limit of a command, or the time of the next retry.
    fn deadline(&self) -> Option<Instant> {
        self.running.values().copied().chain(self.retry_at).min()
    }

    fn put_off(&mut self, gap: Duration, _: Instant) {
        self.running.values_mut().for_each(|until| *until += gap);
    }
}

fn refused(reason: &str, learnt: &mut Learnt) {
    let text = format!("can't run the command of `on-event`: {reason}");
    learnt.remark_rate_limited(MessageKind::HookFailed, None, text);
}
