//! The shutdown of a bundle, within one deadline.
//!
//! - `Stopping`: stops the services on which no other depends; when they have ended, the services that
//!   they depended on, and so on. A slow stage delays the next one only for its share of the remaining
//!   grace (the remaining time divided by the remaining stages), so that each is stopped in time; the
//!   slow services may keep running until the deadline, or until the end of their own grace.
//! - `Sweeping`: all services are gone. The rest of the process tree (daemons that have left their
//!   parents) gets TERM.
//! - `Killing`: the deadline is over, or a second request came. Everything got KILL. A process in
//!   uninterruptible sleep may not die of it (the kernel's `D` state), so this has a limit too,
//!   [`KILL_WAIT`].
//! - `Down`: nothing is left, or nothing more can be done.

use std::time::Instant;

use super::event::{Action, Announcement, Cause, ServiceId};
use super::stages::Stages;
use super::state::{End, Ending, Phase, Stage, State};
use super::{KILL_WAIT, Supervisor};
use crate::bundle::{OnExit, RestartWhen};
use crate::exit::ExitStatus;
use crate::signal::Signal;

impl Supervisor {
    pub(super) fn shutdown_requested(
        &mut self,
        signal: Signal,
        stop_with: Signal,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.requests += 1;
        match self.phase {
            Phase::Up => {
                for service in &mut self.services {
                    service.stop_signal.get_or_insert(stop_with);
                }
                self.begin_shutdown(Cause::Requested(signal), now);
            }
            // A process that signals all processes at once, as systemd does (KillMode=control-group),
            // may kill a service before we read our own signal.
            Phase::Stopping { .. } if self.is_begun_by_death_of(signal) => {
                self.cause = Some(Cause::Requested(signal));
            }
            // The first request only joins a shutdown that has another cause.
            Phase::Stopping { .. } | Phase::Sweeping { .. } if self.requests > 1 => {
                self.announce_shutdown(actions);
                self.forced = Some(signal);
                actions.push(Action::Announce(Announcement::Forced(signal)));
                self.kill_all(now, actions);
            }
            Phase::Stopping { .. }
            | Phase::Sweeping { .. }
            | Phase::Killing { .. }
            | Phase::Down => {}
        }
    }

    /// Whether facts of this turn began the shutdown because of a service that this signal ended, or
    /// that handled it and exited with its code.
    fn is_begun_by_death_of(&self, signal: Signal) -> bool {
        let code = ExitStatus::Signal(signal).code();
        let by_signal = |cause| matches!(cause, Cause::Exited(_, status) if status.code() == code);
        self.is_unannounced && self.cause.is_some_and(by_signal)
    }

    pub(super) fn tree_empty(&mut self) {
        match self.phase {
            Phase::Sweeping { .. } | Phase::Killing { .. } => self.phase = Phase::Down,
            Phase::Up | Phase::Stopping { .. } | Phase::Down => {}
        }
    }

    /// Begins the shutdown: nothing starts any more.
    pub(super) fn begin_shutdown(&mut self, cause: Cause, now: Instant) {
        if self.phase != Phase::Up {
            return;
        }
        let is_failure = cause.service().is_some();
        self.cause = Some(self.failed_before().filter(|_| is_failure).unwrap_or(cause));
        self.is_unannounced = true;
        for index in 0..self.services.len() {
            match self.services[index].state {
                State::Waiting => self.set(ServiceId(index), State::Gone(End::Never)),
                State::Backoff { .. } => self.set(ServiceId(index), State::Gone(End::Failed)),
                _ => self.services[index].ending = Some(Ending::Shutdown),
            }
        }
        let states = self.services.iter().map(|service| service.state);
        let stages = self.order.stage.iter().copied();
        self.stages = Some(Stages::of(stages.zip(states)));
        let deadline = now + self.policy.grace;
        self.shutdown_began = Some(now);
        self.end_at_the_latest = Some(deadline + KILL_WAIT);
        // A service that was being stopped has no more time than all others.
        for index in 0..self.services.len() {
            if let State::Stopping { kill_at, continue_at } = self.services[index].state {
                let kill_at = kill_at.filter(|kill_at| *kill_at < deadline);
                self.set(ServiceId(index), State::Stopping { kill_at, continue_at });
            }
        }
        self.phase = Phase::Stopping { deadline, stage: Stage::Begun, advance_at: deadline };
    }

    /// The first late or unhealthy service that is still alive, and whose end would end the bundle. It
    /// is the cause, even if another one exits first.
    fn failed_before(&self) -> Option<Cause> {
        let ends_all = |id: ServiceId| {
            let (service, policy) = (&self.services[id.0], &self.policy.services[id.0]);
            matches!(service.ending, Some(Ending::Unready | Ending::Unhealthy))
                && policy.restart.when == RestartWhen::Never
                && policy.on_exit == OnExit::Shutdown
                && !service.attempt.is_on_request
        };
        self.failing.iter().copied().find(|cause| cause.service().is_some_and(ends_all))
    }

    /// Announces the cause, when all facts of a turn are known.
    fn announce_shutdown(&mut self, actions: &mut Vec<Action>) {
        if std::mem::take(&mut self.is_unannounced) {
            let cause = self.cause.map(Announcement::ShutdownBegins);
            actions.extend(cause.map(Action::Announce));
            actions.extend([Action::EndChecks, Action::CancelReload]);
            let starting = self.services.iter().enumerate();
            let starting = starting.filter(|(_, service)| service.state.is_starting());
            actions.extend(starting.map(|(index, _)| Action::CancelStart(ServiceId(index))));
        }
    }

    /// Continues the shutdown as far as possible now.
    pub(super) fn shut_down(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.announce_shutdown(actions);
        if let Phase::Stopping { deadline, stage, advance_at } = self.phase {
            self.next_stage(stage, advance_at <= now, now, deadline, actions);
            self.sweeps_since_now = self.phase == Phase::Sweeping { deadline };
        }
        match self.phase {
            // Even with a grace of zero, wait for the answer whether any process is left.
            Phase::Sweeping { .. } if self.sweeps_since_now => {}
            Phase::Stopping { deadline, .. } | Phase::Sweeping { deadline } if deadline <= now => {
                self.grace_over(now, actions);
            }
            Phase::Killing { give_up } if give_up <= now => self.phase = Phase::Down,
            _ => {}
        }
    }

    fn next_stage(
        &mut self,
        stage: Stage,
        is_time_up: bool,
        now: Instant,
        deadline: Instant,
        actions: &mut Vec<Action>,
    ) {
        if self.census.alive == 0 {
            self.phase = Phase::Sweeping { deadline };
            actions.push(Action::TerminateRest);
            return;
        }
        let asked_up_to = match stage {
            Stage::Begun => None,
            Stage::Number(number) => Some(number),
            Stage::Rest { alive } => {
                // Processes that a service has just left behind were not in the sweep.
                if self.census.alive < alive {
                    self.terminate_rest(deadline, actions);
                }
                return;
            }
        };
        let stages = self.stages.as_ref();
        let is_held_up =
            asked_up_to.is_some_and(|number| stages.is_some_and(|stages| stages.is_alive(number)));
        let mut now_asked = asked_up_to;
        if !is_held_up || is_time_up {
            match stages.and_then(Stages::left) {
                Some((number, count)) => {
                    // These stages, and the sweep.
                    let advance_at = now + deadline.saturating_duration_since(now) / (count + 1);
                    now_asked = Some(number);
                    let stage = Stage::Number(number);
                    self.phase = Phase::Stopping { deadline, stage, advance_at };
                    self.continue_asked(actions);
                }
                // Only slow services are left; the sweep has waited long enough.
                None if is_time_up => self.terminate_rest(deadline, actions),
                None => {}
            }
        }
        self.stop_unblocked(now, now_asked, actions);
    }

    /// A service may have got SIGSTOP after its stop signal, from a process that is gone by now;
    /// without CONT only KILL would end it.
    fn continue_asked(&mut self, actions: &mut Vec<Action>) {
        for id in self.stages.as_ref().map(Stages::asked).unwrap_or_default() {
            self.continue_one(id, actions);
        }
    }

    fn terminate_rest(&mut self, deadline: Instant, actions: &mut Vec<Action>) {
        self.continue_asked(actions);
        actions.push(Action::TerminateRest);
        let stage = Stage::Rest { alive: self.census.alive };
        self.phase = Phase::Stopping { deadline, stage, advance_at: deadline };
    }

    fn grace_over(&mut self, now: Instant, actions: &mut Vec<Action>) {
        actions.push(Action::Announce(Announcement::GraceOver));
        self.rest_overran = matches!(self.phase, Phase::Sweeping { .. });
        let is_late = |state: State| state.is_alive() && state != State::Killed;
        let late = self.services.iter().enumerate().filter(|(_, service)| is_late(service.state));
        self.overran.extend(late.map(|(index, _)| ServiceId(index)));
        self.kill_all(now, actions);
    }

    fn kill_all(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for index in 0..self.services.len() {
            let state = self.services[index].state;
            if state.is_alive() {
                self.set(ServiceId(index), State::Killed);
            }
        }
        self.phase = Phase::Killing { give_up: now + KILL_WAIT };
        actions.push(Action::KillAll);
    }
}
