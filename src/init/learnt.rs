//! What the components give back: facts for the core, and what is to be said; and when they want to
//! be asked again.

use std::time::{Duration, Instant};

use crate::bundle::health_check::{Probe, Purpose};
use crate::supervisor::{Event, ServiceId};

/// What a component has learnt. All are in the order in which they became known.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    /// For the core.
    pub(super) facts: Vec<Event>,
    /// For the log.
    pub(super) remarks: Vec<Remark>,
    /// What is to be done for checks.
    pub(super) requests: Vec<CheckRequest>,
    /// What was waited for may have been the last of all; nothing else will tell.
    pub(super) may_be_the_end: bool,
}

/// What `Init` has to have done for a check.
#[derive(Debug)]
pub(super) enum CheckRequest {
    /// A child is to try this; `Health::check_started` takes what came of it.
    Run(ServiceId, Purpose, Probe),
    /// A start takes so much longer, if it goes on.
    Extend(ServiceId, Duration),
}

/// A line for the log that is no announcement.
#[derive(Debug)]
pub(super) struct Remark {
    /// The service that it is about: its name comes first.
    pub(super) of: Option<ServiceId>,
    pub(super) text: String,
    /// Of what kind it is, if somebody may cause very many of them.
    pub(super) kind: Option<MessageKind>,
}

/// What a message is about. Two of the same kind differ in details only.
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

/// Something that has deadlines of its own.
pub(super) trait Scheduled {
    /// When it is to be asked again, whatever happens until then.
    fn deadline(&self) -> Option<Instant>;

    /// The init did not run for so long until `now`, and most likely nobody else did: what anybody
    /// was given time for takes so much longer.
    fn put_off(&mut self, gap: Duration, now: Instant);
}
