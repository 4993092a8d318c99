//! How a service is asked to end: when nobody depends on it any more, by its signal or its command.

use std::time::Instant;

use super::Supervisor;
use super::event::{Action, Announcement, ServiceId};
use super::policy::StopPolicy;
use super::state::{Phase, State};
use crate::signal::Signal;

impl Supervisor {
    /// Asks services to end that are to, once no dependent is alive that has to end first. Services of
    /// this stage of the shutdown, or of an earlier one, are asked in any case.
    pub(super) fn stop_who_may_be_stopped(
        &mut self,
        now: Instant,
        stage: Option<usize>,
        actions: &mut Vec<Action>,
    ) {
        if self.services.iter().all(|service| service.ending.is_none()) {
            return;
        }
        let mut is_in_the_way = vec![false; self.order.groups.len()];
        for place in (0..self.order.start.len()).rev() {
            let index = self.order.start[place];
            let dependents = &self.order.groups[index].dependents;
            let blocked = dependents.iter().any(|dependent| is_in_the_way[*dependent]);
            is_in_the_way[index] = blocked;
            for member in (0..self.order.groups[index].members.len()).rev() {
                let id = self.order.groups[index].members[member];
                let service = &self.services[id.0];
                if service.ending.is_none() {
                    continue;
                }
                is_in_the_way[index] |= service.state.is_alive();
                let forced = stage.is_some_and(|stage| self.order.stage[id.0] <= stage);
                if !blocked || forced {
                    self.ask(id, now, actions);
                }
            }
        }
    }

    /// Asks a service to end.
    fn ask(&mut self, id: ServiceId, now: Instant, actions: &mut Vec<Action>) {
        let drain = self.services[id.0].stop.drain;
        match self.state(id) {
            State::Running { .. } if drain.is_zero() => self.send_stop(id, now, actions),
            State::Running { .. } => {
                self.set(id, State::Draining { until: now + drain });
                actions.push(Action::Announce(Announcement::Draining(id, drain)));
            }
            State::Spawning { .. } => {
                self.begin_stop(id, now);
                // The shutdown has cancelled all of them.
                if self.phase == Phase::Up {
                    actions.push(Action::CancelStart(id));
                }
                if self.can_be_stopped_early(id) {
                    self.push_stop_request(id, actions);
                }
            }
            _ => {}
        }
    }

    pub(super) fn send_stop(&mut self, id: ServiceId, now: Instant, actions: &mut Vec<Action>) {
        self.begin_stop(id, now);
        self.push_stop_request(id, actions);
    }

    /// From here on its own grace runs.
    fn begin_stop(&mut self, id: ServiceId, now: Instant) {
        let stop = self.services[id.0].stop;
        let grace = match self.phase {
            // While the bundle is up there is no other deadline.
            Phase::Up => Some(stop.grace.unwrap_or(self.policy.grace)),
            _ => stop.grace,
        };
        let deadline = self.phase.deadline();
        let kill_at = grace
            .map(|grace| now + grace)
            .filter(|kill_at| deadline.is_none_or(|deadline| *kill_at < deadline));
        self.set(id, State::Stopping { kill_at });
    }

    pub(super) fn push_stop_request(&self, id: ServiceId, actions: &mut Vec<Action>) {
        if self.services[id.0].stop.has_command {
            actions.push(Action::Announce(Announcement::StopCommand(id)));
            actions.push(Action::RunStopCommand(id));
        } else {
            self.push_stop_signal(id, actions);
        }
    }

    /// Whether what asks it to end has the same effect on a process that has not executed the
    /// service's program yet. Otherwise it is asked when that runs.
    pub(super) fn can_be_stopped_early(&self, id: ServiceId) -> bool {
        let StopPolicy { signal, has_command, .. } = self.services[id.0].stop;
        !has_command && signal.unwrap_or(Signal::TERM).terminates_by_default()
    }

    fn push_stop_signal(&self, id: ServiceId, actions: &mut Vec<Action>) {
        let StopPolicy { signal, target, .. } = self.services[id.0].stop;
        let signal = signal.unwrap_or(Signal::TERM);
        actions.push(Action::Announce(Announcement::Stopping(id, signal)));
        actions.push(Action::Signal(id, signal, target));
        // A stopped process does not act on its stop signal until it is continued, signal(7).
        actions.push(Action::Signal(id, Signal::CONT, target));
    }

    pub(super) fn stop_command_failed(&mut self, id: ServiceId, actions: &mut Vec<Action>) {
        if matches!(self.state(id), State::Stopping { .. }) {
            self.push_stop_signal(id, actions);
        }
    }
}
