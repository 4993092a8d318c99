//! The dependency graph of the services, computed once.
//!
//! The instances of a service are a group, and the edges of the graph connect groups: it is as large as
//! the file. Edges between all pairs of services would use too much memory.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::event::ServiceId;
use super::lists::Lists;
use super::policy::{Policy, ServicePolicy};

/// The order of a bundle. A group is the instances of a service, or a single service.
#[derive(Debug)]
pub(super) struct Order {
    /// The services of each group, in the file's order.
    pub(super) members: Lists<ServiceId>,
    /// The groups that must be ready before it starts.
    pub(super) after: Lists<After>,
    /// The groups that must end before it is stopped, including all that start after it.
    pub(super) dependents: Lists<usize>,
    /// The groups that require it.
    pub(super) requirers: Lists<usize>,
    /// The group of each service.
    group_of: Vec<usize>,
    /// All groups in start order: after their dependencies, otherwise in the order of the file. Groups
    /// that are no longer in the file are last, so that they stop first.
    pub(super) start: Vec<usize>,
    /// The place of each group there.
    pub(super) place: Vec<usize>,
    /// The shutdown stage of each service.
    pub(super) stage: Vec<usize>,
}

/// A dependency of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct After {
    pub(super) group: usize,
    pub(super) is_required: bool,
}

impl Order {
    /// Services in a cycle are last, and never start; the parser refuses cycles.
    pub(super) fn new(policy: &Policy) -> Order {
        let (members, group_of) = groups(policy);
        let count = members.len();
        let after: Vec<Vec<After>> =
            (0..count).map(|group| after(policy, &members[group], &group_of)).collect();
        let (mut dependents, mut requirers) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for (index, after) in after.iter().enumerate() {
            for After { group, is_required } in after {
                dependents[*group].push(index);
                if *is_required {
                    requirers[*group].push(index);
                }
            }
        }
        let start = sorted(policy, &members, &after, &dependents);
        if policy.in_file_order {
            // Except a main command, which starts after all of them.
            for pair in start.windows(2) {
                if !dependents[pair[0]].contains(&pair[1]) {
                    dependents[pair[0]].push(pair[1]);
                }
            }
        }
        let mut stages = vec![0; count];
        for index in start.iter().rev() {
            let later = dependents[*index].iter().map(|other| stages[*other] + 1).max();
            stages[*index] = later.unwrap_or(0);
        }
        let mut place = vec![0; count];
        start.iter().enumerate().for_each(|(position, group)| place[*group] = position);
        let stage = group_of.iter().map(|group| stages[*group]).collect();
        let [dependents, requirers] = [dependents, requirers].map(Lists::from);
        Order { members, after: after.into(), dependents, requirers, group_of, start, place, stage }
    }

    /// The group of the service.
    pub(super) fn group(&self, id: ServiceId) -> Option<usize> {
        self.group_of.get(id.0).copied()
    }

    /// The services that this group requires.
    pub(super) fn required_by(&self, group: usize) -> impl Iterator<Item = ServiceId> {
        let required = self.after[group].iter().filter(|other| other.is_required);
        required.flat_map(|other| self.members[other.group].iter().copied())
    }
}

/// The groups, and the group of each service. A service that is no longer in the file is alone, and so
/// is every service if the order of the file applies, in which instances also have places.
fn groups(policy: &Policy) -> (Lists<ServiceId>, Vec<usize>) {
    let services = &policy.services;
    let is_alone = |service: &ServicePolicy| {
        let leader = service.leader.and_then(|leader| services.get(leader.0));
        policy.in_file_order || service.is_retired || leader.is_none_or(|one| one.is_retired)
    };
    let mut groups = Vec::<Vec<ServiceId>>::new();
    let mut group_of = vec![usize::MAX; services.len()];
    let mut join = |id: usize, leader: usize, group_of: &mut Vec<usize>| {
        if group_of[leader] == usize::MAX {
            group_of[leader] = groups.len();
            groups.push(Vec::new());
        }
        group_of[id] = group_of[leader];
        groups[group_of[id]].push(ServiceId(id));
    };
    for (id, service) in services.iter().enumerate() {
        match service.leader.filter(|_| !is_alone(service)) {
            Some(leader) => join(id, leader.0, &mut group_of),
            None => join(id, id, &mut group_of),
        }
    }
    for members in &mut groups {
        members.sort_by_key(|id| (services[id.0].place, *id));
    }
    (groups.into(), group_of)
}

/// The dependencies of this group, without duplicates.
fn after(policy: &Policy, members: &[ServiceId], group_of: &[usize]) -> Vec<After> {
    let services = &policy.services;
    let Some(member) = members.first().map(|id| &services[id.0]) else { return Vec::new() };
    let leader = member.leader.and_then(|leader| services.get(leader.0)).unwrap_or(member);
    // A service that is no longer in the file is only stopped, in its old order.
    let requires = if member.is_retired { &[][..] } else { &leader.requires[..] };
    let of = |id: &ServiceId| group_of.get(id.0).copied();
    let required: BTreeSet<usize> = requires.iter().filter_map(of).collect();
    let mut seen = BTreeSet::new();
    let named = leader.after.iter().filter_map(of).filter(|group| seen.insert(*group));
    named.map(|group| After { group, is_required: required.contains(&group) }).collect()
}

/// Kahn's topological sort; among available groups, the first of the file.
fn sorted(
    policy: &Policy,
    members: &Lists<ServiceId>,
    after: &[Vec<After>],
    dependents: &[Vec<usize>],
) -> Vec<usize> {
    let mut waits_for: Vec<usize> = after.iter().map(Vec::len).collect();
    let rank = |index: usize| {
        let first = members[index].first().map_or(0, |id| id.0);
        let service = &policy.services[first];
        Reverse((service.is_retired, service.place, first, index))
    };
    let mut open: BinaryHeap<Reverse<(bool, usize, usize, usize)>> =
        (0..members.len()).filter(|index| waits_for[*index] == 0).map(rank).collect();
    let mut sorted = Vec::with_capacity(members.len());
    while let Some(Reverse((_, _, _, index))) = open.pop() {
        sorted.push(index);
        for dependent in &dependents[index] {
            waits_for[*dependent] -= 1;
            if waits_for[*dependent] == 0 {
                open.push(rank(*dependent));
            }
        }
    }
    sorted.extend((0..members.len()).filter(|index| waits_for[*index] > 0));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Templates: the number of instances, and the earlier templates that each starts after.
    fn policy(templates: &[(usize, Vec<usize>)]) -> Policy {
        let mut policy = Policy::default();
        let mut leaders = Vec::new();
        for (instances, after) in templates {
            let leader = ServiceId(policy.services.len());
            let after: Vec<ServiceId> = after.iter().map(|earlier| leaders[*earlier]).collect();
            for number in 0..*instances {
                let named =
                    ServicePolicy { after: after.clone(), requires: after.clone(), ..one() };
                let place = policy.services.len();
                policy.services.push(match number {
                    0 => ServicePolicy { place, ..named },
                    _ => ServicePolicy { leader: Some(leader), place, ..one() },
                });
            }
            leaders.push(leader);
        }
        policy
    }

    fn one() -> ServicePolicy {
        ServicePolicy::default()
    }

    /// The same with an edge for each pair.
    fn in_pairs(policy: &Policy) -> Policy {
        let all = |names: &[ServiceId]| -> Vec<ServiceId> {
            let named = |id: usize| {
                let service = &policy.services[id];
                names.contains(&service.leader.unwrap_or(ServiceId(id)))
            };
            (0..policy.services.len()).filter(|id| named(*id)).map(ServiceId).collect()
        };
        let mut pairs = policy.clone();
        for (index, service) in pairs.services.iter_mut().enumerate() {
            let leading = policy.leading(ServiceId(index));
            service.after = all(&leading.after);
            service.requires = all(&leading.requires);
            service.leader = None;
        }
        pairs
    }

    fn flat(order: &Order) -> Vec<ServiceId> {
        order.start.iter().flat_map(|group| order.members[*group].iter().copied()).collect()
    }

    prop_compose! {
        fn templates()(
            drawn in proptest::collection::vec((1..4usize, any::<u64>()), 1..8),
        ) -> Vec<(usize, Vec<usize>)> {
            let after = |(index, (instances, bits)): (usize, &(usize, u64))| {
                (*instances, (0..index).filter(|earlier| bits >> earlier & 3 == 3).collect())
            };
            drawn.iter().enumerate().map(after).collect()
        }
    }

    proptest! {
        #[test]
        fn groups_have_the_order_of_all_their_pairs(templates in templates()) {
            let policy = policy(&templates);
            let (groups, pairs) = (Order::new(&policy), Order::new(&in_pairs(&policy)));
            prop_assert_eq!(flat(&groups), flat(&pairs));
            prop_assert_eq!(&groups.stage, &pairs.stage);
            for (index, group) in groups.group_of.iter().enumerate() {
                let id = ServiceId(index);
                let required = |order: &Order| {
                    let mut all: Vec<ServiceId> =
                        order.required_by(order.group(id).unwrap()).collect();
                    all.sort_unstable();
                    all
                };
                prop_assert_eq!(required(&groups), required(&pairs));
                prop_assert!(groups.members[*group].contains(&id));
            }
        }
    }

    #[test]
    fn the_graph_is_as_large_as_the_file() {
        let templates: Vec<(usize, Vec<usize>)> =
            (0..5).map(|number| (1000, (0..number).collect())).collect();
        let order = Order::new(&policy(&templates));
        assert_eq!(order.start.len(), 5);
        let edges: usize = (0..5).map(|group| order.after[group].len()).sum();
        assert_eq!(edges, 1 + 2 + 3 + 4);
        assert_eq!(flat(&order).len(), 5000);
    }

    #[test]
    fn in_the_files_order_instances_stop_one_by_one() {
        let mut policy = policy(&[(2, vec![]), (1, vec![])]);
        policy.in_file_order = true;
        assert_eq!(Order::new(&policy).stage, [2, 1, 0]);
    }

    #[test]
    fn one_that_is_no_longer_in_the_file_stands_for_nobody() {
        let mut policy = policy(&[(3, vec![]), (1, vec![0])]);
        policy.services[2].is_retired = true;
        let order = Order::new(&policy);
        let required: Vec<ServiceId> =
            order.required_by(order.group(ServiceId(3)).unwrap()).collect();
        assert_eq!(required, [ServiceId(0), ServiceId(1)]);
        assert_eq!(flat(&order).last(), Some(&ServiceId(2)), "it stops first");
    }
}
