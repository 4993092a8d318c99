//! How many services are in each state, and their deadlines, so that no event examines all services:
//! with a thousand of them a start would take a million steps.

use std::collections::BTreeSet;
use std::time::Instant;

use super::event::ServiceId;
use super::state::State;

#[derive(Debug, Default)]
pub(super) struct Census {
    /// Services with a process, or about to have one.
    pub(super) alive: usize,
    /// Services that wait for their start.
    pub(super) waiting: usize,
    /// Services between fork and exec.
    pub(super) spawning: usize,
    /// Services whose state has a deadline, by deadline.
    due: BTreeSet<(Instant, ServiceId)>,
}

impl Census {
    pub(super) fn of(states: impl Iterator<Item = State>) -> Census {
        let mut census = Census::default();
        states.zip(0..).for_each(|(state, index)| census.enter(ServiceId(index), state));
        census
    }

    pub(super) fn enter(&mut self, id: ServiceId, state: State) {
        self.change(state, |count, is_so| *count += usize::from(is_so));
        self.due.extend(state.until().map(|until| (until, id)));
    }

    pub(super) fn leave(&mut self, id: ServiceId, state: State) {
        self.change(state, |count, is_so| *count -= usize::from(is_so));
        if let Some(until) = state.until() {
            self.due.remove(&(until, id));
        }
    }

    /// The next deadline of a state.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Services whose deadline is over, in the order of their ids.
    pub(super) fn due(&self, now: Instant) -> Vec<ServiceId> {
        let due = self.due.iter().take_while(|(until, _)| *until <= now);
        let mut due: Vec<ServiceId> = due.map(|(_, id)| *id).collect();
        due.sort_unstable();
        due
    }

    fn change(&mut self, state: State, by: impl Fn(&mut usize, bool)) {
        by(&mut self.alive, state.is_alive());
        by(&mut self.waiting, state == State::Waiting);
        by(&mut self.spawning, matches!(state, State::Spawning { .. }));
    }
}
