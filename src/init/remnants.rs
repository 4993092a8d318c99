//! What a service that is to run again has left behind, in its process group and, where it has
//! one, in its control group. It was sent KILL; until it is gone the service is not started, lest
//! the two meet.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process_group};

use crate::cgroup::{self, OwnGroup, ServiceGroup};
use crate::signal::Signal;
use crate::supervisor::ServiceId;
use crate::sys::signals;

/// A process in an uninterruptible sleep does not die of KILL; after this long it is left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Remnants {
    groups: BTreeMap<ServiceId, Pid>,
    /// The control groups of services that may run again, where such can be made.
    control_groups: BTreeMap<ServiceId, ServiceGroup>,
    /// Where they are made, once it was looked for.
    own_group: Option<OwnGroup>,
    /// Such can't be made here.
    has_no_control_groups: bool,
    /// Services that wait for theirs to be gone, and for how long at the most.
    waiting: Vec<(ServiceId, Instant)>,
}

impl Remnants {
    /// What the service is to be let into its control group by; `None` where there is none.
    pub(super) fn door(&mut self, id: ServiceId, name: &str) -> Option<OwnedFd> {
        if !self.control_groups.contains_key(&id) && !self.has_no_control_groups {
            match self.make_control_group(name) {
                Ok(group) => drop(self.control_groups.insert(id, group)),
                Err(_) => self.has_no_control_groups = true,
            }
        }
        self.control_groups.get(&id)?.door().ok()
    }

    fn make_control_group(&mut self, name: &str) -> io::Result<ServiceGroup> {
        let own = match self.own_group.take() {
            Some(own) => own,
            None => OwnGroup::find()?,
        };
        ServiceGroup::make(self.own_group.insert(own), name)
    }

    /// The main process has ended, and is not reaped yet, so that its group is still its own: all
    /// that it leaves behind is killed.
    pub(super) fn kill(&mut self, id: ServiceId, group: Option<Pid>) {
        if let Some(group) = group {
            let _ = signals::kill(-group.as_raw_nonzero().get(), Signal::KILL);
            self.groups.insert(id, group);
        }
        if let Some(control_group) = self.control_groups.get(&id) {
            let _ = control_group.kill();
        }
    }

    /// In whose control group the process is.
    pub(super) fn owner_by_control_group(&self, pid: i32) -> Option<ServiceId> {
        if self.control_groups.is_empty() {
            return None;
        }
        let path = cgroup::path_of(pid)?;
        self.control_groups.iter().find(|(_, group)| group.holds(&path)).map(|(id, _)| *id)
    }

    /// Another service has this id from now on.
    pub(super) fn forget(&mut self, id: ServiceId) {
        self.groups.remove(&id);
        self.control_groups.remove(&id);
    }

    /// Whether the service has to wait; then `take_free` has it when it is free.
    pub(super) fn hold_up(&mut self, id: ServiceId, now: Instant) -> bool {
        if self.is_gone(id) {
            return false;
        }
        self.waiting.push((id, now + LONGEST_WAIT));
        true
    }

    /// The services that need not wait any longer.
    pub(super) fn take_free(&mut self, now: Instant) -> Vec<ServiceId> {
        let waiting = std::mem::take(&mut self.waiting);
        let (free, waiting): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(id, until)| *until <= now || self.is_gone(*id));
        self.waiting = waiting;
        for (id, _) in &free {
            self.groups.remove(id);
        }
        free.into_iter().map(|(id, _)| id).collect()
    }

    /// The service is not to be started any more; whether it waited.
    pub(super) fn cancel(&mut self, id: ServiceId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|(other, _)| *other != id);
        self.waiting.len() < before
    }

    /// Nobody ran for so long, and so nothing had the time to be gone.
    pub(super) fn put_off(&mut self, gap: Duration) {
        self.waiting.iter_mut().for_each(|(_, until)| *until += gap);
    }

    /// When one of them has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|(_, until)| *until).min()
    }

    fn is_gone(&self, id: ServiceId) -> bool {
        let is_empty = |group: &Pid| {
            test_kill_process_group(*group) == Err(Errno::SRCH)
                && self.control_groups.get(&id).is_none_or(ServiceGroup::is_empty)
        };
        self.groups.get(&id).is_none_or(is_empty)
    }
}
