//! How a start goes on after the order is given: held up by what the last run has left behind, then
//! forked, and some time later executed, or not.

use std::time::{Duration, Instant};

use sidecar_init::bundle::ServiceType;
use sidecar_init::exit::ExitStatus;
use sidecar_init::supervisor::{Event, ServiceId};

use super::{BUSY, Process, World};

/// What is to happen before a service's program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// No process is made before this time, for something of the last run is in the way.
    HeldUp(Instant),
    /// There is a process, which executes the program at this time, or fails to; `None`: never.
    Forked(Option<(Instant, bool)>),
}

impl World {
    /// Where a start begins that is ordered now.
    pub(super) fn begin_start(&mut self, id: ServiceId) -> Start {
        match self.left_behind[id.0].filter(|until| *until > self.now) {
            Some(until) => Start::HeldUp(until),
            None => Start::Forked(self.execution()),
        }
    }

    /// Where a start is that was ordered.
    pub(super) fn go_on_with_start(&mut self, id: ServiceId, facts: &mut Vec<Event>) {
        let Some(process) = &mut self.processes[id.0] else { return };
        let Some(start) = process.start else { return };
        // Nobody can tell whether one that was killed on its way was there already.
        let is_killed = process.ends_at.is_some_and(|(at, _)| at <= self.now);
        match start {
            Start::HeldUp(at) if at <= self.now => {
                assert!(self.shutdown_at.is_none(), "{id:?} is started during the shutdown");
                let start = Some(Start::Forked(self.execution()));
                self.processes[id.0].iter_mut().for_each(|process| process.start = start);
                self.go_on_with_start(id, facts);
            }
            Start::Forked(_) if is_killed => {
                process.start = None;
                facts.push(Event::Spawned(id));
            }
            Start::Forked(Some((at, true))) if at <= self.now => self.execute(id, facts),
            Start::Forked(Some((at, false))) if at <= self.now => {
                self.processes[id.0] = None;
                facts.push(Event::SpawnFailed(id, 127));
            }
            Start::HeldUp(_) | Start::Forked(_) => {}
        }
    }

    /// When a process executes its program, and whether that works.
    fn execution(&mut self) -> Option<(Instant, bool)> {
        if self.random.one_in(20) {
            return None;
        }
        let takes_time = self.random.one_in(4);
        let span = if takes_time { self.random.millis(4000) } else { Duration::ZERO };
        Some((self.now + span, !self.random.one_in(15)))
    }

    fn execute(&mut self, id: ServiceId, facts: &mut Vec<Event>) {
        let is_alone = self.left_behind[id.0].is_none_or(|until| until <= self.now);
        assert!(is_alone, "{id:?} meets what its last run has left behind");
        let policy = self.policy.services[id.0].clone();
        let ready_after = self.random.millis(3000);
        let life = self.random.millis(20_000);
        let code = ExitStatus::Code(self.random.below(3) as u8);
        let is_oneshot = policy.kind == ServiceType::Oneshot;
        let ends = is_oneshot || (self.random.one_in(3) && self.now < self.begin + BUSY);
        let becomes_ready = policy.has_readiness && !self.random.one_in(8);
        self.processes[id.0] = Some(Process {
            start: None,
            ready_at: becomes_ready.then(|| self.now + ready_after),
            ends_at: ends.then(|| (self.now + life, code)),
            is_asked: false,
        });
        facts.push(Event::Spawned(id));
    }

    pub(super) fn cancel_start(&mut self, id: ServiceId) {
        let start = self.processes[id.0].as_ref().and_then(|process| process.start);
        if matches!(start, Some(Start::HeldUp(_))) {
            self.processes[id.0] = None;
            self.pending.push(Event::SpawnFailed(id, 125));
        }
    }
}
