//! A new plan in place of the one that runs. Services keep their ids, by which the core and the
//! reactor know them; what has changed about one that runs waits until its process has ended.

use std::sync::Arc;

use crate::bundle::environment::Variables;
use crate::bundle::{Identity, Place, Service};
use crate::identity::Resolved;
use crate::supervisor::{Changes, Policy, ServiceId, ServicePolicy, SignalRoute};

use super::Plan;

/// All that a plan knows of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    service: Service,
    identity: Option<Resolved>,
    environment_files: Variables,
}

impl Plan {
    /// Takes over a new plan of the same kind. `is_alive` says which services have a process,
    /// `is_gone` of which none will be missed, so that a new service may have the id of a
    /// retired one.
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
        for (id, policy) in policies.iter_mut().enumerate() {
            if !ids.contains(&ServiceId(id)) && !policy.is_retired {
                policy.is_retired = true;
                policy.requires.clear();
                changes.stopped.push(ServiceId(id));
            }
        }
        for (index, id) in ids.iter().enumerate() {
            policies[id.0] = renumbered(new.policy.services[index].clone(), &ids);
            let definition = new.definition(ServiceId(index));
            if self.newest_definition(*id) != definition {
                if !changes.started.contains(id) {
                    changes.restarted.push(*id);
                }
                self.replacements.insert(*id, definition);
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

    /// The process of the service has ended: what waited for that takes its place.
    pub fn replace(&mut self, id: ServiceId) {
        if let Some(Definition { service, identity, environment_files }) =
            self.replacements.remove(&id)
        {
            self.bundle.services[id.0] = service;
            self.identities[id.0] = identity;
            self.environment_files[id.0] = environment_files;
        }
    }

    /// What the service is, or will be when its process has ended.
    pub fn newest_service(&self, id: ServiceId) -> &Service {
        let replacement = self.replacements.get(&id).map(|replacement| &replacement.service);
        replacement.unwrap_or(&self.bundle.services[id.0])
    }

    /// For each service of the new plan the id that it has, or gets, here.
    fn ids_for(
        &mut self,
        new: &Plan,
        is_gone: &impl Fn(ServiceId) -> bool,
        changes: &mut Changes,
    ) -> Vec<ServiceId> {
        let mut free: Vec<ServiceId> = (0..self.bundle.services.len())
            .map(ServiceId)
            .filter(|id| self.policy.services[id.0].is_retired && is_gone(*id))
            .collect();
        let mut ids = Vec::new();
        for (index, service) in new.bundle.services.iter().enumerate() {
            let known = self.bundle.services.iter().position(|known| known.name == service.name);
            let id = match known.map(ServiceId) {
                Some(id) => {
                    free.retain(|free| *free != id);
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
        let Definition { service, identity, environment_files } = definition.clone();
        match free {
            Some(id) => {
                self.replacements.insert(id, definition);
                self.replace(id);
                id
            }
            None => {
                self.bundle.services.push(service);
                self.identities.push(identity);
                self.environment_files.push(environment_files);
                ServiceId(self.bundle.services.len() - 1)
            }
        }
    }

    fn definition(&self, id: ServiceId) -> Definition {
        Definition {
            service: without_places(self.bundle.services[id.0].clone()),
            identity: self.identities[id.0].clone(),
            environment_files: self.environment_files[id.0].clone(),
        }
    }

    fn newest_definition(&self, id: ServiceId) -> Definition {
        self.replacements.get(&id).cloned().unwrap_or_else(|| self.definition(id))
    }
}

/// A service that only stands on another line has not changed.
fn without_places(mut service: Service) -> Service {
    let Identity { user, group, supplementary_groups } = &mut service.identity;
    let others = supplementary_groups.iter_mut().flatten();
    let accounts = user.iter_mut().chain(group).chain(others).map(|(_, place)| place);
    let files = service.environment.files.iter_mut().map(|(_, place)| place);
    accounts.chain(files).for_each(|place| *place = Place::default());
    service
}

/// The policy with the ids that its services have here.
fn renumbered(mut policy: ServicePolicy, ids: &[ServiceId]) -> ServicePolicy {
    for list in [&mut policy.after, &mut policy.requires] {
        list.iter_mut().for_each(|id| *id = ids[id.0]);
    }
    policy
}
