//! Whose turn to start it is.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::event::{Action, Announcement, ServiceId};
use super::state::{End, State};
use super::{EXECUTION_TIMEOUT, Supervisor};
use crate::time_limit::TimeLimit;

/// How many services may be on their way to their programs at the same time. One whose program does
/// not come so holds up nobody, and the init makes the next child while the last one executes; more
/// would only be more copies of the init at once.
pub(super) const MOST_SPAWNING: usize = 16;

/// What a service's own requirements and order say about its start.
#[derive(Clone, Copy)]
enum Turn {
    Now,
    Later,
    Never,
}

/// What those wait for that come after a group.
#[derive(Clone, Copy, Default)]
struct Standing {
    /// Some of it is not ready yet.
    is_pending: bool,
    /// Some of it is down until an operator starts it.
    is_stopped: bool,
    /// Some of it has ended, and was not to.
    has_failed: bool,
}

impl Supervisor {
    /// Starts the services whose turn has come, in their order, as many as may be on their way.
    pub(super) fn start_next(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.census.spawning >= MOST_SPAWNING || self.census.waiting == 0 {
            return;
        }
        // Each group is looked at once, however many come after it.
        let mut standings = BTreeMap::new();
        // Whoever was not reached the last time comes first: else those that fail and come back would
        // take all places for ever.
        let begin = std::mem::take(&mut self.examine_first);
        let mut last = None;
        while let Some(place) = self.next_to_examine(begin, last) {
            last = Some(place);
            let group = self.order.start[place];
            let mut turn = None;
            for member in 0..self.order.groups[group].members.len() {
                let id = self.order.groups[group].members[member];
                if self.state(id) != State::Waiting {
                    continue;
                }
                match *turn.get_or_insert_with(|| self.turn(group, &mut standings)) {
                    Turn::Later => break,
                    Turn::Never => {
                        self.set(id, State::Gone(End::Failed));
                        actions.push(Action::Announce(Announcement::RequirementGone(id)));
                    }
                    Turn::Now if self.census.spawning >= MOST_SPAWNING => {
                        self.examine_first = place;
                        return;
                    }
                    Turn::Now => {
                        self.services[id.0].stop = self.policy.services[id.0].stop();
                        self.services[id.0].attempt.up_at = None;
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

    /// The place after the last one, for a walk that begins there and goes once around.
    fn next_to_examine(&self, begin: usize, last: Option<usize>) -> Option<usize> {
        let next = last.map_or(begin, |last| last + 1);
        let is_around = last.is_some_and(|last| last < begin);
        let first = |places: Range<usize>| self.to_examine.range(places).next().copied();
        match is_around {
            true => first(next..begin),
            false => first(next..usize::MAX).or_else(|| first(0..begin)),
        }
    }

    /// The service has changed: its group and those after it may have their turn now.
    pub(super) fn examine_later(&mut self, id: ServiceId) {
        let Some(group) = self.order.group_of.get(id.0) else { return };
        let places = &self.order.place;
        self.to_examine.insert(places[*group]);
        let dependents = &self.order.groups[*group].dependents;
        self.to_examine.extend(dependents.iter().map(|group| places[*group]));
    }

    /// How long it may take until the service's program runs. One command has as long as it
    /// takes, as without an init.
    fn execution_timeout(&self, id: ServiceId) -> Option<Duration> {
        let own = self.policy.services[id.0].start_timeout;
        (!self.policy.code_of_first).then(|| own.unwrap_or(EXECUTION_TIMEOUT))
    }

    fn turn(&self, group: usize, standings: &mut BTreeMap<usize, Standing>) -> Turn {
        for other in &self.order.groups[group].after {
            let standing = standings.entry(other.group);
            let standing = *standing.or_insert_with(|| self.standing(other.group));
            match standing {
                Standing { has_failed: true, .. } if other.is_required => return Turn::Never,
                Standing { is_stopped: true, .. } if other.is_required => return Turn::Later,
                Standing { is_pending: true, .. } => return Turn::Later,
                Standing { .. } => {}
            }
        }
        Turn::Now
    }

    fn standing(&self, group: usize) -> Standing {
        let mut standing = Standing::default();
        for id in &self.order.groups[group].members {
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
}
