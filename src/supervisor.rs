//! The core: decides, and does nothing else.
//!
//! Facts come in as [`Event`]s with the time at which they were learnt, orders go out as
//! [`Action`]s; in between there is no process, no descriptor, no clock. So every rule below
//! is tested without a kernel.
//!
//! **A service** is `Waiting`, then `Spawning`, then `Running`, then perhaps `Stopping`
//! (asked to end) and `Killed`, and at last `Gone`. It never goes back.
//!
//! **The bundle** is first `Up`: services are started one by one in their order. One event
//! begins the shutdown: a request (TERM or INT), a service's exit that nobody asked for, a
//! failed start, or the last exit of all. From then on nothing is started, and one deadline
//! holds for everything:
//!
//! - `Stopping`: the service that was started last is asked first. When it has ended, the one
//!   before it is asked, and so on. A service that takes its time holds the next one up only
//!   for its share of what is left of the grace (the time left divided by the stages left), so
//!   that each is asked in time to end well; the slow one itself may go on until the deadline,
//!   or until its own grace ends.
//! - `Sweeping`: all services are gone. What is left of the process tree (daemons that left
//!   their parents) is asked to end.
//! - `Killing`: the deadline has passed, or a second request came. Everything was sent KILL.
//!   A process in an uninterruptible sleep may not die of that (the kernel's `D` state), so
//!   this too has an end, [`KILL_WAIT`].
//! - `Down`: nothing is left, or nothing more can be done.

mod event;
mod policy;

pub use event::{Action, Cause, Event, Note, ServiceId, Target};
pub use policy::{Otherwise, Policy, ServicePolicy, SignalRoute};

use std::time::{Duration, Instant};

use crate::bundle::OnExit;
use crate::exit::{ExitStatus, INIT_FAILED};
use crate::signal::Signal;

/// How long to wait for processes to die of KILL before leaving them to the kernel. With the
/// default grace it ends before Docker's 10 s do.
pub const KILL_WAIT: Duration = Duration::from_secs(1);

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its turn to start has not come.
    Waiting,
    /// The order to start it is out.
    Spawning,
    /// Its main process lives.
    Running,
    /// It was asked to end, and will be killed at this time if that is before the deadline.
    Stopping {
        /// The end of its own grace.
        kill_at: Option<Instant>,
    },
    /// It was sent KILL.
    Killed,
    /// It ended, or could not be started, or will never be started.
    Gone,
}

/// Where the bundle is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up,
    Stopping { deadline: Instant, stage: Stage, advance_at: Instant },
    Sweeping { deadline: Instant },
    Killing { give_up: Instant },
    Down,
}

/// Whose turn to end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// This service was asked last.
    Service(ServiceId),
    /// The strays were asked too, while services are still ending.
    Rest,
}

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

/// The state machine of one bundle.
#[derive(Debug)]
pub struct Supervisor {
    policy: Policy,
    states: Vec<State>,
    phase: Phase,
    cause: Option<Cause>,
    /// The code of service 0, for `Policy::code_of_first`.
    first_code: Option<u8>,
    /// The first exit of a service with leave to exit that was a failure.
    first_failure: Option<(ServiceId, ExitStatus)>,
    /// How many services are `Spawning`, `Running`, `Stopping` or `Killed`.
    alive: usize,
    /// Every service before this one has left `Waiting`.
    next_to_start: usize,
    /// Every service from this one on was asked to end, or never has to be.
    asked_from: usize,
    /// How often TERM or INT asked for the end.
    requests: u32,
    overran: Vec<ServiceId>,
    rest_overran: bool,
    forced: Option<Signal>,
}

impl Supervisor {
    /// A bundle of which nothing has been started.
    pub fn new(policy: Policy) -> Supervisor {
        Supervisor {
            states: vec![State::Waiting; policy.services.len()],
            policy,
            phase: Phase::Up,
            cause: None,
            first_code: None,
            first_failure: None,
            alive: 0,
            next_to_start: 0,
            asked_from: 0,
            requests: 0,
            overran: Vec::new(),
            rest_overran: false,
            forced: None,
        }
    }

    /// Takes in a fact.
    pub fn handle(&mut self, event: Event, now: Instant, orders: &mut Vec<Action>) {
        match event {
            Event::Spawned(id) => self.spawned(id, now, orders),
            Event::SpawnFailed(id, code) => self.spawn_failed(id, code, now, orders),
            Event::Exited(id, status) => self.exited(id, status, now, orders),
            Event::Signaled(signal) => self.signaled(signal, now, orders),
            Event::TreeEmpty => self.tree_empty(),
        }
    }

    /// Does what is due at `now`. To be called when all facts that were learnt at once are told,
    /// so that none of them comes too late to prevent a start, and when
    /// [`deadline`](Supervisor::deadline) has come; harmless at any other time.
    pub fn tick(&mut self, now: Instant, orders: &mut Vec<Action>) {
        match self.phase {
            Phase::Up => self.start_next(now, orders),
            Phase::Down => {}
            Phase::Stopping { deadline, .. } if deadline <= now => self.grace_over(now, orders),
            Phase::Stopping { deadline, advance_at, .. } => {
                self.kill_overdue(now, orders);
                if advance_at <= now {
                    self.next_stage(now, deadline, orders);
                }
            }
            Phase::Sweeping { deadline } if deadline <= now => self.grace_over(now, orders),
            Phase::Sweeping { .. } => {}
            Phase::Killing { give_up } if give_up <= now => self.phase = Phase::Down,
            Phase::Killing { .. } => {}
        }
    }

    /// When [`tick`](Supervisor::tick) has something to do next; `None`: only an event can
    /// bring something.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Up | Phase::Down => None,
            Phase::Stopping { deadline, advance_at, .. } => {
                let own = self.states.iter().filter_map(|state| match state {
                    State::Stopping { kill_at } => *kill_at,
                    State::Waiting
                    | State::Spawning
                    | State::Running
                    | State::Killed
                    | State::Gone => None,
                });
                own.chain([deadline, advance_at]).min()
            }
            Phase::Sweeping { deadline } => Some(deadline),
            Phase::Killing { give_up } => Some(give_up),
        }
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

    /// Until when the shutdown may go on; `None` before it has begun.
    pub fn shutdown_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Up | Phase::Down => None,
            Phase::Stopping { deadline, .. } | Phase::Sweeping { deadline } => Some(deadline),
            Phase::Killing { give_up } => Some(give_up),
        }
    }

    /// Where the service is in its life.
    pub fn state(&self, id: ServiceId) -> State {
        self.states.get(id.0).copied().unwrap_or(State::Gone)
    }

    /// Starts the next service, if none is being started; ends the bundle when none is left.
    fn start_next(&mut self, now: Instant, orders: &mut Vec<Action>) {
        let is_starting = |index: usize| self.states.get(index) == Some(&State::Spawning);
        if self.next_to_start.checked_sub(1).is_some_and(is_starting) {
            return;
        }
        let id = ServiceId(self.next_to_start);
        if id.0 < self.states.len() {
            self.next_to_start += 1;
            self.alive += 1;
            self.set(id, State::Spawning);
            orders.push(Action::Spawn(id));
        } else if self.alive == 0 {
            self.begin_shutdown(Cause::AllExited(self.first_failure), now, orders);
        }
    }

    fn spawned(&mut self, id: ServiceId, now: Instant, orders: &mut Vec<Action>) {
        if self.state(id) != State::Spawning {
            return;
        }
        self.set(id, State::Running);
        match self.phase {
            Phase::Up => {}
            // The order to start it was out when the shutdown began.
            Phase::Stopping { deadline, .. } => self.ask(id, now, deadline, orders),
            Phase::Sweeping { .. } | Phase::Killing { .. } | Phase::Down => {
                self.set(id, State::Killed);
                orders.push(Action::Kill(id));
            }
        }
    }

    fn spawn_failed(&mut self, id: ServiceId, code: u8, now: Instant, orders: &mut Vec<Action>) {
        if self.state(id) != State::Spawning {
            return;
        }
        self.gone(id, code);
        self.begin_shutdown(Cause::SpawnFailed(id, code), now, orders);
        self.advance_after(id, now, orders);
    }

    fn exited(
        &mut self,
        id: ServiceId,
        status: ExitStatus,
        now: Instant,
        orders: &mut Vec<Action>,
    ) {
        let state = self.state(id);
        match state {
            State::Waiting | State::Gone => return,
            State::Spawning | State::Running | State::Stopping { .. } | State::Killed => {}
        }
        self.gone(id, status.code());
        let unasked = matches!(state, State::Spawning | State::Running);
        if unasked && self.phase == Phase::Up {
            self.exited_unasked(id, status, now, orders);
        }
        self.advance_after(id, now, orders);
    }

    fn exited_unasked(
        &mut self,
        id: ServiceId,
        status: ExitStatus,
        now: Instant,
        orders: &mut Vec<Action>,
    ) {
        let Some(policy) = self.policy.services.get(id.0) else { return };
        match policy.on_exit {
            OnExit::Shutdown => self.begin_shutdown(Cause::Exited(id, status), now, orders),
            OnExit::Ignore => {
                if self.first_failure.is_none() && policy.bundle_code(status.code()) != 0 {
                    self.first_failure = Some((id, status));
                }
            }
        }
    }

    fn signaled(&mut self, signal: Signal, now: Instant, orders: &mut Vec<Action>) {
        let default = match signal {
            Signal::TERM | Signal::INT => Some(SignalRoute::Shutdown(signal)),
            _ => None,
        };
        match self.policy.signals.get(&signal).cloned().or(default) {
            Some(SignalRoute::Shutdown(stop_with)) => {
                self.shutdown_requested(signal, stop_with, now, orders);
            }
            Some(SignalRoute::Forward(to, signal, target)) => {
                for id in to {
                    self.forward(id, signal, target, orders);
                }
            }
            Some(SignalRoute::Drop) => {}
            None => match self.policy.otherwise {
                Otherwise::Forward(id, target) => self.forward(id, signal, target, orders),
                Otherwise::DropWithNote => orders.push(Action::Note(Note::Unrouted(signal))),
            },
        }
    }

    fn forward(&self, id: ServiceId, signal: Signal, target: Target, orders: &mut Vec<Action>) {
        match self.state(id) {
            State::Running | State::Stopping { .. } => {
                orders.push(Action::Signal(id, signal, target));
            }
            State::Waiting | State::Spawning | State::Killed | State::Gone => {}
        }
    }

    fn shutdown_requested(
        &mut self,
        signal: Signal,
        stop_with: Signal,
        now: Instant,
        orders: &mut Vec<Action>,
    ) {
        self.requests += 1;
        match self.phase {
            Phase::Up => {
                for service in &mut self.policy.services {
                    service.stop_signal.get_or_insert(stop_with);
                }
                self.begin_shutdown(Cause::Requested(signal), now, orders);
            }
            // The first request only joins a shutdown that a service's exit began.
            Phase::Stopping { .. } | Phase::Sweeping { .. } if self.requests > 1 => {
                self.forced = Some(signal);
                orders.push(Action::Note(Note::Forced(signal)));
                self.kill_all(now, orders);
            }
            Phase::Stopping { .. }
            | Phase::Sweeping { .. }
            | Phase::Killing { .. }
            | Phase::Down => {}
        }
    }

    fn tree_empty(&mut self) {
        match self.phase {
            Phase::Sweeping { .. } | Phase::Killing { .. } => self.phase = Phase::Down,
            Phase::Up | Phase::Stopping { .. } | Phase::Down => {}
        }
    }

    /// From here on nothing is started, and everything comes down.
    fn begin_shutdown(&mut self, cause: Cause, now: Instant, orders: &mut Vec<Action>) {
        if self.phase != Phase::Up {
            return;
        }
        self.cause = Some(cause);
        orders.push(Action::Note(Note::ShutdownBegins(cause)));
        for state in &mut self.states {
            if *state == State::Waiting {
                *state = State::Gone;
            }
        }
        self.asked_from = self.next_to_start;
        self.next_to_start = self.states.len();
        self.next_stage(now, now + self.policy.grace, orders);
    }

    /// Asks the next service in reverse start order to end; sweeps when none is left.
    fn next_stage(&mut self, now: Instant, deadline: Instant, orders: &mut Vec<Action>) {
        if self.alive == 0 {
            self.phase = Phase::Sweeping { deadline };
            orders.push(Action::TerminateRest);
            return;
        }
        while let Some(id) = self.asked_from.checked_sub(1).map(ServiceId) {
            self.asked_from = id.0;
            if !matches!(self.state(id), State::Running | State::Spawning) {
                continue;
            }
            let left = self.states[..id.0]
                .iter()
                .filter(|state| matches!(state, State::Running | State::Spawning))
                .count();
            let stages = u32::try_from(left + 2).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(now) / stages;
            let stage = Stage::Service(id);
            self.phase = Phase::Stopping { deadline, stage, advance_at: now + share };
            self.ask(id, now, deadline, orders);
            return;
        }
        // Only services that are slow to end are left; the strays have waited long enough.
        if let Phase::Stopping { stage: Stage::Service(_), .. } = self.phase {
            orders.push(Action::TerminateRest);
        }
        self.phase = Phase::Stopping { deadline, stage: Stage::Rest, advance_at: deadline };
    }

    /// Sends the stop signal to a service that runs; one that is just being started gets it
    /// when it does.
    fn ask(&mut self, id: ServiceId, now: Instant, deadline: Instant, orders: &mut Vec<Action>) {
        if self.state(id) != State::Running {
            return;
        }
        let Some(policy) = self.policy.services.get(id.0) else { return };
        let kill_at = policy.grace.map(|grace| now + grace).filter(|kill_at| *kill_at < deadline);
        let signal = policy.stop_signal.unwrap_or(Signal::TERM);
        let target = policy.stop_target;
        self.set(id, State::Stopping { kill_at });
        orders.push(Action::Note(Note::Stopping(id, signal)));
        orders.push(Action::Signal(id, signal, target));
        // A stopped process does not act on its stop signal until it is continued, signal(7).
        orders.push(Action::Signal(id, Signal::CONT, target));
    }

    /// Goes on to the next stage if the service that ended is the one it waited for.
    fn advance_after(&mut self, id: ServiceId, now: Instant, orders: &mut Vec<Action>) {
        let Phase::Stopping { deadline, stage, .. } = self.phase else { return };
        let awaited = match stage {
            Stage::Service(awaited) => awaited == id,
            Stage::Rest => false,
        };
        if awaited || self.alive == 0 {
            self.next_stage(now, deadline, orders);
        }
    }

    fn kill_overdue(&mut self, now: Instant, orders: &mut Vec<Action>) {
        for index in 0..self.states.len() {
            if let State::Stopping { kill_at: Some(kill_at) } = self.states[index]
                && kill_at <= now
            {
                let id = ServiceId(index);
                self.set(id, State::Killed);
                self.overran.push(id);
                orders.push(Action::Note(Note::Overran(id)));
                orders.push(Action::Kill(id));
            }
        }
    }

    fn grace_over(&mut self, now: Instant, orders: &mut Vec<Action>) {
        orders.push(Action::Note(Note::GraceOver));
        self.rest_overran = matches!(self.phase, Phase::Sweeping { .. });
        let late = self.states.iter().enumerate().filter(|(_, state)| match state {
            State::Spawning | State::Running | State::Stopping { .. } => true,
            State::Waiting | State::Killed | State::Gone => false,
        });
        self.overran.extend(late.map(|(index, _)| ServiceId(index)));
        self.kill_all(now, orders);
    }

    fn kill_all(&mut self, now: Instant, orders: &mut Vec<Action>) {
        for state in &mut self.states {
            if matches!(state, State::Running | State::Stopping { .. }) {
                *state = State::Killed;
            }
        }
        self.phase = Phase::Killing { give_up: now + KILL_WAIT };
        orders.push(Action::KillAll);
    }

    fn gone(&mut self, id: ServiceId, code: u8) {
        self.set(id, State::Gone);
        self.alive -= 1;
        if id.0 == 0 {
            self.first_code = Some(code);
        }
    }

    /// The only door through which a service changes its state.
    fn set(&mut self, id: ServiceId, state: State) {
        if let Some(slot) = self.states.get_mut(id.0) {
            *slot = state;
        }
    }

    fn code(&self, cause: Cause) -> u8 {
        if self.policy.code_of_first {
            return self.first_code.unwrap_or(match cause {
                // It ended before it began, as the signal would have ended it.
                Cause::Requested(signal) if self.state(ServiceId(0)) == State::Gone => {
                    ExitStatus::Signal(signal).code()
                }
                // It could not even be killed.
                Cause::Requested(_) => ExitStatus::Signal(Signal::KILL).code(),
                Cause::Exited(..) | Cause::SpawnFailed(..) | Cause::AllExited(_) => INIT_FAILED,
            });
        }
        let bundle_code = |id: ServiceId, code| {
            self.policy.services.get(id.0).map_or(code, |policy| policy.bundle_code(code))
        };
        match cause {
            Cause::Requested(_) | Cause::AllExited(None) => 0,
            Cause::SpawnFailed(_, code) => code,
            Cause::Exited(id, status) | Cause::AllExited(Some((id, status))) => {
                bundle_code(id, status.code())
            }
        }
    }
}
