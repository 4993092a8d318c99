//! The history of each service.

use std::time::{Duration, Instant};

use crate::exit::ExitStatus;
use crate::supervisor::ServiceId;

/// How many runs of a service are stored.
const RUNS: usize = 16;

/// One run of a service: when it was started, ready, stopped and ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) started: Instant,
    pub(super) ready: Option<Instant>,
    pub(super) asked: Option<Instant>,
    pub(super) ended: Option<(Instant, ExitStatus)>,
}

#[derive(Debug, Default)]
pub(super) struct Past {
    /// The last runs, the oldest first.
    pub(super) runs: Vec<Run>,
    /// The number of all runs.
    pub(super) count: u32,
}

#[derive(Debug, Default)]
pub(super) struct History(Vec<Past>);

impl History {
    pub(super) fn started(&mut self, id: ServiceId, now: Instant) {
        let past = self.past_mut(id);
        if past.runs.len() == RUNS {
            past.runs.remove(0);
        }
        // Most services run once; otherwise there would be space for four.
        past.runs.reserve_exact(1);
        past.runs.push(Run { started: now, ready: None, asked: None, ended: None });
        past.count += 1;
    }

    pub(super) fn ready(&mut self, id: ServiceId, now: Instant) {
        if let Some(run) = self.current(id) {
            run.ready = Some(now);
        }
    }

    pub(super) fn asked(&mut self, id: ServiceId, now: Instant) {
        if let Some(run) = self.current(id) {
            run.asked.get_or_insert(now);
        }
    }

    pub(super) fn ended(&mut self, id: ServiceId, now: Instant, status: ExitStatus) {
        if let Some(run) = self.current(id) {
            run.ended = Some((now, status));
        }
    }

    /// The length of the last run that has ended.
    pub(super) fn last_lifetime(&self, id: ServiceId) -> Option<Duration> {
        let run = self.past(id)?.runs.iter().rev().find(|run| run.ended.is_some())?;
        Some(run.ended?.0.saturating_duration_since(run.started))
    }

    /// The exit status of the last run that has ended.
    pub(super) fn last_exit(&self, id: ServiceId) -> Option<ExitStatus> {
        self.past(id)?.runs.iter().rev().find_map(|run| run.ended).map(|(_, status)| status)
    }

    /// The current run.
    pub(super) fn running(&self, id: ServiceId) -> Option<&Run> {
        self.past(id)?.runs.last().filter(|run| run.ended.is_none())
    }

    /// The id is reused for another service.
    pub(super) fn forget(&mut self, id: ServiceId) {
        *self.past_mut(id) = Past::default();
    }

    pub(super) fn past(&self, id: ServiceId) -> Option<&Past> {
        self.0.get(id.0)
    }

    fn current(&mut self, id: ServiceId) -> Option<&mut Run> {
        self.past_mut(id).runs.last_mut().filter(|run| run.ended.is_none())
    }

    fn past_mut(&mut self, id: ServiceId) -> &mut Past {
        if self.0.len() <= id.0 {
            self.0.resize_with(id.0 + 1, Past::default);
        }
        &mut self.0[id.0]
    }
}
