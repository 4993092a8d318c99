//! What the core knows about the bundle: no names and programs, only what it decides by.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use super::event::{ServiceId, Target};
use crate::bundle::{OnExit, RestartPolicy, ServiceType, WhenRequiredExits};
use crate::signal::Signal;

/// The core's view of a bundle.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The services in the file's order.
    pub services: Vec<ServicePolicy>,
    /// No service has `after` or `requires`: they stop one after the other, in reverse order of the
    /// file.
    pub in_file_order: bool,
    /// The seed for random restart delays.
    pub seed: u64,
    /// How long the whole shutdown may take.
    pub grace: Duration,
    /// The routes of signals; `otherwise` applies to all others.
    pub signals: BTreeMap<Signal, SignalRoute>,
    /// What becomes of a signal without a route.
    pub otherwise: Otherwise,
    /// Whether the exit code is always that of service 0, even after a stop: as an init for one command
    /// must.
    pub code_of_first: bool,
}

impl Policy {
    /// The service that holds the dependencies for this one: itself, or the first of its instances.
    pub fn leading(&self, id: ServiceId) -> &ServicePolicy {
        let service = &self.services[id.0];
        service.leader.and_then(|leader| self.services.get(leader.0)).unwrap_or(service)
    }
}

/// The core's view of a service. Its rules are also its fields: `policy.grace = None`.
#[derive(Clone, Debug, Default)]
pub struct ServicePolicy {
    /// What is equal for many services, and stored once.
    pub rules: Arc<Rules>,
    /// The first instance of its group, if it is another one. The first one holds the dependencies of
    /// all instances.
    pub leader: Option<ServiceId>,
    /// Services that must be ready before it starts.
    pub after: Vec<ServiceId>,
    /// Those of them that it requires.
    pub requires: Vec<ServiceId>,
    /// Its place in the order of the file; among equals the lower id comes first.
    pub place: usize,
    /// Whether it is no longer in the file: it is stopped, and not started again.
    pub is_retired: bool,
}

/// How a service is started, stopped and restarted, and what its end means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The signal that stops it; `None`: the signal that began the shutdown, or TERM.
    pub stop_signal: Option<Signal>,
    /// The target of the stop signal.
    pub stop_target: Target,
    /// Its grace period, within the bundle's.
    pub grace: Option<Duration>,
    /// What an unrequested exit does to the bundle.
    pub on_exit: OnExit,
    /// The codes that count as success.
    pub success_codes: Vec<u8>,
    /// Daemon or oneshot.
    pub kind: ServiceType,
    /// What happens to it when a required service ends.
    pub when_required_exits: WhenRequiredExits,
    /// Whether a check decides that it is ready.
    pub has_readiness: bool,
    /// How long it may take to become ready; a oneshot, to end.
    pub start_timeout: Option<Duration>,
    /// Whether and when it is restarted.
    pub restart: RestartPolicy,
    /// How long it keeps running, no longer ready, before it is stopped.
    pub drain: Duration,
    /// Whether a command stops it, in place of the stop signal.
    pub has_stop_command: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            stop_signal: Some(Signal::TERM),
            stop_target: Target::Process,
            grace: None,
            on_exit: OnExit::Shutdown,
            success_codes: vec![0],
            kind: ServiceType::Daemon,
            when_required_exits: WhenRequiredExits::Keep,
            has_readiness: false,
            start_timeout: None,
            restart: RestartPolicy::default(),
            drain: Duration::ZERO,
            has_stop_command: false,
        }
    }
}

impl Deref for ServicePolicy {
    type Target = Rules;

    fn deref(&self) -> &Rules {
        &self.rules
    }
}

/// Other services with the same rules keep theirs.
impl DerefMut for ServicePolicy {
    fn deref_mut(&mut self) -> &mut Rules {
        Arc::make_mut(&mut self.rules)
    }
}

/// The policy of a service without dependencies.
impl From<Rules> for ServicePolicy {
    fn from(rules: Rules) -> ServicePolicy {
        ServicePolicy { rules: rules.into(), ..ServicePolicy::default() }
    }
}

impl Rules {
    /// The exit code of the bundle for this service's `code`.
    pub fn bundle_code(&self, code: u8) -> u8 {
        if self.success_codes.contains(&code) { 0 } else { code }
    }
}

/// What the init does with a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalRoute {
    /// Forwards it to these services as this signal.
    Forward(Vec<ServiceId>, Signal, Target),
    /// Restarts these services.
    Restart(Vec<ServiceId>),
    /// Reloads the bundle.
    Reload,
    /// Begins the shutdown; services without a stop signal get this one.
    Shutdown(Signal),
    /// Drops it, and does not announce it.
    Drop,
}

/// What the init does with a signal without a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// Drops and announces it.
    #[default]
    DropAndAnnounce,
    /// Forwards it unchanged.
    Forward(ServiceId, Target),
}
