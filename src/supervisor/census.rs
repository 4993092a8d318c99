//! How many services are in each state, and their deadlines, so that no event goes through all
//! services: with a thousand of them that would be a million looks for a start.

use std::collections::BTreeSet;
use std::time::Instant;

use super::event::ServiceId;
use super::state::State;

#[derive(Debug, Default)]
pub(super) struct Census {
    /// Those that have a process, or are about to.
    pub(super) alive: usize,
    /// Those whose turn to start has not come.
    pub(super) waiting: usize,
    /// Those that are just being started.
    pub(super) spawning: usize,
    /// Those whose state ends by itself, by the time when it does.
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

    /// When the first state ends by itself.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Those whose state has ended by now, in the order of their ids.
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
