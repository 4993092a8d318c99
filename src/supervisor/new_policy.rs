//! Replaces the running bundle: new services start, removed ones stop, changed ones restart, and all
//! others keep running.

use std::sync::Arc;
use std::time::Instant;

use super::census::Census;
use super::event::{Changes, ServiceId};
use super::order::Order;
use super::state::{End, Ending, Phase, State};
use super::{Policy, Service, Supervisor};

impl Supervisor {
    /// Applies another policy, in which every service has kept its id. Does nothing after the shutdown
    /// has begun.
    pub fn reload(&mut self, policy: impl Into<Arc<Policy>>, changes: &Changes, now: Instant) {
        if self.phase != Phase::Up {
            return;
        }
        self.policy = policy.into();
        self.order = Order::new(&self.policy);
        self.to_examine = (0..self.order.start.len()).collect();
        self.examine_first = 0;
        let new = self.policy.services.iter().skip(self.services.len());
        self.services.extend(new.map(Service::new));
        self.census = Census::of(self.services.iter().map(|service| service.state));
        for id in &changes.stopped {
            self.end_requested(*id, Ending::Stop);
        }
        for id in &changes.started {
            match self.state(*id) {
                State::Gone(_) => {
                    self.set(*id, State::Waiting);
                    self.services[id.0] = Service::new(&self.policy.services[id.0]);
                }
                // It is in the file again before it has ended.
                state if state.is_alive() => self.services[id.0].ending = Some(Ending::Restart),
                _ => {}
            }
            self.services[id.0].attempt.is_on_request = true;
        }
        for id in &changes.restarted {
            self.restart_changed(*id);
        }
        self.unsettled = true;
        self.due = Some(now);
    }

    /// A service that an operator has stopped stays down.
    fn restart_changed(&mut self, id: ServiceId) {
        if self.services[id.0].ending == Some(Ending::Stop) {
            return;
        }
        self.services[id.0].attempt.is_on_request = true;
        match self.state(id) {
            State::Gone(End::Stopped) | State::Waiting => {}
            State::Gone(_) | State::Backoff { .. } => {
                self.services[id.0].history.forgive();
                self.set(id, State::Waiting);
            }
            State::Spawning { .. }
            | State::Running { .. }
            | State::Draining { .. }
            | State::Stopping { .. }
            | State::Killed => self.end_requested(id, Ending::Restart),
        }
    }
}
