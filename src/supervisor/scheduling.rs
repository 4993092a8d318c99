//! When services start and stop: an operator's requests, the order of the services, and how each is
//! stopped.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{Action, Announcement, ServiceId};
use super::state::{End, Ending, Phase, State};
use super::{EXECUTION_TIMEOUT, Supervisor};
use crate::signal::Signal;
use crate::time_limit::TimeLimit;

/// How many services may be between fork and exec at the same time. A hanging exec then does not delay
/// others, and the init can fork the next child while the last one executes; more would only be more
/// copies of the init.
pub(super) const MOST_SPAWNING: usize = 16;

/// How long a service may handle its stop signal before it gets CONT. Most have ended by then, so that one
/// system call less stops them.
const CONTINUE_AFTER: Duration = Duration::from_millis(10);

/// What a service's dependencies say about its start.
#[derive(Clone, Copy)]
enum Eligibility {
    Now,
    Later,
    Never,
}

/// The state of a group for those that depend on it.
#[derive(Clone, Copy, Default)]
struct Standing {
    /// Some member is not ready yet.
    is_pending: bool,
    /// Some member is down until an operator starts it.
    is_stopped: bool,
    /// Some member has ended, and should not have.
    has_failed: bool,
}

impl Supervisor {
    /// Starts the services whose dependencies are ready, in order, up to the limit of concurrent
    /// starts.
    pub(super) fn start_next(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.census.spawning >= MOST_SPAWNING || self.census.waiting == 0 {
            return;
        }
        // Each group is examined once, however many depend on it.
        let mut standings = BTreeMap::new();
        // Begin where the last examination stopped: otherwise services that fail and restart could take
        // all places for ever.
        let begin = std::mem::take(&mut self.examine_first);
        let mut last = None;
        while let Some(place) = self.next_to_examine(begin, last) {
            last = Some(place);
            let group = self.order.start[place];
            let mut turn = None;
            for member in 0..self.order.members[group].len() {
                let id = self.order.members[group][member];
                if self.state(id) != State::Waiting {
                    continue;
                }
                match *turn.get_or_insert_with(|| self.turn(group, &mut standings)) {
                    Eligibility::Later => break,
                    Eligibility::Never => {
                        self.set(id, State::Gone(End::Failed));
                        actions.push(Action::Announce(Announcement::RequirementGone(id)));
                    }
                    Eligibility::Now if self.census.spawning >= MOST_SPAWNING => {
                        self.examine_first = place;
                        return;
                    }
                    Eligibility::Now => {
                        let (service, policy) =
                            (&mut self.services[id.0], &self.policy.services[id.0]);
                        service.rules = Arc::clone(&policy.rules);
                        service.stop_signal = policy.stop_signal;
                        service.attempt.up_at = None;
                        let late_at = self.execution_timeout(id);
                        let late_at = late_at.map(|span| TimeLimit::new(span, now));
                        self.set(id, State::Spawning { late_at });
                        actions.push(Action::Spawn(id));
                    }
                }
            }
            self.to_examine.remove(&place);
        }
    }

    /// The next place of a walk that begins at `begin` and wraps around once.
    fn next_to_examine(&self, begin: usize, last: Option<usize>) -> Option<usize> {
        let next = last.map_or(begin, |last| last + 1);
        let is_around = last.is_some_and(|last| last < begin);
        let first = |places: Range<usize>| self.to_examine.range(places).next().copied();
        match is_around {
            true => first(next..begin),
            false => first(next..usize::MAX).or_else(|| first(0..begin)),
        }
    }

    /// The service has changed: its group and dependent ones may be able to start.
    pub(super) fn examine_later(&mut self, id: ServiceId) {
        let Some(group) = self.order.group(id) else { return };
        let places = &self.order.place;
        self.to_examine.insert(places[group]);
        let dependents = &self.order.dependents[group];
        self.to_examine.extend(dependents.iter().map(|group| places[*group]));
    }

    /// The time limit for exec. One command has none, as without an init.
    fn execution_timeout(&self, id: ServiceId) -> Option<Duration> {
        let own = self.policy.services[id.0].start_timeout;
        (!self.policy.code_of_first).then(|| own.unwrap_or(EXECUTION_TIMEOUT))
    }

    fn turn(&self, group: usize, standings: &mut BTreeMap<usize, Standing>) -> Eligibility {
        for other in &self.order.after[group] {
            let standing = standings.entry(other.group);
            let standing = *standing.or_insert_with(|| self.standing(other.group));
            match standing {
                Standing { has_failed: true, .. } if other.is_required => {
                    return Eligibility::Never;
                }
                Standing { is_stopped: true, .. } if other.is_required => {
                    return Eligibility::Later;
                }
                Standing { is_pending: true, .. } => return Eligibility::Later,
                Standing { .. } => {}
            }
        }
        Eligibility::Now
    }

    fn standing(&self, group: usize) -> Standing {
        let mut standing = Standing::default();
        for id in &self.order.members[group] {
            match self.state(*id) {
                State::Running { ready: true, .. } if self.is_wanted(*id) => {}
                State::Gone(End::Stopped) => standing.is_stopped = true,
                State::Gone(End::Failed) if self.has_failed_alone(*id) => {
                    standing.is_stopped = true;
                }
                State::Gone(End::Done) if self.is_oneshot(*id) => {}
                State::Gone(_) => standing.has_failed = true,
                _ => standing.is_pending = true,
            }
        }
        standing
    }

    /// An operator starts the service. The last of several requests counts.
    pub(super) fn start_requested(&mut self, id: ServiceId) {
        if self.phase != Phase::Up {
            return;
        }
        let mut wanted = vec![id];
        while let Some(id) = wanted.pop() {
            let is_there = self.policy.services.get(id.0).is_some_and(|policy| !policy.is_retired);
            let Some(group) = self.order.group(id).filter(|_| is_there) else { continue };
            // Required services come before it in the order, so the recursion ends.
            let is_down = |id: &ServiceId| match self.state(*id) {
                State::Gone(end) => matches!(end, End::Stopped | End::Failed),
                // It is down soon.
                _ => matches!(self.services[id.0].ending, Some(Ending::Stop | Ending::Requirement)),
            };
            wanted.extend(self.order.required_by(group).filter(is_down));
            self.start_one(id);
        }
    }

    fn start_one(&mut self, id: ServiceId) {
        let service = &mut self.services[id.0];
        service.history.forgive();
        match service.state {
            State::Gone(_) | State::Backoff { .. } => {
                service.attempt.is_on_request = true;
                self.set(id, State::Waiting);
            }
            // It ends first, because of another request.
            state if state.is_alive() && service.ending.is_some() => {
                service.attempt.is_on_request = true;
                service.ending = Some(Ending::Restart);
            }
            _ => {}
        }
    }

    /// An operator stops the service, and perhaps restarts it.
    pub(super) fn end_requested(&mut self, id: ServiceId, ending: Ending) {
        if self.phase != Phase::Up {
            return;
        }
        self.services[id.0].attempt.is_on_request = true;
        match self.state(id) {
            State::Waiting | State::Backoff { .. } => self.set(id, State::Gone(End::Stopped)),
            // For its dependents a oneshot stays done.
            State::Gone(End::Done) if self.is_oneshot(id) => {}
            State::Gone(_) => self.set(id, State::Gone(End::Stopped)),
            _ => {
                let is_new = self.services[id.0].ending.is_none();
                self.services[id.0].ending = Some(ending);
                if is_new {
                    self.stop_requirers(id);
                }
            }
        }
    }

    pub(super) fn restart_requested(&mut self, id: ServiceId) {
        match self.state(id) {
            State::Running { .. } | State::Spawning { .. }
                if !self.policy.services[id.0].is_retired =>
            {
                self.end_requested(id, Ending::Restart);
            }
            _ => self.start_requested(id),
        }
    }

    /// Stops services that are due to stop, once all dependents that must end first have ended.
    /// Services of this stage of the shutdown, or of an earlier one, are stopped in any case.
    pub(super) fn stop_unblocked(
        &mut self,
        now: Instant,
        stage: Option<usize>,
        actions: &mut Vec<Action>,
    ) {
        if self.services.iter().all(|service| service.ending.is_none()) {
            return;
        }
        let mut is_in_the_way = vec![false; self.order.start.len()];
        // In a shutdown nothing starts, so the groups at the end that have ended stay so.
        let mut end = self.stages.as_ref().map_or(usize::MAX, |stages| stages.end);
        end = end.min(self.order.start.len());
        'walk: for place in (0..end).rev() {
            let index = self.order.start[place];
            let dependents = &self.order.dependents[index];
            let blocked = dependents.iter().any(|dependent| is_in_the_way[*dependent]);
            is_in_the_way[index] = blocked;
            for member in (0..self.order.members[index].len()).rev() {
                let id = self.order.members[index][member];
                let service = &self.services[id.0];
                if service.ending.is_none() {
                    continue;
                }
                is_in_the_way[index] |= service.state.is_alive();
                let forced = stage.is_some_and(|stage| self.order.stage[id.0] <= stage);
                if !blocked || forced {
                    self.request_stop(id, now, actions);
                } else if self.policy.in_file_order {
                    // All others are before it, so they are blocked too, and in later stages.
                    break 'walk;
                }
            }
            if end == place + 1 && !is_in_the_way[index] {
                end = place;
            }
        }
        if let Some(stages) = &mut self.stages {
            stages.end = end;
        }
    }

    /// Stops a service.
    fn request_stop(&mut self, id: ServiceId, now: Instant, actions: &mut Vec<Action>) {
        let drain = self.services[id.0].rules.drain;
        match self.state(id) {
            State::Running { .. } if drain.is_zero() => self.send_stop(id, now, actions),
            State::Running { .. } => {
                self.set(id, State::Draining { until: now + drain });
                actions.push(Action::Announce(Announcement::Draining(id, drain)));
            }
            State::Spawning { .. } => {
                self.begin_stop(id, now);
                // The shutdown has cancelled all of them.
                if self.phase == Phase::Up {
                    actions.push(Action::CancelStart(id));
                }
                if self.can_be_stopped_early(id) {
                    self.push_stop_request(id, now, actions);
                }
            }
            _ => {}
        }
    }

    pub(super) fn send_stop(&mut self, id: ServiceId, now: Instant, actions: &mut Vec<Action>) {
        self.begin_stop(id, now);
        self.push_stop_request(id, now, actions);
    }

    /// Its own grace begins.
    fn begin_stop(&mut self, id: ServiceId, now: Instant) {
        let own = self.services[id.0].rules.grace;
        let grace = match self.phase {
            // While the bundle is up there is no other deadline.
            Phase::Up => Some(own.unwrap_or(self.policy.grace)),
            _ => own,
        };
        let deadline = self.phase.deadline();
        let kill_at = grace
            .map(|grace| now + grace)
            .filter(|kill_at| deadline.is_none_or(|deadline| *kill_at < deadline));
        self.set(id, State::Stopping { kill_at, continue_at: None });
    }

    pub(super) fn push_stop_request(
        &mut self,
        id: ServiceId,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if self.services[id.0].rules.has_stop_command {
            actions.push(Action::Announce(Announcement::StopCommand(id)));
            actions.push(Action::RunStopCommand(id));
        } else {
            self.push_stop_signal(id, now, actions);
        }
    }

    /// Whether a stop has the same effect on a process before exec. Otherwise it waits for exec.
    pub(super) fn can_be_stopped_early(&self, id: ServiceId) -> bool {
        let service = &self.services[id.0];
        !service.rules.has_stop_command
            && service.stop_signal.unwrap_or(Signal::TERM).terminates_by_default()
    }

    fn push_stop_signal(&mut self, id: ServiceId, now: Instant, actions: &mut Vec<Action>) {
        let service = &self.services[id.0];
        let signal = service.stop_signal.unwrap_or(Signal::TERM);
        let target = service.rules.stop_target;
        actions.push(Action::Announce(Announcement::Stopping(id, signal)));
        actions.push(Action::Signal(id, signal, target));
        if let State::Stopping { kill_at, .. } = self.state(id) {
            let continue_at = Some(now + CONTINUE_AFTER);
            self.set(id, State::Stopping { kill_at, continue_at });
        }
    }

    /// A stopped process (SIGSTOP) handles its stop signal only after CONT, signal(7).
    pub(super) fn continue_one(&mut self, id: ServiceId, actions: &mut Vec<Action>) {
        if let State::Stopping { kill_at, .. } = self.state(id) {
            self.set(id, State::Stopping { kill_at, continue_at: None });
            let target = self.services[id.0].rules.stop_target;
            actions.push(Action::Signal(id, Signal::CONT, target));
        }
    }

    pub(super) fn stop_command_failed(
        &mut self,
        id: ServiceId,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if matches!(self.state(id), State::Stopping { .. }) {
            self.push_stop_signal(id, now, actions);
        }
    }
}
