//! What the core is told about the bundle: no names, no programs, only what it decides by.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{ServiceId, Target};
use crate::bundle::OnExit;
use crate::signal::Signal;

/// All that the core knows of a bundle.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The services in the order of their start.
    pub services: Vec<ServicePolicy>,
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
}

impl ServicePolicy {
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
    /// Begins the shutdown; services without a stop signal of their own get this one.
    Shutdown(Signal),
    /// Is dropped without a word.
    Drop,
}

/// What becomes of a signal without a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// Dropped, with a note.
    #[default]
    DropWithNote,
    /// Forwarded as it is.
    Forward(ServiceId, Target),
}
