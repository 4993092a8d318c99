//! What the core is told about the bundle: no names, no programs, only what it decides by.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{ServiceId, Target};
use crate::bundle::{OnExit, RestartPolicy, ServiceType, WhenRequiredExits};
use crate::signal::Signal;

/// All that the core knows of a bundle.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The services in the file's order.
    pub services: Vec<ServicePolicy>,
    /// No service names others: they stop one after the other, in the reverse of the file's
    /// order.
    pub in_file_order: bool,
    /// Where the random delays of restarts begin.
    pub seed: u64,
    /// How long the whole shutdown may take.
    pub grace: Duration,
    /// What becomes of a signal; what isn't here falls to `otherwise`.
    pub signals: BTreeMap<Signal, SignalRoute>,
    /// What becomes of a signal without a route.
    pub otherwise: Otherwise,
    /// Whether the exit code is always that of service 0, even when its end was asked for:
    /// the promise of an init for one command.
    pub code_of_first: bool,
}

impl Policy {
    /// What names others on behalf of this service: it, or the first of its instances.
    pub fn leading(&self, id: ServiceId) -> &ServicePolicy {
        let service = &self.services[id.0];
        service.leader.and_then(|leader| self.services.get(leader.0)).unwrap_or(service)
    }
}

/// All that the core knows of a service.
#[derive(Clone, Debug)]
pub struct ServicePolicy {
    /// What asks it to end; `None`: whatever signal asked the bundle to, TERM if none did.
    pub stop_signal: Option<Signal>,
    /// Who gets the stop signal.
    pub stop_target: Target,
    /// How long it may take to end, within the bundle's grace.
    pub grace: Option<Duration>,
    /// What its unasked exit means.
    pub on_exit: OnExit,
    /// The codes that count as success.
    pub success_codes: Vec<u8>,
    /// Whether it keeps running, or has something to do once.
    pub kind: ServiceType,
    /// The first instance of its group, if it is another one. Dependencies are kept with the first, and
    /// hold for all instances.
    pub leader: Option<ServiceId>,
    /// Those that have to be ready before it starts.
    pub after: Vec<ServiceId>,
    /// Those among them without which it does not run.
    pub requires: Vec<ServiceId>,
    /// What it does when one that it requires has ended.
    pub when_required_exits: WhenRequiredExits,
    /// Whether it is ready only when a check says so.
    pub has_readiness: bool,
    /// How long it may take to become ready; a oneshot, to end.
    pub start_timeout: Option<Duration>,
    /// Whether and when it starts again after its end.
    pub restart: RestartPolicy,
    /// How long it is left alone after it was marked as not ready, before it is asked to end.
    pub drain: Duration,
    /// Whether a command asks it to end, in place of the stop signal.
    pub has_stop_command: bool,
    /// Its place in the file's order; among equals the lower id comes first.
    pub place: usize,
    /// Whether it is no longer in the file: it is stopped, and not started again.
    pub is_retired: bool,
}

/// How a service is asked to end: what was meant for the process that is running, whatever has
/// become of the policy since it was started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StopPolicy {
    pub(super) signal: Option<Signal>,
    pub(super) target: Target,
    pub(super) grace: Option<Duration>,
    pub(super) drain: Duration,
    pub(super) has_command: bool,
}

impl Default for ServicePolicy {
    fn default() -> ServicePolicy {
        ServicePolicy {
            stop_signal: Some(Signal::TERM),
            stop_target: Target::Process,
            grace: None,
            on_exit: OnExit::Shutdown,
            success_codes: vec![0],
            kind: ServiceType::Daemon,
            leader: None,
            after: Vec::new(),
            requires: Vec::new(),
            when_required_exits: WhenRequiredExits::Keep,
            has_readiness: false,
            start_timeout: None,
            restart: RestartPolicy::default(),
            drain: Duration::ZERO,
            has_stop_command: false,
            place: 0,
            is_retired: false,
        }
    }
}

impl ServicePolicy {
    pub(super) fn stop(&self) -> StopPolicy {
        StopPolicy {
            signal: self.stop_signal,
            target: self.stop_target,
            grace: self.grace,
            drain: self.drain,
            has_command: self.has_stop_command,
        }
    }

    /// The exit code a bundle ends with because of this service's `code`.
    pub fn bundle_code(&self, code: u8) -> u8 {
        if self.success_codes.contains(&code) { 0 } else { code }
    }
}

/// What becomes of one signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalRoute {
    /// Goes to these services as this signal.
    Forward(Vec<ServiceId>, Signal, Target),
    /// Restarts these services.
    Restart(Vec<ServiceId>),
    /// Has the bundle read again.
    Reload,
    /// Begins the shutdown; services without a stop signal of their own get this one.
    Shutdown(Signal),
    /// Is dropped, and not announced.
    Drop,
}

/// What becomes of a signal without a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// Dropped, with a note.
    #[default]
    DropAndAnnounce,
    /// Forwarded as it is.
    Forward(ServiceId, Target),
}
