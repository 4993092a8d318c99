//! Who comes before whom: the graph of the services, worked out once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::event::ServiceId;
use super::policy::Policy;

/// The order of a bundle.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// All services, each behind those that it comes after; the file's order otherwise, with those
    /// that are no longer in the file behind the others, so that they stop first.
    pub(super) start: Vec<ServiceId>,
    /// For each service, those that have to end before it is asked to.
    pub(super) dependents: Vec<Vec<ServiceId>>,
    /// For each service, how many stages of the shutdown come before its own.
    pub(super) stage: Vec<usize>,
}

impl Order {
    /// Services in a cycle come last, and never start; the file's reader refuses cycles.
    pub(super) fn new(policy: &Policy) -> Order {
        let count = policy.services.len();
        let mut dependents = vec![Vec::new(); count];
        for (index, service) in policy.services.iter().enumerate() {
            for before in &service.after {
                if let Some(list) = dependents.get_mut(before.0) {
                    list.push(ServiceId(index));
                }
            }
        }
        let start = sorted(policy, &dependents);
        if policy.in_file_order {
            dependents = vec![Vec::new(); count];
            for pair in start.windows(2) {
                dependents[pair[0].0] = vec![pair[1]];
            }
        }
        let mut stage = vec![0; count];
        for id in start.iter().rev() {
            let later = dependents[id.0].iter().map(|dependent| stage[dependent.0] + 1).max();
            stage[id.0] = later.unwrap_or(0);
        }
        Order { start, dependents, stage }
    }
}

/// Kahn's topological sort; among those whose turn has come, the first of the file.
fn sorted(policy: &Policy, dependents: &[Vec<ServiceId>]) -> Vec<ServiceId> {
    let count = dependents.len();
    let is_known = |id: &&ServiceId| id.0 < count;
    let mut waits_for: Vec<usize> = policy
        .services
        .iter()
        .map(|service| service.after.iter().filter(is_known).count())
        .collect();
    let rank = |index: usize| {
        let service = &policy.services[index];
        Reverse((service.is_retired, service.place, index))
    };
    let mut open: BinaryHeap<Reverse<(bool, usize, usize)>> =
        (0..count).filter(|index| waits_for[*index] == 0).map(rank).collect();
    let mut sorted = Vec::with_capacity(count);
    while let Some(Reverse((_, _, index))) = open.pop() {
        sorted.push(ServiceId(index));
        for dependent in &dependents[index] {
            waits_for[dependent.0] -= 1;
            if waits_for[dependent.0] == 0 {
                open.push(rank(dependent.0));
            }
        }
    }
    let rest = (0..count).filter(|index| waits_for[*index] > 0).map(ServiceId);
    sorted.extend(rest);
    sorted
}
