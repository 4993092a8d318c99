//! The core makes all decisions, and no system calls.
//!
//! Facts come in as [`Event`]s with the time at which they became known, and actions go out as
//! [`Action`]s. There is no process, descriptor or clock in between, so every rule below is tested
//! without a kernel.
//!
//! **A service** is first `Waiting`, then `Spawning` and `Running` (at first perhaps not ready). When
//! it ends by itself it is in `Backoff` before a restart, or `Gone`. When it is stopped it goes through
//! `Draining`, `Stopping` and perhaps `Killed`. The reason of the stop (`Ending`) is stored beside the
//! state, and determines what the exit means. The rules are in `supervisor/lifecycle.rs`.
//!
//! **The bundle** is first `Up`: a service starts when those in its `after` and `requires` are ready;
//! no service waits for the exec of an unrelated one. One event begins the shutdown: a request (TERM,
//! INT or an operator's), an unrequested exit of a service without a restart, or the last exit of all.
//! From then on nothing starts, and one deadline applies to everything; see `supervisor/shutdown.rs`.

mod attempt;
mod census;
mod event;
mod expiry;
mod lifecycle;
mod lists;
mod new_policy;
mod order;
mod policy;
mod restart;
mod scheduling;
mod shutdown;
mod stages;
mod state;

pub use event::{Action, Announcement, Cause, Changes, Event, ServiceId, Target};
pub use policy::{Otherwise, Policy, Rules, ServicePolicy, SignalRoute};
pub use state::{End, State, StateKind};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::exit::{CHECK_FAILED, ExitStatus, INIT_FAILED};
use crate::signal::Signal;
use attempt::StartAttempt;
use census::Census;
use order::Order;
use restart::RestartHistory;
use stages::Stages;
use state::{Ending, Phase};

/// How long to wait for processes to die of KILL before leaving them to the kernel. With the default
/// grace it ends before Docker's 10 s.
pub const KILL_WAIT: Duration = Duration::from_secs(1);

/// How long a service of a bundle has until exec, if nothing else limits its start.
pub const EXECUTION_TIMEOUT: Duration = Duration::from_secs(60);

/// How the bundle ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What began the shutdown.
    pub cause: Cause,
    /// The exit code of the init.
    pub code: u8,
    /// The services that were killed because their grace was over.
    pub overran: Vec<ServiceId>,
    /// Whether other processes were killed for the same reason.
    pub rest_overran: bool,
    /// The second request, which ended the grace early.
    pub forced: Option<Signal>,
}

/// The state of a service.
#[derive(Debug)]
struct Service {
    state: State,
    ending: Option<Ending>,
    history: RestartHistory,
    /// The rules by which the process that runs was started: how to stop it, even if the policy has
    /// changed.
    rules: Arc<Rules>,
    /// Their stop signal, or the one that began the shutdown.
    stop_signal: Option<Signal>,
    /// The state of its start.
    attempt: StartAttempt,
}

impl Service {
    /// A service before its first start.
    fn new(policy: &ServicePolicy) -> Service {
        Service {
            state: State::default(),
            ending: None,
            history: RestartHistory::default(),
            rules: Arc::clone(&policy.rules),
            stop_signal: policy.stop_signal,
            attempt: StartAttempt::default(),
        }
    }
}

/// The state machine of one bundle.
#[derive(Debug)]
pub struct Supervisor {
    policy: Arc<Policy>,
    order: Order,
    services: Vec<Service>,
    /// Groups to examine for a start, by their place in the start order, because something has changed;
    /// the others need not be examined.
    to_examine: BTreeSet<usize>,
    /// The first place that the last examination did not reach, because too many services were
    /// starting.
    examine_first: usize,
    /// Services that were late or failed their check and have not ended yet, in the order of detection.
    failing: Vec<Cause>,
    phase: Phase,
    cause: Option<Cause>,
    shutdown_began: Option<Instant>,
    end_at_the_latest: Option<Instant>,
    /// Whether the cause is not announced yet.
    is_unannounced: bool,
    /// The code of service 0, for `Policy::code_of_first`.
    first_code: Option<u8>,
    /// The first failed exit of a service with `on-exit = "ignore"`.
    first_failure: Option<(ServiceId, ExitStatus)>,
    census: Census,
    /// Only during the shutdown.
    stages: Option<Stages>,
    /// How many TERM or INT were received.
    requests: u32,
    /// Whether the sweep began in this tick, so that it is not known yet whether any process is left.
    sweeps_since_now: bool,
    overran: Vec<ServiceId>,
    rest_overran: bool,
    forced: Option<Signal>,
    /// The state of the random numbers for restart delays.
    random: u64,
    /// Whether something has changed since the last `tick`.
    unsettled: bool,
    /// What `deadline` says.
    due: Option<Instant>,
}

impl Supervisor {
    /// A bundle before its first start.
    pub fn new(policy: impl Into<Arc<Policy>>) -> Supervisor {
        let policy = policy.into();
        let services: Vec<Service> = policy.services.iter().map(Service::new).collect();
        let order = Order::new(&policy);
        Supervisor {
            to_examine: (0..order.start.len()).collect(),
            examine_first: 0,
            failing: Vec::new(),
            order,
            census: Census::of(services.iter().map(|service| service.state)),
            services,
            random: policy.seed,
            policy,
            phase: Phase::Up,
            cause: None,
            shutdown_began: None,
            end_at_the_latest: None,
            is_unannounced: false,
            first_code: None,
            first_failure: None,
            requests: 0,
            stages: None,
            sweeps_since_now: false,
            overran: Vec::new(),
            rest_overran: false,
            forced: None,
            unsettled: true,
            due: None,
        }
    }

    /// When [`tick`](Supervisor::tick) has work next, perhaps at once; `None`: only after an event.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// What began the shutdown, if it has begun.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// The outcome, when the bundle has ended.
    pub fn outcome(&self) -> Option<Outcome> {
        match (self.phase, self.cause) {
            (Phase::Down, Some(cause)) => Some(Outcome {
                cause,
                code: self.code(cause),
                overran: self.overran.clone(),
                rest_overran: self.rest_overran,
                forced: self.forced,
            }),
            _ => None,
        }
    }

    /// The latest end, whatever processes are left; `None` before the shutdown.
    pub fn end_at_the_latest(&self) -> Option<Instant> {
        self.end_at_the_latest
    }

    /// The deadline of the shutdown; `None` before it.
    pub fn shutdown_deadline(&self) -> Option<Instant> {
        self.phase.deadline()
    }

    /// The state of the service.
    pub fn state(&self, id: ServiceId) -> State {
        self.services.get(id.0).map_or(State::Gone(End::Never), |service| service.state)
    }

    /// How often the service was restarted after it had ended by itself.
    pub fn restarts(&self, id: ServiceId) -> u32 {
        self.services.get(id.0).map_or(0, |service| service.history.count())
    }

    fn code(&self, cause: Cause) -> u8 {
        if self.policy.code_of_first {
            return self.first_code.unwrap_or(match cause {
                // It ended before its exec, as the signal would have ended it.
                Cause::Requested(signal)
                    if matches!(self.state(ServiceId(0)), State::Gone(End::Never)) =>
                {
                    ExitStatus::Signal(signal).code()
                }
                // Not even KILL ended it.
                Cause::Requested(_) => ExitStatus::Signal(Signal::KILL).code(),
                Cause::Commanded(code) => code,
                Cause::Exited(..)
                | Cause::SpawnFailed(..)
                | Cause::Unready(_)
                | Cause::Unhealthy(_)
                | Cause::AllExited(_) => INIT_FAILED,
            });
        }
        let bundle_code = |id: ServiceId, code| {
            self.policy.services.get(id.0).map_or(code, |policy| policy.bundle_code(code))
        };
        match cause {
            Cause::Requested(_) | Cause::AllExited(None) => 0,
            Cause::Commanded(code) | Cause::SpawnFailed(_, code) => code,
            Cause::Unready(_) | Cause::Unhealthy(_) => CHECK_FAILED,
            Cause::Exited(id, status) | Cause::AllExited(Some((id, status))) => {
                bundle_code(id, status.code())
            }
        }
    }
}
