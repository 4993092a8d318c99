//! The core: decides, and does nothing else.
//!
//! Facts come in as [`Event`]s with the time at which they were learnt, actions go out as
//! [`Action`]s; in between there is no process, no descriptor, no clock. So every rule below
//! is tested without a kernel.
//!
//! **A service** is `Waiting` for its turn, `Spawning`, `Running` (at first perhaps not ready),
//! and when it ended by itself `Backoff` before it starts again, or `Gone`. One that is to end
//! goes through `Draining`, `Stopping` and perhaps `Killed`. Why it is to end is kept beside
//! its state (`Ending`): it says what its exit means. The rules are in `supervisor/lifecycle.rs`.
//!
//! **The bundle** is first `Up`: a service is started when those that it comes after are ready;
//! nobody waits until another one's program runs. One event begins the shutdown: a request (TERM,
//! INT or an operator's), a service's exit that nobody asked for and that no restart mends, or the
//! last exit of all. From then on nothing is started, and one deadline holds for everything; see
//! `supervisor/shutdown.rs`.

mod attempt;
mod census;
mod event;
mod expiry;
mod lifecycle;
mod new_policy;
mod order;
mod policy;
mod restart;
mod scheduling;
mod shutdown;
mod state;

pub use event::{Action, Announcement, Cause, Changes, Event, ServiceId, Target};
pub use policy::{Otherwise, Policy, ServicePolicy, SignalRoute};
pub use state::{End, State, StateKind};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::exit::{CHECK_FAILED, ExitStatus, INIT_FAILED};
use crate::signal::Signal;
use attempt::StartAttempt;
use census::Census;
use order::Order;
use policy::StopPolicy;
use restart::RestartHistory;
use state::{Ending, Phase};

/// How long to wait for processes to die of KILL before leaving them to the kernel. With the
/// default grace it ends before Docker's 10 s do.
pub const KILL_WAIT: Duration = Duration::from_secs(1);

/// How long a service of a bundle has to execute its program, if nothing else limits its start.
pub const EXECUTION_TIMEOUT: Duration = Duration::from_secs(60);

/// How it all ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What began the shutdown.
    pub cause: Cause,
    /// What the init exits with.
    pub code: u8,
    /// The services that had to be killed because their grace was over.
    pub overran: Vec<ServiceId>,
    /// Whether processes other than the services had to be killed for the same reason.
    pub rest_overran: bool,
    /// The second request to end, which cut the grace short.
    pub forced: Option<Signal>,
}

/// What the core keeps of a service.
#[derive(Debug, Default)]
struct Service {
    state: State,
    ending: Option<Ending>,
    history: RestartHistory,
    /// How the process that runs is asked to end.
    stop: StopPolicy,
    /// What is known of its start.
    attempt: StartAttempt,
}

/// The state machine of one bundle.
#[derive(Debug)]
pub struct Supervisor {
    policy: Arc<Policy>,
    order: Order,
    services: Vec<Service>,
    /// Places in the order of the start whose groups may have their turn, for something has changed
    /// since they were looked at; so the others need not be looked at for each start.
    to_examine: BTreeSet<usize>,
    /// The first place there that was not looked at the last time, since too many are on their way.
    examine_first: usize,
    /// Who is late or not well and has not ended yet, in the order in which that was found.
    failing: Vec<Cause>,
    phase: Phase,
    cause: Option<Cause>,
    shutdown_began: Option<Instant>,
    end_at_the_latest: Option<Instant>,
    /// Whether nobody has been told the cause yet.
    is_unannounced: bool,
    /// The code of service 0, for `Policy::code_of_first`.
    first_code: Option<u8>,
    /// The first exit of a service with leave to exit that was a failure.
    first_failure: Option<(ServiceId, ExitStatus)>,
    census: Census,
    /// How often TERM or INT asked for the end.
    requests: u32,
    /// Whether the sweep began in this tick, so that nobody knows yet whether anything is left.
    sweeps_since_now: bool,
    overran: Vec<ServiceId>,
    rest_overran: bool,
    forced: Option<Signal>,
    /// Where the random numbers are, for the delays of restarts.
    random: u64,
    /// Whether something has changed since the last `tick`.
    unsettled: bool,
    /// What `deadline` says.
    due: Option<Instant>,
}

impl Supervisor {
    /// A bundle of which nothing has been started.
    pub fn new(policy: impl Into<Arc<Policy>>) -> Supervisor {
        let policy = policy.into();
        let services: Vec<Service> = policy.services.iter().map(|_| Service::default()).collect();
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
            sweeps_since_now: false,
            overran: Vec::new(),
            rest_overran: false,
            forced: None,
            unsettled: true,
            due: None,
        }
    }

    /// When [`tick`](Supervisor::tick) has something to do next, perhaps at once; `None`: only an
    /// event can bring something.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// What began the shutdown, once it has begun.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// How it ended, once it has.
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

    /// When it is over at the latest, whatever is left then; `None` before the shutdown has begun.
    pub fn end_at_the_latest(&self) -> Option<Instant> {
        self.end_at_the_latest
    }

    /// Until when the shutdown may go on; `None` before it has begun.
    pub fn shutdown_deadline(&self) -> Option<Instant> {
        self.phase.deadline()
    }

    /// Where the service is in its life.
    pub fn state(&self, id: ServiceId) -> State {
        self.services.get(id.0).map_or(State::Gone(End::Never), |service| service.state)
    }

    /// How often the service was restarted because it had ended by itself.
    pub fn restarts(&self, id: ServiceId) -> u32 {
        self.services.get(id.0).map_or(0, |service| service.history.count)
    }

    /// Whether what the service's run leaves behind is to be ended with it: since the service
    /// starts again, or was asked to end, or is a daemon that ends without the bundle. What a
    /// oneshot has started may go on until that runs again; and the shutdown has its own grace.
    pub fn ends_with_its_rest(&self, id: ServiceId) -> bool {
        let service = self.services.get(id.0).zip(self.policy.services.get(id.0));
        self.phase == Phase::Up
            && service.is_some_and(|(service, policy)| {
                let is_daemon = policy.kind == crate::bundle::ServiceType::Daemon;
                policy.restart.when != crate::bundle::RestartWhen::Never
                    || matches!(
                        service.ending,
                        Some(Ending::Stop | Ending::Restart | Ending::Requirement)
                    )
                    || is_daemon && policy.on_exit == crate::bundle::OnExit::Ignore
            })
    }

    fn code(&self, cause: Cause) -> u8 {
        if self.policy.code_of_first {
            return self.first_code.unwrap_or(match cause {
                // It ended before it began, as the signal would have ended it.
                Cause::Requested(signal)
                    if matches!(self.state(ServiceId(0)), State::Gone(End::Never)) =>
                {
                    ExitStatus::Signal(signal).code()
                }
                // It could not even be killed.
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
