//! What a service that is to run again has left behind in its process group. It was sent KILL;
//! until it is gone the service is not started, lest the two meet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process_group};

use crate::supervisor::ServiceId;

/// A process in an uninterruptible sleep does not die of KILL; after this long it is left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Remnants {
    groups: BTreeMap<ServiceId, Pid>,
    /// Services that wait for theirs to be gone, and for how long at the most.
    waiting: Vec<(ServiceId, Instant)>,
}

impl Remnants {
    /// The leader of this group, the service's main process, has ended.
    pub(super) fn insert(&mut self, id: ServiceId, group: Pid) {
        self.groups.insert(id, group);
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

    /// All services that wait; they wait no more.
    pub(super) fn take_waiting(&mut self) -> Vec<ServiceId> {
        std::mem::take(&mut self.waiting).into_iter().map(|(id, _)| id).collect()
    }

    /// When one of them has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|(_, until)| *until).min()
    }

    fn is_gone(&self, id: ServiceId) -> bool {
        let is_empty = |group: &Pid| test_kill_process_group(*group) == Err(Errno::SRCH);
        self.groups.get(&id).is_none_or(is_empty)
    }
}
