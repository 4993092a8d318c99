//! The life of one service: how it starts, becomes ready, ends, and starts again.

use std::time::Instant;

use super::Supervisor;
use super::attempt::{Attempt, SETTLING};
use super::event::{Action, Announcement, Cause, ServiceId};
use super::policy::{ServicePolicy, StopPolicy};
use super::restart::{self, History};
use super::shutdown::Phase;
use crate::bundle::{OnExit, RestartWhen, ServiceType, WhenRequiredExits};
use crate::exit::{CHECK_FAILED, ExitStatus};
use crate::signal::Signal;
use crate::time_limit::TimeLimit;

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Its turn to start has not come.
    #[default]
    Waiting,
    /// The order to start it is out; its program does not run yet.
    Spawning {
        /// When it has taken too long.
        late_at: Option<TimeLimit>,
    },
    /// Its main process lives.
    Running {
        /// Whether those that come after it may start. A oneshot is ready when it is done.
        ready: bool,
        /// When it has failed if it is not ready.
        late_at: Option<TimeLimit>,
    },
    /// It is to end, and has until this time to be taken out of a load balancer.
    Draining {
        /// When it is asked to end.
        until: Instant,
    },
    /// It was asked to end, and will be killed at this time if that is before the deadline.
    Stopping {
        /// The end of its own grace.
        kill_at: Option<Instant>,
    },
    /// It was sent KILL.
    Killed,
    /// It ended by itself, and starts again at this time.
    Backoff {
        /// When it starts again.
        until: Instant,
    },
    /// It has no process, and gets none unless an operator asks for it.
    Gone(End),
}

/// How it came to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was never started.
    Never,
    /// It ended with success, or because another one did.
    Done,
    /// It failed.
    Failed,
    /// An operator stopped it.
    Stopped,
}

/// Why a service that lives is to end, which says what its exit will mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// An operator wants it down.
    Stop,
    /// It is to start again at once.
    Restart,
    /// One that it requires has ended.
    Requirement,
    /// It did not become ready in time.
    Unready,
    /// It failed its checks.
    Unhealthy,
    /// The bundle comes down.
    Shutdown,
}

/// What the core keeps of a service.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) state: State,
    pub(super) ending: Option<Ending>,
    pub(super) history: History,
    /// How the process that runs is asked to end.
    pub(super) stop: StopPolicy,
    /// What is known of its start.
    pub(super) attempt: Attempt,
}

impl State {
    /// When it ends by itself.
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            State::Spawning { late_at } | State::Running { ready: false, late_at } => {
                late_at.map(TimeLimit::until)
            }
            State::Stopping { kill_at } => kill_at,
            State::Draining { until } | State::Backoff { until } => Some(until),
            State::Waiting
            | State::Running { ready: true, .. }
            | State::Killed
            | State::Gone(_) => None,
        }
    }

    /// Whether it has a process, or is about to.
    pub fn is_alive(self) -> bool {
        match self {
            State::Spawning { .. }
            | State::Running { .. }
            | State::Draining { .. }
            | State::Stopping { .. }
            | State::Killed => true,
            State::Waiting | State::Backoff { .. } | State::Gone(_) => false,
        }
    }

    /// Whether it has not been asked to end.
    pub(super) fn is_unasked(self) -> bool {
        matches!(self, State::Spawning { .. } | State::Running { .. })
    }

    /// Whether its program does not run yet, but is to.
    pub(super) fn is_starting(self) -> bool {
        matches!(self, State::Spawning { .. })
    }
}

impl Supervisor {
    pub(super) fn is_oneshot(&self, id: ServiceId) -> bool {
        self.policy.services.get(id.0).is_some_and(|policy| policy.kind == ServiceType::Oneshot)
    }

    pub(super) fn spawned(&mut self, id: ServiceId, now: Instant, orders: &mut Vec<Action>) {
        match self.state(id) {
            State::Spawning { .. } => {
                let policy = &self.policy.services[id.0];
                let ready = policy.kind == ServiceType::Daemon && !policy.has_readiness;
                let late_at = policy.start_timeout.filter(|_| !ready);
                let late_at = late_at.map(|span| TimeLimit::new(span, now));
                self.services[id.0].attempt.up_at = ready.then(|| now + SETTLING);
                self.set(id, State::Running { ready, late_at });
                if ready {
                    orders.push(Action::Announce(Announcement::ReadyAtOnce(id)));
                    orders.push(Action::CheckLiveness(id));
                } else if self.policy.services[id.0].has_readiness {
                    orders.push(Action::CheckReadiness(id));
                }
            }
            State::Stopping { .. } if !self.can_be_stopped_early(id) => self.order_stop(id, orders),
            State::Stopping { .. } => {}
            _ => return,
        }
        self.services[id.0].history.began = Some(now);
    }

    pub(super) fn spawn_failed(
        &mut self,
        id: ServiceId,
        code: u8,
        now: Instant,
        orders: &mut Vec<Action>,
    ) {
        if !self.state(id).is_alive() {
            return;
        }
        self.note_first(id, code);
        self.services[id.0].history.began = None;
        let ending = self.take_ending(id);
        match ending {
            _ if self.phase != Phase::Up => self.set(id, State::Gone(End::Failed)),
            Some(ending) => self.ended_as_asked(id, ending, now, orders),
            None => {
                self.set(id, State::Gone(End::Failed));
                let cause = Cause::SpawnFailed(id, code);
                self.attempt_ended(id, cause, now);
                if !self.starts_again(id, false, now, orders) {
                    self.ended(id, cause, now, orders);
                }
            }
        }
        self.take_others_along(id, ending);
    }

    pub(super) fn ready(&mut self, id: ServiceId, now: Instant, orders: &mut Vec<Action>) {
        if let State::Running { ready: false, .. } = self.state(id)
            && !self.is_oneshot(id)
        {
            let service = &mut self.services[id.0];
            let settled = service.history.began.map_or(now, |began| began + SETTLING);
            service.attempt.up_at = service.ending.is_none().then(|| settled.max(now));
            self.set(id, State::Running { ready: true, late_at: None });
            orders.push(Action::Announce(Announcement::Ready(id)));
            orders.push(Action::CheckLiveness(id));
        }
    }

    pub(super) fn unhealthy(&mut self, id: ServiceId, now: Instant, orders: &mut Vec<Action>) {
        if matches!(self.state(id), State::Running { .. }) && self.is_wanted(id) {
            orders.push(Action::Announce(Announcement::Unhealthy(id)));
            self.failing.push(Cause::Unhealthy(id));
            let service = &mut self.services[id.0];
            service.ending = Some(Ending::Unhealthy);
            service.attempt.up_at = service.attempt.up_at.filter(|up_at| *up_at < now);
        }
    }

    pub(super) fn exited(
        &mut self,
        id: ServiceId,
        status: ExitStatus,
        now: Instant,
        orders: &mut Vec<Action>,
    ) {
        if !self.state(id).is_alive() {
            return;
        }
        orders.push(Action::Announce(Announcement::Exited(id, status)));
        self.note_first(id, status.code());
        let Some(policy) = self.policy.services.get(id.0) else { return };
        let succeeded = policy.bundle_code(status.code()) == 0;
        let ending = self.take_ending(id);
        if self.phase != Phase::Up {
            return self.set(id, State::Gone(End::Done));
        }
        match ending {
            None => self.exited_unasked(id, status, succeeded, now, orders),
            Some(ending) => self.ended_as_asked(id, ending, now, orders),
        }
        self.take_others_along(id, ending);
    }

    /// It is gone; why it was to end.
    fn take_ending(&mut self, id: ServiceId) -> Option<Ending> {
        self.failing.retain(|cause| cause.service() != Some(id));
        self.services[id.0].ending.take()
    }

    /// What asked it to end may have taken the others along already.
    fn take_others_along(&mut self, id: ServiceId, ending: Option<Ending>) {
        if self.phase == Phase::Up && !matches!(ending, Some(Ending::Stop | Ending::Restart)) {
            self.take_along(id);
        }
    }

    /// It is gone, after it was to end for this reason.
    fn ended_as_asked(
        &mut self,
        id: ServiceId,
        ending: Ending,
        now: Instant,
        orders: &mut Vec<Action>,
    ) {
        match ending {
            Ending::Stop => self.set(id, State::Gone(End::Stopped)),
            Ending::Restart => self.set(id, State::Waiting),
            Ending::Unready => self.failed(id, Cause::Unready(id), now, orders),
            Ending::Unhealthy => self.failed(id, Cause::Unhealthy(id), now, orders),
            Ending::Requirement | Ending::Shutdown => self.set(id, State::Gone(End::Done)),
        }
    }

    fn exited_unasked(
        &mut self,
        id: ServiceId,
        status: ExitStatus,
        succeeded: bool,
        now: Instant,
        orders: &mut Vec<Action>,
    ) {
        let done = succeeded && self.is_oneshot(id);
        self.set(id, State::Gone(if succeeded { End::Done } else { End::Failed }));
        if done {
            return orders.push(Action::Announce(Announcement::Ready(id)));
        }
        let cause = Cause::Exited(id, status);
        self.attempt_ended(id, cause, now);
        if !self.starts_again(id, succeeded, now, orders) {
            self.ended(id, cause, now, orders);
        }
    }

    /// It was stopped because it did not do what it is there for.
    fn failed(&mut self, id: ServiceId, cause: Cause, now: Instant, orders: &mut Vec<Action>) {
        self.set(id, State::Gone(End::Failed));
        self.attempt_ended(id, cause, now);
        if !self.starts_again(id, false, now, orders) {
            self.ended(id, cause, now, orders);
        }
    }

    /// Puts it into `Backoff` if its policy wants it to start again.
    fn starts_again(
        &mut self,
        id: ServiceId,
        succeeded: bool,
        now: Instant,
        orders: &mut Vec<Action>,
    ) -> bool {
        let random = restart::random(&mut self.random);
        let (service, policy) = (&mut self.services[id.0], &self.policy.services[id.0].restart);
        let before = service.history.count;
        match service.history.next(policy, succeeded, now, random) {
            Some(delay) => {
                self.set(id, State::Backoff { until: now + delay });
                orders.push(Action::Announce(Announcement::Restarting(id, delay)));
                true
            }
            None => {
                if before > 0 && policy.is_wanted_after(succeeded) {
                    orders.push(Action::Announce(Announcement::GivenUp(id)));
                }
                false
            }
        }
    }

    /// It has ended for good, and nobody asked for that.
    fn ended(&mut self, id: ServiceId, cause: Cause, now: Instant, orders: &mut Vec<Action>) {
        let Some(policy) = self.policy.services.get(id.0) else { return };
        let status = match cause {
            Cause::Exited(_, status) => status,
            Cause::SpawnFailed(_, code) => ExitStatus::Code(code),
            _ => ExitStatus::Code(CHECK_FAILED),
        };
        // What can't be started at all is no exit to be ignored, if nobody tries again.
        let is_exit =
            !matches!(cause, Cause::SpawnFailed(..)) || policy.restart.when != RestartWhen::Never;
        let may_end = policy.on_exit == OnExit::Ignore && is_exit;
        if may_end && policy.bundle_code(status.code()) == 0 || self.fails_alone(id, orders) {
            return;
        }
        if may_end {
            self.first_failure.get_or_insert((id, status));
        } else {
            self.begin_shutdown(cause, now);
        }
    }

    /// What the services do that require the one that has ended, or is to.
    pub(super) fn take_along(&mut self, id: ServiceId) {
        let is_on_request = self.services[id.0].attempt.is_on_request;
        let mut ended = vec![id];
        while let Some(group) = ended.pop().and_then(|id| self.order.group(id)) {
            let groups = group.requirers.iter().map(|index| &self.order.groups[*index]);
            for dependent in groups.flat_map(|group| &group.members) {
                let ending = match self.policy.services[dependent.0].when_required_exits {
                    WhenRequiredExits::Keep => continue,
                    WhenRequiredExits::Stop => Ending::Requirement,
                    WhenRequiredExits::Restart => Ending::Restart,
                };
                let service = &mut self.services[dependent.0];
                if service.state.is_unasked() && service.ending.is_none() {
                    service.ending = Some(ending);
                    service.attempt.is_on_request = is_on_request;
                    ended.push(*dependent);
                }
            }
        }
    }

    pub(super) fn is_wanted(&self, id: ServiceId) -> bool {
        self.services.get(id.0).is_some_and(|service| service.ending.is_none())
    }

    /// Asks those to end that are to and on whom nobody depends any more who is to end too; and
    /// in any case those whose stage of the shutdown has come.
    pub(super) fn ask_who_may_be_asked(
        &mut self,
        now: Instant,
        stage: Option<usize>,
        orders: &mut Vec<Action>,
    ) {
        if self.services.iter().all(|service| service.ending.is_none()) {
            return;
        }
        let mut is_in_the_way = vec![false; self.order.groups.len()];
        for place in (0..self.order.start.len()).rev() {
            let index = self.order.start[place];
            let dependents = &self.order.groups[index].dependents;
            let blocked = dependents.iter().any(|dependent| is_in_the_way[*dependent]);
            is_in_the_way[index] = blocked;
            for member in (0..self.order.groups[index].members.len()).rev() {
                let id = self.order.groups[index].members[member];
                let service = &self.services[id.0];
                if service.ending.is_none() {
                    continue;
                }
                is_in_the_way[index] |= service.state.is_alive();
                let forced = stage.is_some_and(|stage| self.order.stage[id.0] <= stage);
                if !blocked || forced {
                    self.ask(id, now, orders);
                }
            }
        }
    }

    /// Asks a service to end.
    fn ask(&mut self, id: ServiceId, now: Instant, orders: &mut Vec<Action>) {
        let drain = self.services[id.0].stop.drain;
        match self.state(id) {
            State::Running { .. } if drain.is_zero() => self.send_stop(id, now, orders),
            State::Running { .. } => {
                self.set(id, State::Draining { until: now + drain });
                orders.push(Action::Announce(Announcement::Draining(id, drain)));
            }
            State::Spawning { .. } => {
                self.begin_stop(id, now);
                // The shutdown has cancelled all of them.
                if self.phase == Phase::Up {
                    orders.push(Action::CancelStart(id));
                }
                if self.can_be_stopped_early(id) {
                    self.order_stop(id, orders);
                }
            }
            _ => {}
        }
    }

    pub(super) fn send_stop(&mut self, id: ServiceId, now: Instant, orders: &mut Vec<Action>) {
        self.begin_stop(id, now);
        self.order_stop(id, orders);
    }

    /// From here on its own grace runs.
    fn begin_stop(&mut self, id: ServiceId, now: Instant) {
        let stop = self.services[id.0].stop;
        let grace = match self.phase {
            // While the bundle is up there is no other deadline.
            Phase::Up => Some(stop.grace.unwrap_or(self.policy.grace)),
            _ => stop.grace,
        };
        let deadline = self.phase.deadline();
        let kill_at = grace
            .map(|grace| now + grace)
            .filter(|kill_at| deadline.is_none_or(|deadline| *kill_at < deadline));
        self.set(id, State::Stopping { kill_at });
    }

    fn order_stop(&self, id: ServiceId, orders: &mut Vec<Action>) {
        if self.services[id.0].stop.has_command {
            orders.push(Action::Announce(Announcement::StopCommand(id)));
            orders.push(Action::RunStopCommand(id));
        } else {
            self.push_stop_signal(id, orders);
        }
    }

    /// Whether what asks it to end has the same effect on a process that has not executed the
    /// service's program yet. Otherwise it is asked when that runs.
    fn can_be_stopped_early(&self, id: ServiceId) -> bool {
        let StopPolicy { signal, has_command, .. } = self.services[id.0].stop;
        !has_command && signal.unwrap_or(Signal::TERM).terminates_by_default()
    }

    fn push_stop_signal(&self, id: ServiceId, orders: &mut Vec<Action>) {
        let StopPolicy { signal, target, .. } = self.services[id.0].stop;
        let signal = signal.unwrap_or(Signal::TERM);
        orders.push(Action::Announce(Announcement::Stopping(id, signal)));
        orders.push(Action::Signal(id, signal, target));
        // A stopped process does not act on its stop signal until it is continued, signal(7).
        orders.push(Action::Signal(id, Signal::CONT, target));
    }

    pub(super) fn stop_command_failed(&mut self, id: ServiceId, orders: &mut Vec<Action>) {
        if matches!(self.state(id), State::Stopping { .. }) {
            self.push_stop_signal(id, orders);
        }
    }

    /// Ends the bundle when no service runs and none will.
    pub(super) fn end_if_nothing_is_left(&mut self, now: Instant) {
        let is_over = |(service, policy): (&Service, &ServicePolicy)| match service.state {
            State::Gone(End::Stopped) => policy.is_retired,
            State::Gone(End::Failed) => policy.is_retired || !service.attempt.is_on_request,
            State::Gone(_) => true,
            _ => false,
        };
        if self.census.alive == 0 && self.services.iter().zip(&self.policy.services).all(is_over) {
            self.begin_shutdown(Cause::AllExited(self.first_failure), now);
        }
    }

    fn note_first(&mut self, id: ServiceId, code: u8) {
        if id.0 == 0 {
            self.first_code = Some(code);
        }
    }

    /// The only door through which a service changes its state.
    pub(super) fn set(&mut self, id: ServiceId, state: State) {
        if let Some(service) = self.services.get_mut(id.0) {
            self.census.leave(id, service.state);
            self.census.enter(id, state);
            service.state = state;
            self.question(id);
            self.unsettled = true;
        }
    }
}
