//! Deadlines that are over, and the effect of a suspension on them.

use std::time::{Duration, Instant};

use super::event::{Action, Announcement, Cause, ServiceId};
use super::state::{Ending, Phase, State};
use super::{KILL_WAIT, Supervisor};

impl State {
    /// The same state with its deadline extended. A restart is not delayed further.
    fn put_off(mut self, gap: Duration, now: Instant) -> State {
        match &mut self {
            State::Spawning { late_at } | State::Running { late_at, .. } => {
                late_at.iter_mut().for_each(|limit| limit.put_off(gap, now));
            }
            State::Stopping { kill_at, .. } => {
                kill_at.iter_mut().for_each(|kill_at| *kill_at += gap);
            }
            State::Draining { until } => *until += gap,
            State::Waiting | State::Killed | State::Backoff { .. } | State::Gone(_) => {}
        }
        self
    }
}

impl Supervisor {
    /// Handles every service whose deadline is over.
    pub(super) fn expire(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Up | Phase::Stopping { .. }) {
            return;
        }
        for id in self.census.due(now) {
            let mut state = self.state(id);
            match &mut state {
                State::Spawning { late_at } | State::Running { late_at, .. } => {
                    let is_late = late_at.as_mut().is_some_and(|limit| limit.is_over(now));
                    *late_at = late_at.filter(|_| !is_late);
                    self.set(id, state);
                    if is_late && self.is_wanted(id) {
                        self.services[id.0].ending = Some(Ending::Unready);
                        self.failing.push(Cause::Unready(id));
                        actions.push(Action::Announce(Announcement::Unready(id)));
                    }
                }
                State::Draining { .. } => self.send_stop(id, now, actions),
                State::Stopping { kill_at, .. } if kill_at.is_none_or(|at| now < at) => {
                    self.continue_one(id, actions);
                }
                State::Stopping { .. } => {
                    self.set(id, State::Killed);
                    if self.phase != Phase::Up {
                        self.overran.push(id);
                    }
                    actions.push(Action::Announce(Announcement::Overran(id)));
                    actions.push(Action::Kill(id));
                }
                State::Backoff { .. } => self.set(id, State::Waiting),
                _ => {}
            }
        }
    }

    /// It requested more time (`EXTEND_TIMEOUT_USEC` of sd_notify(3)).
    pub(super) fn extended(&mut self, id: ServiceId, until: Instant) {
        let mut state = self.state(id);
        match &mut state {
            State::Running { late_at: Some(late_at), .. } => late_at.extend(until),
            State::Stopping { kill_at: Some(kill_at), .. } => *kill_at = until.max(*kill_at),
            _ => return,
        }
        self.set(id, state);
    }

    /// Extends all limits by a suspension until `now`: the init read its clock far too late, and most
    /// likely nothing else ran either. The shutdown takes at most twice its time, because the process
    /// that requested it may still be waiting.
    ///
    /// Call it before the facts that became known since.
    pub fn put_off(&mut self, gap: Duration, now: Instant) {
        let begin = self.shutdown_began.unwrap_or(now);
        let most = begin + 2 * self.policy.grace;
        match &mut self.phase {
            Phase::Up | Phase::Down => {}
            Phase::Stopping { deadline, advance_at, .. } => {
                *deadline = most.min(*deadline + gap);
                *advance_at = (*deadline).min(*advance_at + gap);
            }
            Phase::Sweeping { deadline } => *deadline = most.min(*deadline + gap),
            Phase::Killing { give_up } => *give_up = (most + 2 * KILL_WAIT).min(*give_up + gap),
        }
        let deadline = self.phase.deadline();
        let last = match self.phase {
            Phase::Killing { give_up } => Some(give_up),
            _ => deadline.map(|deadline| deadline + KILL_WAIT),
        };
        self.end_at_the_latest = self.end_at_the_latest.max(last);
        for index in 0..self.services.len() {
            let mut state = self.services[index].state.put_off(gap, now);
            if let State::Stopping { kill_at, .. } = &mut state {
                *kill_at = kill_at.filter(|at| deadline.is_none_or(|deadline| *at < deadline));
            }
            self.set(ServiceId(index), state);
            let up_at = self.services[index].attempt.up_at.iter_mut();
            up_at.filter(|up_at| **up_at + gap > now).for_each(|up_at| *up_at += gap);
        }
        self.unsettled = true;
    }
}
