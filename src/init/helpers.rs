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

/// Those that have not been reaped. Each leads a process group of its own.
#[derive(Debug, Default)]
pub(super) struct Helpers(BTreeMap<i32, Job>);

impl Helpers {
    pub(super) fn insert(&mut self, pid: Pid, job: Job) {
        self.0.insert(pid.as_raw_nonzero().get(), job);
    }

    pub(super) fn is_running(&self, pid: i32) -> bool {
        self.0.contains_key(&pid)
    }

    /// Takes out one that was just reaped.
    pub(super) fn remove(&mut self, pid: Pid) -> Option<Job> {
        self.0.remove(&pid.as_raw_nonzero().get())
    }
}
