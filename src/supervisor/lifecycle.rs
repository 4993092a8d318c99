//! How events change a service: how it runs, becomes ready, ends and restarts. [`Supervisor::handle`]
//! takes the events, and [`Supervisor::tick`] acts on all of them.

use std::time::Instant;

use super::attempt::SETTLING;
use super::event::{Action, Announcement, Cause, Event, ServiceId, Target};
use super::policy::{Otherwise, ServicePolicy, SignalRoute};
use super::restart;
use super::state::{End, Ending, Phase, State};
use super::{Service, Supervisor};
use crate::bundle::{OnExit, RestartWhen, ServiceType, WhenRequiredExits};
use crate::exit::{CHECK_FAILED, ExitStatus};
use crate::signal::Signal;
use crate::time_limit::TimeLimit;

impl Supervisor {
    /// Takes a fact.
    pub fn handle(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        self.unsettled = true;
        match event {
            Event::Spawned(id) => self.spawned(id, now, actions),
            Event::SpawnFailed(id, code) => self.spawn_failed(id, code, now, actions),
            Event::Ready(id) => self.ready(id, now, actions),
            Event::Unhealthy(id) => self.unhealthy(id, now, actions),
            Event::Extended(id, span) => self.extended(id, now + span),
            Event::Exited(id, status) => self.exited(id, status, now, actions),
            Event::StopCommandFailed(id) => self.stop_command_failed(id, now, actions),
            Event::Signaled(signal) => self.signaled(signal, now, actions),
            Event::TreeEmpty => self.tree_empty(),
            Event::Start(id) => self.start_requested(id),
            Event::Stop(id) => self.end_requested(id, Ending::Stop),
            Event::Restart(id) => self.restart_requested(id),
            Event::Shutdown(code) => {
                self.begin_shutdown(Cause::Commanded(code), now);
            }
        }
    }

    /// Does what is due at `now`. Call it when all facts of a turn are known, so that none is too late
    /// to prevent a start, and when [`deadline`](Supervisor::deadline) is over; harmless at any other
    /// time.
    pub fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.sweeps_since_now = false;
        while self.unsettled || self.due.is_some_and(|due| due <= now) && !self.sweeps_since_now {
            self.step(now, actions);
        }
    }

    /// One step. It may make other work due at once, for example with a grace of zero.
    fn step(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.unsettled = false;
        self.expire(now, actions);
        if self.phase == Phase::Up {
            self.start_next(now, actions);
            self.stop_unblocked(now, None, actions);
            self.end_if_nothing_is_left(now);
        }
        self.shut_down(now, actions);
        self.due = self.next_due();
    }

    pub(super) fn is_oneshot(&self, id: ServiceId) -> bool {
        self.policy.services.get(id.0).is_some_and(|policy| policy.kind == ServiceType::Oneshot)
    }

    pub(super) fn spawned(&mut self, id: ServiceId, now: Instant, actions: &mut Vec<Action>) {
        match self.state(id) {
            State::Spawning { .. } => {
                let policy = &self.policy.services[id.0];
                let ready = policy.kind == ServiceType::Daemon && !policy.has_readiness;
                let late_at = policy.start_timeout.filter(|_| !ready);
                let late_at = late_at.map(|span| TimeLimit::new(span, now));
                self.services[id.0].attempt.up_at = ready.then(|| now + SETTLING);
                self.set(id, State::Running { ready, late_at });
                if ready {
                    actions.push(Action::Announce(Announcement::ReadyAtOnce(id)));
                    actions.push(Action::CheckLiveness(id));
                } else if self.policy.services[id.0].has_readiness {
                    actions.push(Action::CheckReadiness(id));
                }
            }
            State::Stopping { .. } if !self.can_be_stopped_early(id) => {
                self.push_stop_request(id, now, actions)
            }
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
        actions: &mut Vec<Action>,
    ) {
        if !self.state(id).is_alive() {
            return;
        }
        self.note_first(id, code);
        self.services[id.0].history.began = None;
        let ending = self.take_ending(id);
        match ending {
            _ if self.phase != Phase::Up => self.set(id, State::Gone(End::Failed)),
            Some(ending) => self.ended_as_asked(id, ending, now, actions),
            None => {
                self.set(id, State::Gone(End::Failed));
                let cause = Cause::SpawnFailed(id, code);
                self.attempt_ended(id, cause, now);
                if !self.schedule_restart(id, false, now, actions) {
                    self.ended_for_good(id, cause, now, actions);
                }
            }
        }
        self.stop_requirers_of_ended(id, ending);
    }

    pub(super) fn ready(&mut self, id: ServiceId, now: Instant, actions: &mut Vec<Action>) {
        if let State::Running { ready: false, .. } = self.state(id)
            && !self.is_oneshot(id)
        {
            let service = &mut self.services[id.0];
            let settled = service.history.began.map_or(now, |began| began + SETTLING);
            service.attempt.up_at = service.ending.is_none().then(|| settled.max(now));
            self.set(id, State::Running { ready: true, late_at: None });
            actions.push(Action::Announce(Announcement::Ready(id)));
            actions.push(Action::CheckLiveness(id));
        }
    }

    pub(super) fn unhealthy(&mut self, id: ServiceId, now: Instant, actions: &mut Vec<Action>) {
        if matches!(self.state(id), State::Running { .. }) && self.is_wanted(id) {
            actions.push(Action::Announce(Announcement::Unhealthy(id)));
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
        actions: &mut Vec<Action>,
    ) {
        if !self.state(id).is_alive() {
            return;
        }
        actions.push(Action::Announce(Announcement::Exited(id, status)));
        self.note_first(id, status.code());
        let Some(policy) = self.policy.services.get(id.0) else { return };
        let succeeded = policy.bundle_code(status.code()) == 0;
        let ending = self.take_ending(id);
        if self.phase != Phase::Up {
            return self.set(id, State::Gone(End::Done));
        }
        match ending {
            None => self.exited_unasked(id, status, succeeded, now, actions),
            Some(ending) => self.ended_as_asked(id, ending, now, actions),
        }
        self.stop_requirers_of_ended(id, ending);
    }

    /// Whether to kill what the service's run leaves behind: if the service restarts, was stopped, or
    /// is a daemon that ends without the bundle. Processes of a oneshot may run until the next run; and
    /// the shutdown has its own grace.
    pub fn ends_with_its_rest(&self, id: ServiceId) -> bool {
        let service = self.services.get(id.0).zip(self.policy.services.get(id.0));
        self.phase == Phase::Up
            && service.is_some_and(|(service, policy)| {
                let is_daemon = policy.kind == ServiceType::Daemon;
                policy.restart.when != RestartWhen::Never
                    || matches!(
                        service.ending,
                        Some(Ending::Stop | Ending::Restart | Ending::Requirement)
                    )
                    || is_daemon && policy.on_exit == OnExit::Ignore
            })
    }

    /// It has ended: the reason why it was stopped.
    fn take_ending(&mut self, id: ServiceId) -> Option<Ending> {
        self.failing.retain(|cause| cause.service() != Some(id));
        self.services[id.0].ending.take()
    }

    /// Its own stop may have stopped them already.
    fn stop_requirers_of_ended(&mut self, id: ServiceId, ending: Option<Ending>) {
        if self.phase == Phase::Up && !matches!(ending, Some(Ending::Stop | Ending::Restart)) {
            self.stop_requirers(id);
        }
    }

    /// It has ended after it was stopped for this reason.
    fn ended_as_asked(
        &mut self,
        id: ServiceId,
        ending: Ending,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        match ending {
            Ending::Stop => self.set(id, State::Gone(End::Stopped)),
            Ending::Restart => self.set(id, State::Waiting),
            Ending::Unready => self.failed(id, Cause::Unready(id), now, actions),
            Ending::Unhealthy => self.failed(id, Cause::Unhealthy(id), now, actions),
            Ending::Requirement | Ending::Shutdown => self.set(id, State::Gone(End::Done)),
        }
    }

    fn exited_unasked(
        &mut self,
        id: ServiceId,
        status: ExitStatus,
        succeeded: bool,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let done = succeeded && self.is_oneshot(id);
        self.set(id, State::Gone(if succeeded { End::Done } else { End::Failed }));
        if done {
            return actions.push(Action::Announce(Announcement::Ready(id)));
        }
        let cause = Cause::Exited(id, status);
        self.attempt_ended(id, cause, now);
        if !self.schedule_restart(id, succeeded, now, actions) {
            self.ended_for_good(id, cause, now, actions);
        }
    }

    /// It was stopped because it failed.
    fn failed(&mut self, id: ServiceId, cause: Cause, now: Instant, actions: &mut Vec<Action>) {
        self.set(id, State::Gone(End::Failed));
        self.attempt_ended(id, cause, now);
        if !self.schedule_restart(id, false, now, actions) {
            self.ended_for_good(id, cause, now, actions);
        }
    }

    /// Puts it into `Backoff` if its policy restarts it.
    fn schedule_restart(
        &mut self,
        id: ServiceId,
        succeeded: bool,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> bool {
        let random = restart::random(&mut self.random);
        let (service, policy) = (&mut self.services[id.0], &self.policy.services[id.0].restart);
        let before = service.history.count();
        match service.history.next(policy, succeeded, now, random) {
            Some(delay) => {
                self.set(id, State::Backoff { until: now + delay });
                actions.push(Action::Announce(Announcement::Restarting(id, delay)));
                true
            }
            None => {
                if before > 0 && policy.is_wanted_after(succeeded) {
                    actions.push(Action::Announce(Announcement::GivenUp(id)));
                }
                false
            }
        }
    }

    /// It has ended finally, without a request.
    fn ended_for_good(
        &mut self,
        id: ServiceId,
        cause: Cause,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(policy) = self.policy.services.get(id.0) else { return };
        let status = match cause {
            Cause::Exited(_, status) => status,
            Cause::SpawnFailed(_, code) => ExitStatus::Code(code),
            _ => ExitStatus::Code(CHECK_FAILED),
        };
        // A failed start without a restart is no exit that can be ignored.
        let is_exit =
            !matches!(cause, Cause::SpawnFailed(..)) || policy.restart.when != RestartWhen::Never;
        let may_end = policy.on_exit == OnExit::Ignore && is_exit;
        if may_end && policy.bundle_code(status.code()) == 0 || self.fails_alone(id, actions) {
            return;
        }
        if may_end {
            self.first_failure.get_or_insert((id, status));
        } else {
            self.begin_shutdown(cause, now);
        }
    }

    /// Handles the services that require one that has ended or is being stopped.
    pub(super) fn stop_requirers(&mut self, id: ServiceId) {
        let is_on_request = self.services[id.0].attempt.is_on_request;
        let mut ended = vec![id];
        while let Some(group) = ended.pop().and_then(|id| self.order.group(id)) {
            let groups = self.order.requirers[group].iter();
            for dependent in groups.flat_map(|group| &self.order.members[*group]) {
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

    /// Ends the bundle when no service runs or will run.
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

    fn signaled(&mut self, signal: Signal, now: Instant, actions: &mut Vec<Action>) {
        let default = match signal {
            Signal::TERM | Signal::INT => Some(SignalRoute::Shutdown(signal)),
            _ => None,
        };
        match self.policy.signals.get(&signal).cloned().or(default) {
            Some(SignalRoute::Shutdown(stop_with)) => {
                self.shutdown_requested(signal, stop_with, now, actions);
            }
            Some(SignalRoute::Forward(to, signal, target)) => {
                for id in to {
                    self.forward(id, signal, target, actions);
                }
            }
            Some(SignalRoute::Restart(services)) => {
                for id in services {
                    self.restart_requested(id);
                }
            }
            Some(SignalRoute::Reload) if self.phase == Phase::Up => actions.push(Action::Reload),
            Some(SignalRoute::Reload | SignalRoute::Drop) => {}
            None => match self.policy.otherwise {
                Otherwise::Forward(id, target) => self.forward(id, signal, target, actions),
                Otherwise::DropAndAnnounce => {
                    actions.push(Action::Announce(Announcement::Unrouted(signal)))
                }
            },
        }
    }

    fn forward(&self, id: ServiceId, signal: Signal, target: Target, actions: &mut Vec<Action>) {
        match self.state(id) {
            State::Spawning { .. }
            | State::Running { .. }
            | State::Draining { .. }
            | State::Stopping { .. } => {
                actions.push(Action::Signal(id, signal, target));
            }
            State::Waiting | State::Killed | State::Backoff { .. } | State::Gone(_) => {}
        }
    }

    /// The next deadline.
    fn next_due(&self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Up | Phase::Stopping { .. } => self.census.next_due(),
            Phase::Sweeping { .. } | Phase::Killing { .. } | Phase::Down => None,
        };
        own.into_iter().chain(self.phase.due()).min()
    }

    /// The only place that changes a service's state.
    pub(super) fn set(&mut self, id: ServiceId, state: State) {
        if let Some(service) = self.services.get_mut(id.0) {
            self.census.leave(id, service.state);
            self.census.enter(id, state);
            if let Some(stages) = &mut self.stages {
                let stage = self.order.stage[id.0];
                stages.leave(id, stage, service.state);
                stages.enter(id, stage, state);
            }
            service.state = state;
            self.examine_later(id);
            self.unsettled = true;
        }
    }
}
