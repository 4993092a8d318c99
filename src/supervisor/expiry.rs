//! What happens because of the time: limits that are over, and what a time in which nobody ran means
//! for them.

use std::time::{Duration, Instant};

use super::event::{Action, Announcement, Cause, ServiceId};
use super::state::{Ending, Phase, State};
use super::{KILL_WAIT, Supervisor};

impl State {
    /// The same, with so much more time until it ends by itself. A restart need not wait longer.
    fn put_off(mut self, gap: Duration, now: Instant) -> State {
        match &mut self {
            State::Spawning { late_at } | State::Running { late_at, .. } => {
                late_at.iter_mut().for_each(|limit| limit.put_off(gap, now));
            }
            State::Stopping { kill_at } => kill_at.iter_mut().for_each(|kill_at| *kill_at += gap),
            State::Draining { until } => *until += gap,
            State::Waiting | State::Killed | State::Backoff { .. } | State::Gone(_) => {}
        }
        self
    }
}

impl Supervisor {
    /// Goes on with every service whose time in a state is over.
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

    /// It asked for more time for what it is doing (`EXTEND_TIMEOUT_USEC` of sd_notify(3)).
    pub(super) fn extended(&mut self, id: ServiceId, until: Instant) {
        let mut state = self.state(id);
        match &mut state {
            State::Running { late_at: Some(late_at), .. } => late_at.extend(until),
            State::Stopping { kill_at: Some(kill_at) } => *kill_at = until.max(*kill_at),
            _ => return,
        }
        self.set(id, state);
    }

    /// Nobody ran for so long until `now`: the init looked at its clock far too late, and so did
    /// all that is below it, most likely. Nobody had that time, and everybody gets it again; but a
    /// shutdown takes no longer than twice its time, for whoever asked for it may still wait.
    ///
    /// To be called before the facts are told that were learnt since.
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
            if let State::Stopping { kill_at } = &mut state {
                *kill_at = kill_at.filter(|at| deadline.is_none_or(|deadline| *at < deadline));
            }
            self.set(ServiceId(index), state);
            let up_at = self.services[index].attempt.up_at.iter_mut();
            up_at.filter(|up_at| **up_at + gap > now).for_each(|up_at| *up_at += gap);
        }
        self.unsettled = true;
    }
}
