//! How many services are where in their lives, so that they need not be gone through for each
//! event: with a thousand services that would be a million looks for a start.

use super::lifecycle::State;

#[derive(Debug, Default)]
pub(super) struct Census {
    /// Those that have a process, or are about to.
    pub(super) alive: usize,
    /// Those whose turn to start has not come.
    pub(super) waiting: usize,
    /// Those that are just being started.
    pub(super) spawning: usize,
    /// Those whose state ends by itself.
    pub(super) timed: usize,
}

impl Census {
    pub(super) fn of(states: impl Iterator<Item = State>) -> Census {
        let mut census = Census::default();
        states.for_each(|state| census.enter(state));
        census
    }

    pub(super) fn enter(&mut self, state: State) {
        self.change(state, |count, is_so| *count += usize::from(is_so));
    }

    pub(super) fn leave(&mut self, state: State) {
        self.change(state, |count, is_so| *count -= usize::from(is_so));
    }

    fn change(&mut self, state: State, by: impl Fn(&mut usize, bool)) {
        by(&mut self.alive, state.is_alive());
        by(&mut self.waiting, state == State::Waiting);
        by(&mut self.spawning, matches!(state, State::Spawning { .. }));
        by(&mut self.timed, state.until().is_some());
    }
}
