//! A story for the core: facts, times, and the actions that follow.

#![allow(dead_code, clippy::expect_used)]

use std::time::{Duration, Instant};

use sidecar_init::exit::ExitStatus;
use sidecar_init::signal::Signal;
use sidecar_init::supervisor::{
    Action, Changes, Event, Outcome, Policy, ServiceId, Supervisor, Target,
};

/// A core, its clock, and the actions that it has given and nobody has read.
pub struct Story {
    pub core: Supervisor,
    begin: Instant,
    now: Instant,
    pub actions: Vec<Action>,
}

/// The service with this number.
pub const fn id(number: usize) -> ServiceId {
    ServiceId(number)
}

impl Story {
    pub fn new(policy: Policy) -> Story {
        let now = Instant::now();
        let mut story =
            Story { core: Supervisor::new(policy), begin: now, now, actions: Vec::new() };
        story.core.tick(now, &mut story.actions);
        story
    }

    /// A bundle of this many, all of them started.
    pub fn up(policy: Policy) -> Story {
        let count = policy.services.len();
        let mut story = Story::new(policy);
        for number in 0..count {
            story.tell(Event::Spawned(id(number)));
        }
        story.actions.clear();
        story
    }

    pub fn tell(&mut self, event: Event) -> &mut Story {
        self.tell_all(&[event])
    }

    /// Facts that are learnt at once.
    pub fn tell_all(&mut self, events: &[Event]) -> &mut Story {
        for event in events {
            self.core.handle(*event, self.now, &mut self.actions);
        }
        self.core.tick(self.now, &mut self.actions);
        self
    }

    pub fn reload(&mut self, policy: Policy, changes: &Changes) -> &mut Story {
        self.core.reload(policy, changes, self.now);
        self.core.tick(self.now, &mut self.actions);
        self
    }

    pub fn exits(&mut self, number: usize, code: u8) -> &mut Story {
        self.tell(Event::Exited(id(number), ExitStatus::Code(code)))
    }

    pub fn signal(&mut self, signal: Signal) -> &mut Story {
        self.tell(Event::Signaled(signal))
    }

    /// Lets the time come that is so many milliseconds after the beginning.
    pub fn at(&mut self, millis: u64) -> &mut Story {
        self.now = self.begin + Duration::from_millis(millis);
        self.core.tick(self.now, &mut self.actions);
        self
    }

    /// Lets the time come that is so many milliseconds after the beginning, when nobody has run for
    /// the last `gap` of them.
    pub fn at_after_gap(&mut self, millis: u64, gap: u64) -> &mut Story {
        let now = self.begin + Duration::from_millis(millis);
        self.core.put_off(Duration::from_millis(gap), now);
        self.at(millis)
    }

    /// The actions since the last look, in short; what is told, checked and continued is left out.
    pub fn actions(&mut self) -> Vec<String> {
        let short = |action: &Action| match action {
            Action::Spawn(id) => Some(format!("spawn {}", id.0)),
            Action::CancelStart(id) => Some(format!("cancel {}", id.0)),
            Action::Signal(_, Signal::CONT, _) => None,
            Action::Signal(id, signal, Target::Process) => Some(format!("{signal} {}", id.0)),
            Action::Signal(id, signal, Target::Group) => Some(format!("{signal} group {}", id.0)),
            Action::Kill(id) => Some(format!("kill {}", id.0)),
            Action::RunStopCommand(id) => Some(format!("stop-command {}", id.0)),
            Action::TerminateRest => Some("terminate rest".to_owned()),
            Action::KillAll => Some("kill all".to_owned()),
            Action::Reload => Some("reload".to_owned()),
            Action::CheckReadiness(_)
            | Action::CheckLiveness(_)
            | Action::EndChecks
            | Action::CancelReload
            | Action::Announce(_) => None,
        };
        std::mem::take(&mut self.actions).iter().filter_map(short).collect()
    }

    /// Who got CONT since the last look at the actions.
    pub fn continued(&self) -> Vec<usize> {
        let continued = |action: &Action| match action {
            Action::Signal(id, Signal::CONT, _) => Some(id.0),
            _ => None,
        };
        self.actions.iter().filter_map(continued).collect()
    }

    pub fn due_in(&self) -> Option<u128> {
        self.core.deadline().map(|deadline| (deadline - self.begin).as_millis())
    }

    /// How many milliseconds after the beginning that is.
    pub fn since_begin(&self, at: Instant) -> u128 {
        (at - self.begin).as_millis()
    }

    /// How many milliseconds have passed.
    pub fn millis(&self) -> u128 {
        (self.now - self.begin).as_millis()
    }

    pub fn outcome(&self) -> Outcome {
        self.core.outcome().expect("it has ended")
    }
}

/// No actions.
pub const NOTHING: [&str; 0] = [];
/// No services.
pub const NOBODY: [usize; 0] = [];
