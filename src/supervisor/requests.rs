//! What an operator wants of one service. Nothing of it is forgotten: what is asked for later comes
//! on top of what was asked for before, and the last word says where it ends.

use super::Supervisor;
use super::event::ServiceId;
use super::state::{End, Ending, Phase, State};

impl Supervisor {
    pub(super) fn start_requested(&mut self, id: ServiceId) {
        if self.phase != Phase::Up {
            return;
        }
        let mut wanted = vec![id];
        while let Some(id) = wanted.pop() {
            let is_there = self.policy.services.get(id.0).is_some_and(|policy| !policy.is_retired);
            let Some(group) = self.order.group(id).filter(|_| is_there) else { continue };
            // What it requires has to be there, and comes before it, so this ends.
            let is_down = |id: &ServiceId| match self.state(*id) {
                State::Gone(end) => matches!(end, End::Stopped | End::Failed),
                // It is down soon.
                _ => matches!(self.services[id.0].ending, Some(Ending::Stop | Ending::Requirement)),
            };
            wanted.extend(self.order.required_by(group).filter(is_down));
            self.start_one(id);
        }
    }

    fn start_one(&mut self, id: ServiceId) {
        let service = &mut self.services[id.0];
        service.history.forgive();
        match service.state {
            State::Gone(_) | State::Backoff { .. } => {
                service.attempt.is_on_request = true;
                self.set(id, State::Waiting);
            }
            // It ends first, as somebody else wanted.
            state if state.is_alive() && service.ending.is_some() => {
                service.attempt.is_on_request = true;
                service.ending = Some(Ending::Restart);
            }
            _ => {}
        }
    }

    pub(super) fn stop_requested(&mut self, id: ServiceId, ending: Ending) {
        if self.phase != Phase::Up {
            return;
        }
        self.services[id.0].attempt.is_on_request = true;
        match self.state(id) {
            State::Waiting | State::Backoff { .. } => self.set(id, State::Gone(End::Stopped)),
            // Those that come after a oneshot go on counting on what it has done.
            State::Gone(End::Done) if self.is_oneshot(id) => {}
            State::Gone(_) => self.set(id, State::Gone(End::Stopped)),
            _ => {
                let is_new = self.services[id.0].ending.is_none();
                self.services[id.0].ending = Some(ending);
                if is_new {
                    self.stop_requirers(id);
                }
            }
        }
    }

    pub(super) fn restart_requested(&mut self, id: ServiceId) {
        match self.state(id) {
            State::Running { .. } | State::Spawning { .. }
                if !self.policy.services[id.0].is_retired =>
            {
                self.stop_requested(id, Ending::Restart);
            }
            _ => self.start_requested(id),
        }
    }
}
