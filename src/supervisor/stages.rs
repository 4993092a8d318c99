//! What is left of each stage of a shutdown, so that a death examines no other service: with a thousand
//! of them, each of a thousand deaths would.

use std::collections::BTreeSet;

use super::event::ServiceId;
use super::state::State;

#[derive(Debug, Default)]
pub(super) struct Stages {
    /// How many services of each stage have a process.
    alive: Vec<usize>,
    /// How many services of each stage have not got their stop signal.
    unasked: Vec<usize>,
    /// The stages with such services.
    left: BTreeSet<usize>,
    /// The services that have got it and have not ended.
    asked: BTreeSet<ServiceId>,
    /// All groups from this place of the start order on have ended.
    pub(super) end: usize,
}

impl Stages {
    /// Of services with these stages and states, in the order of their ids.
    pub(super) fn of(services: impl ExactSizeIterator<Item = (usize, State)>) -> Stages {
        // There are no more stages than services.
        let none = vec![0; services.len()];
        let mut stages =
            Stages { alive: none.clone(), unasked: none, end: usize::MAX, ..Stages::default() };
        services
            .zip(0..)
            .for_each(|((stage, state), id)| stages.enter(ServiceId(id), stage, state));
        stages
    }

    /// The service of this stage has this state now.
    pub(super) fn enter(&mut self, id: ServiceId, stage: usize, state: State) {
        self.alive[stage] += usize::from(state.is_alive());
        if state.is_unasked() {
            self.unasked[stage] += 1;
            self.left.insert(stage);
        }
        if matches!(state, State::Stopping { .. }) {
            self.asked.insert(id);
        }
    }

    /// It has this state no longer.
    pub(super) fn leave(&mut self, id: ServiceId, stage: usize, state: State) {
        self.alive[stage] -= usize::from(state.is_alive());
        if state.is_unasked() {
            self.unasked[stage] -= 1;
            if self.unasked[stage] == 0 {
                self.left.remove(&stage);
            }
        }
        self.asked.remove(&id);
    }

    pub(super) fn is_alive(&self, stage: usize) -> bool {
        self.alive.get(stage).is_some_and(|alive| *alive > 0)
    }

    /// The first stage with services that are not stopped yet, and how many such stages there are.
    pub(super) fn left(&self) -> Option<(usize, u32)> {
        let count = u32::try_from(self.left.len()).unwrap_or(u32::MAX - 1);
        self.left.first().map(|first| (*first, count))
    }

    /// The services that have got their stop signal and have not ended.
    pub(super) fn asked(&self) -> Vec<ServiceId> {
        self.asked.iter().copied().collect()
    }
}
