//! Whether a start has succeeded, and whose failure it is if not.
//!
//! A service is up when it is ready and has run for a short while. One that an operator or a reload
//! wants to start, and that fails before it is up, fails alone: the bundle that was running goes on,
//! and whoever asked for it mends it. Later it ends like any other.

use std::time::{Duration, Instant};

use super::Supervisor;
use super::event::{Action, Announcement, Cause, ServiceId};
use super::state::{End, State};

/// How long a service runs, at the least, before its start has succeeded.
pub(super) const SETTLING: Duration = Duration::from_secs(1);

/// What is known of the start of a service that goes on, or was the last one.
#[derive(Debug, Default)]
pub(super) struct StartAttempt {
    /// An operator or a reload wants it, and the service has not been up since.
    pub(super) is_on_request: bool,
    /// From when on the process that runs is up; `None`: it is not ready.
    pub(super) up_at: Option<Instant>,
    /// How often it failed, and how the last time.
    failures: u32,
    failure: Option<Cause>,
}

impl Supervisor {
    /// From when on the service counts as up; `None`: it is not ready, or is to end.
    pub fn up_at(&self, id: ServiceId) -> Option<Instant> {
        let service = self.services.get(id.0)?;
        let is_ready = matches!(service.state, State::Running { ready: true, .. });
        service.attempt.up_at.filter(|_| is_ready && service.ending.is_none())
    }

    /// Whether the service is to end.
    pub fn is_to_end(&self, id: ServiceId) -> bool {
        self.services.get(id.0).is_some_and(|service| service.ending.is_some())
    }

    /// How often the service ended before it was up, or could not be started, and how the last
    /// time.
    pub fn failed_starts(&self, id: ServiceId) -> (u32, Option<Cause>) {
        let attempt = self.services.get(id.0).map(|service| &service.attempt);
        attempt.map_or((0, None), |attempt| (attempt.failures, attempt.failure))
    }

    /// The one that the service waits for, and that does not come unless somebody starts it.
    pub fn missing(&self, id: ServiceId) -> Option<ServiceId> {
        let mut waiting = id;
        // A file in which services require each other is refused; here it must only end.
        for _ in 0..self.order.groups.len() {
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

    /// What its end says of its start.
    pub(super) fn attempt_ended(&mut self, id: ServiceId, cause: Cause, now: Instant) {
        // One that was late to start may have run for a while, until it could be asked to end.
        let was_late = matches!(cause, Cause::Unready(_));
        let attempt = &mut self.services[id.0].attempt;
        if attempt.up_at.take().is_some_and(|up_at| up_at < now) && !was_late {
            attempt.is_on_request = false;
        } else {
            attempt.failures = attempt.failures.wrapping_add(1);
            attempt.failure = Some(cause);
        }
    }

    /// Whether its end for good is no concern of the bundle.
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
