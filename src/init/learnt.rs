//! The results of the components: facts for the core, log lines, and deadlines.

use std::time::{Duration, Instant};

use crate::bundle::health_check::{Probe, Purpose};
use crate::supervisor::{Event, ServiceId};

/// What a component has learnt, in the order of events.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    /// For the core.
    pub(super) facts: Vec<Event>,
    /// For the log.
    pub(super) remarks: Vec<Remark>,
    /// What is to be done for checks.
    pub(super) requests: Vec<CheckRequest>,
    /// The last process may have ended; no other report will follow.
    pub(super) may_be_the_end: bool,
}

/// What `Init` does for a check.
#[derive(Debug)]
pub(super) enum CheckRequest {
    /// A child tries this probe; `Checks::child_was_made` gets the result.
    Run(ServiceId, Purpose, Probe),
    /// Extends the start timeout by this, if the service is starting.
    Extend(ServiceId, Duration),
}

/// A log line that is not an announcement.
#[derive(Debug)]
pub(super) struct Remark {
    /// The service that it concerns: the line begins with its name.
    pub(super) of: Option<ServiceId>,
    pub(super) text: String,
    /// Its kind, if a process can cause very many of them.
    pub(super) kind: Option<MessageKind>,
}

/// The kind of a message. Messages of the same kind differ only in details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MessageKind {
    EventDropped,
    HookFailed,
    SignalDropped,
    SignalRefused(ServiceId),
    MainProcess(ServiceId),
}

impl Learnt {
    pub(super) fn remark(&mut self, text: String) {
        self.remarks.push(Remark { of: None, text, kind: None });
    }

    pub(super) fn remark_of(&mut self, id: ServiceId, text: impl Into<String>) {
        self.remarks.push(Remark { of: Some(id), text: text.into(), kind: None });
    }

    pub(super) fn remark_rate_limited(
        &mut self,
        kind: MessageKind,
        of: Option<ServiceId>,
        text: String,
    ) {
        self.remarks.push(Remark { of, text, kind: Some(kind) });
    }
}

/// A component with deadlines.
pub(super) trait Scheduled {
    /// The next time at which it has work.
    fn deadline(&self) -> Option<Instant>;

    /// The init did not run for this time until `now`, and probably nothing else did: all limits are
    /// extended by it.
    fn put_off(&mut self, gap: Duration, now: Instant);
}
