//! Whether a start has succeeded, and what its failure means.
//!
//! A service is up when it is ready and has run for a short time. If an operator or a reload starts it
//! and it fails before that, it fails alone: the running bundle is not affected, and the operator can
//! fix it. Later its exit counts like any other.

use std::time::{Duration, Instant};

use super::Supervisor;
use super::event::{Action, Announcement, Cause, ServiceId};
use super::state::{End, State};

/// How long a service must run until its start has succeeded.
pub(super) const SETTLING: Duration = Duration::from_secs(1);

/// The current or last start of a service.
#[derive(Debug, Default)]
pub(super) struct StartAttempt {
    /// An operator or a reload has requested it, and the service has not been up since.
    pub(super) is_on_request: bool,
    /// When the running process counts as up; `None`: it is not ready.
    pub(super) up_at: Option<Instant>,
    /// How often it has failed, and the last cause; for most services `None`.
    failures: Option<Box<(u32, Cause)>>,
}

impl Supervisor {
    /// When the service counts as up; `None`: it is not ready, or is being stopped.
    pub fn up_at(&self, id: ServiceId) -> Option<Instant> {
        let service = self.services.get(id.0)?;
        let is_ready = matches!(service.state, State::Running { ready: true, .. });
        service.attempt.up_at.filter(|_| is_ready && service.ending.is_none())
    }

    /// Whether the service is being stopped.
    pub fn is_to_end(&self, id: ServiceId) -> bool {
        self.services.get(id.0).is_some_and(|service| service.ending.is_some())
    }

    /// How often the service ended before it was up, or could not be started, and the last cause.
    pub fn failed_starts(&self, id: ServiceId) -> (u32, Option<Cause>) {
        let failures =
            self.services.get(id.0).and_then(|service| service.attempt.failures.as_ref());
        failures.map_or((0, None), |failures| (failures.0, Some(failures.1)))
    }

    /// The service that this one waits for, and that does not start without a request.
    pub fn missing(&self, id: ServiceId) -> Option<ServiceId> {
        let mut waiting = id;
        // The parser refuses cycles; here the loop must only end.
        for _ in 0..self.order.start.len() {
            if self.state(waiting) != State::Waiting {
                return None;
            }
            let is_not_there = |other: &ServiceId| {
                matches!(
                    self.state(*other),
                    State::Waiting | State::Gone(End::Stopped | End::Failed)
                )
            };
            let mut required = self.order.required_by(self.order.group(waiting)?);
            waiting = required.find(is_not_there)?;
            if matches!(self.state(waiting), State::Gone(_)) {
                return Some(waiting);
            }
        }
        None
    }

    /// What its end means for its start.
    pub(super) fn attempt_ended(&mut self, id: ServiceId, cause: Cause, now: Instant) {
        // A service over its start timeout may have run for a while until it could be stopped.
        let was_late = matches!(cause, Cause::Unready(_));
        let attempt = &mut self.services[id.0].attempt;
        if attempt.up_at.take().is_some_and(|up_at| up_at < now) && !was_late {
            attempt.is_on_request = false;
        } else {
            let before = attempt.failures.as_ref().map_or(0, |failures| failures.0);
            attempt.failures = Some((before.wrapping_add(1), cause).into());
        }
    }

    /// Whether its final end does not affect the bundle.
    pub(super) fn fails_alone(&mut self, id: ServiceId, actions: &mut Vec<Action>) -> bool {
        let is_on_request = self.services[id.0].attempt.is_on_request;
        if is_on_request {
            self.set(id, State::Gone(End::Failed));
            actions.push(Action::Announce(Announcement::FailedAlone(id)));
        }
        is_on_request
    }

    pub(super) fn has_failed_alone(&self, id: ServiceId) -> bool {
        self.state(id) == State::Gone(End::Failed) && self.services[id.0].attempt.is_on_request
    }
}
