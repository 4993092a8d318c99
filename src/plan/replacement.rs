//! Replaces the plan that runs by a new one. Services keep their ids in the core and the reactor. A
//! change of a running service applies when its process has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bundle::Service;
use crate::supervisor::{Changes, Policy, ServiceId, ServicePolicy, SignalRoute};

use super::{LookedUp, Plan};

/// Everything that a plan has for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    service: Service,
    looked_up: Arc<LookedUp>,
}

impl Plan {
    /// Applies a new plan of the same kind. `is_alive` tells which services have a process, and
    /// `is_gone` which retired ones are finished, so that a new service can reuse their id.
    pub fn reload(
        &mut self,
        new: Plan,
        is_alive: impl Fn(ServiceId) -> bool,
        is_gone: impl Fn(ServiceId) -> bool,
    ) -> Changes {
        let mut changes = Changes::default();
        let ids = self.ids_for(&new, &is_gone, &mut changes);
        let mut policies = self.policy.services.clone();
        policies.resize_with(self.bundle.services.len(), ServicePolicy::default);
        let kept: BTreeSet<ServiceId> = ids.iter().copied().collect();
        for (id, policy) in policies.iter_mut().enumerate() {
            if !kept.contains(&ServiceId(id)) && !policy.is_retired {
                policy.is_retired = true;
                policy.requires.clear();
                changes.stopped.push(ServiceId(id));
            }
        }
        let started: BTreeSet<ServiceId> = changes.started.iter().copied().collect();
        for (index, id) in ids.iter().enumerate() {
            policies[id.0] = renumbered(new.policy.services[index].clone(), &ids);
            if !self.is_same(*id, &new, ServiceId(index)) {
                if !started.contains(id) {
                    changes.restarted.push(*id);
                }
                self.replacements.insert(*id, new.definition(ServiceId(index)));
                if !is_alive(*id) {
                    self.replace(*id);
                }
            }
        }
        self.bundle.name = new.bundle.name;
        self.bundle.grace = new.bundle.grace;
        self.bundle.on_event = new.bundle.on_event;
        self.bundle.signals = new.bundle.signals;
        let mut policy = Arc::unwrap_or_clone(new.policy);
        for route in policy.signals.values_mut() {
            if let SignalRoute::Forward(to, ..) | SignalRoute::Restart(to) = route {
                to.iter_mut().for_each(|id| *id = ids[id.0]);
            }
        }
        self.policy = Arc::new(Policy { services: policies, ..policy });
        changes
    }

    /// The process of the service has ended: its new definition applies.
    pub fn replace(&mut self, id: ServiceId) {
        if let Some(Definition { service, looked_up }) = self.replacements.remove(&id) {
            self.bundle.services[id.0] = service;
            self.looked_up[id.0] = looked_up;
        }
    }

    /// The current definition of the service, or the one that waits for its process to end.
    pub fn newest_service(&self, id: ServiceId) -> &Service {
        let replacement = self.replacements.get(&id).map(|replacement| &replacement.service);
        replacement.unwrap_or(&self.bundle.services[id.0])
    }

    /// For each service of the new plan its existing or new id.
    fn ids_for(
        &mut self,
        new: &Plan,
        is_gone: &impl Fn(ServiceId) -> bool,
        changes: &mut Changes,
    ) -> Vec<ServiceId> {
        let mut known: BTreeMap<String, ServiceId> = BTreeMap::new();
        for (index, service) in self.bundle.services.iter().enumerate().rev() {
            known.insert(service.name.clone(), ServiceId(index));
        }
        let is_back = |service: &Service| known.get(&service.name).copied();
        let taken: BTreeSet<ServiceId> = new.bundle.services.iter().filter_map(is_back).collect();
        let mut free: Vec<ServiceId> = (0..self.bundle.services.len())
            .map(ServiceId)
            .filter(|id| self.policy.services[id.0].is_retired && is_gone(*id))
            .filter(|id| !taken.contains(id))
            .collect();
        let mut ids = Vec::new();
        for (index, service) in new.bundle.services.iter().enumerate() {
            let id = match is_back(service) {
                Some(id) => {
                    if self.policy.services[id.0].is_retired {
                        changes.started.push(id);
                    }
                    id
                }
                None => {
                    let id = self.place_for(free.pop(), new.definition(ServiceId(index)));
                    changes.started.push(id);
                    id
                }
            };
            ids.push(id);
        }
        ids
    }

    fn place_for(&mut self, free: Option<ServiceId>, definition: Definition) -> ServiceId {
        let id = free.unwrap_or_else(|| {
            self.bundle.services.push(Service::default());
            self.looked_up.push(Arc::default());
            ServiceId(self.bundle.services.len() - 1)
        });
        self.replacements.insert(id, definition);
        self.replace(id);
        id
    }

    fn definition(&self, id: ServiceId) -> Definition {
        Definition {
            service: self.bundle.services[id.0].clone(),
            looked_up: Arc::clone(&self.looked_up[id.0]),
        }
    }

    /// Whether the newest definition of the service equals that in a new plan.
    fn is_same(&self, id: ServiceId, new: &Plan, new_id: ServiceId) -> bool {
        let (service, looked_up) = match self.replacements.get(&id) {
            Some(Definition { service, looked_up }) => (service, looked_up),
            None => (&self.bundle.services[id.0], &self.looked_up[id.0]),
        };
        *service == new.bundle.services[new_id.0] && *looked_up == new.looked_up[new_id.0]
    }
}

/// The policy with the ids of this plan.
fn renumbered(mut policy: ServicePolicy, ids: &[ServiceId]) -> ServicePolicy {
    let lists = policy.after.iter_mut().chain(&mut policy.requires);
    lists.chain(&mut policy.leader).for_each(|id| *id = ids[id.0]);
    policy
}
