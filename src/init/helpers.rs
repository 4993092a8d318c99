//! Short-lived commands that the init runs for a service, beside its main process.

use std::collections::BTreeMap;

use rustix::process::Pid;

use super::checks::Purpose;
use crate::supervisor::ServiceId;

/// What a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    Check(ServiceId, Purpose),
    StopCommand(ServiceId),
}

/// Those that have not been reaped. Each leads a session of its own.
#[derive(Debug, Default)]
pub(super) struct Helpers(BTreeMap<i32, Job>);

impl Helpers {
    pub(super) fn insert(&mut self, pid: Pid, job: Job) {
        self.0.insert(pid.as_raw_nonzero().get(), job);
    }

    pub(super) fn is_running(&self, pid: i32) -> bool {
        self.0.contains_key(&pid)
    }

    /// What a command that runs is for.
    pub(super) fn job(&self, pid: Pid) -> Option<Job> {
        self.0.get(&pid.as_raw_nonzero().get()).copied()
    }

    /// Takes out the stop-commands of a service, which nobody waits for any more.
    pub(super) fn take_stop_commands(&mut self, id: ServiceId) -> Vec<Pid> {
        let is_one = |job: &Job| *job == Job::StopCommand(id);
        let taken = self.0.iter().filter(|(_, job)| is_one(job));
        let taken = taken.filter_map(|(pid, _)| Pid::from_raw(*pid)).collect();
        self.0.retain(|_, job| !is_one(job));
        taken
    }

    /// Takes out one that was just reaped.
    pub(super) fn remove(&mut self, pid: Pid) -> Option<Job> {
        self.0.remove(&pid.as_raw_nonzero().get())
    }
}
