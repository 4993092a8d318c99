//! Clients whose answer comes later: what they wait for, and what has come of it.

use std::time::{Duration, Instant};

use serde_json::Value;
use strict_toml::listed;

use super::answer::{self, View};
use crate::announcement::cause_in_words;
use crate::control::{Goal, Refusal, no, yes};
use crate::supervisor::{Cause, End, Event, ServiceId, State};

const SHUTTING_DOWN: &str = "the bundle is shutting down";

/// What somebody wants to become of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Start,
    Stop,
    Restart,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Nothing but that the core was told of its request.
    Told,
    /// That the core was told of the shutdown with this code.
    Shutdown(u8),
    /// That the services are as it says, whoever has made them so.
    Are(Goal),
    /// That the services are up that it has started.
    Up,
    /// That the runs have ended that it has stopped.
    Ended,
}

/// An answer that comes later.
#[derive(Clone, Debug)]
pub(super) struct PendingAnswer {
    awaited: Awaited,
    /// Each service, and how many failed starts of it do not count.
    services: Vec<(ServiceId, u32)>,
    pub(super) until: Option<Instant>,
    /// When to look again, if nothing happens until then.
    pub(super) look_again_at: Option<Instant>,
}

impl Operation {
    pub(super) fn event(self, id: ServiceId) -> Event {
        match self {
            Operation::Start => Event::Start(id),
            Operation::Stop => Event::Stop(id),
            Operation::Restart => Event::Restart(id),
        }
    }
}

impl PendingAnswer {
    fn new(
        awaited: Awaited,
        services: Vec<(ServiceId, u32)>,
        until: Option<Instant>,
    ) -> PendingAnswer {
        PendingAnswer { awaited, services, until, look_again_at: None }
    }

    pub(super) fn for_shutdown(code: u8) -> PendingAnswer {
        PendingAnswer::new(Awaited::Shutdown(code), Vec::new(), None)
    }

    pub(super) fn for_goal(
        goal: Goal,
        ids: Vec<ServiceId>,
        until: Option<Instant>,
    ) -> PendingAnswer {
        let services = ids.into_iter().map(|id| (id, 0)).collect();
        PendingAnswer::new(Awaited::Are(goal), services, until)
    }
}

impl View<'_> {
    /// For whoever wants this to become of the services, and waits for it for so long; `None`: not
    /// at all.
    pub(super) fn waiting_for(
        &self,
        operation: Operation,
        ids: &[ServiceId],
        wait: Option<Duration>,
        now: Instant,
    ) -> PendingAnswer {
        let awaited = match (wait, operation) {
            (None, _) => Awaited::Told,
            (Some(_), Operation::Stop) => Awaited::Ended,
            (Some(_), Operation::Start | Operation::Restart) => Awaited::Up,
        };
        let services = ids.iter().map(|id| (*id, self.supervisor.failed_starts(*id).0)).collect();
        PendingAnswer::new(awaited, services, wait.map(|span| now + span))
    }

    /// The answer to one who waits, once there is one.
    pub(super) fn result_of(&self, waiting: &PendingAnswer, now: Instant) -> Option<Value> {
        // What was asked for is told to the core first.
        if !self.is_told {
            return None;
        }
        let refuse = |error: &str| Some(no(&error.to_owned().into()));
        let is_up = self.supervisor.shutdown_deadline().is_none();
        match waiting.awaited {
            Awaited::Shutdown(code) if self.supervisor.cause() != Some(Cause::Commanded(code)) => {
                return refuse(&format!("{SHUTTING_DOWN} already; its exit code stays as it is"));
            }
            Awaited::Told | Awaited::Up if !is_up => return refuse(SHUTTING_DOWN),
            Awaited::Told | Awaited::Shutdown(_) => return Some(yes(&())),
            Awaited::Are(_) | Awaited::Up | Awaited::Ended => {}
        }
        let mut missing = Vec::new();
        for (id, failures) in &waiting.services {
            match self.is_reached(*id, *failures, waiting.awaited, now) {
                Ok(true) => {}
                Ok(false) => missing.push(*id),
                Err(error) => return refuse(&error),
            }
        }
        if missing.is_empty() {
            return Some(yes(&()));
        }
        let is_late = waiting.until.is_some_and(|until| until <= now);
        let settles =
            self.next_up_at(waiting, now).map_or("", |_| "; it has not run for a second yet");
        let error = || format!("not in time: {}{settles}", self.where_they_are(&missing));
        is_late.then(|| no(&Refusal { error: error(), is_late }))
    }

    /// When the next of them is up, if it stays as it is.
    pub(super) fn next_up_at(&self, waiting: &PendingAnswer, now: Instant) -> Option<Instant> {
        let services = waiting.services.iter().filter(|_| waiting.awaited == Awaited::Up);
        let up_at = services.filter_map(|(id, _)| self.supervisor.up_at(*id));
        up_at.filter(|up_at| *up_at > now).min()
    }

    /// "web is ready, cache is stopped".
    pub(super) fn where_they_are(&self, ids: &[ServiceId]) -> String {
        let is =
            |id: &ServiceId| format!("{} is {}", self.plan.name(*id), answer::state(self, *id));
        let texts: Vec<String> = ids.iter().map(is).collect();
        listed(&texts.iter().map(String::as_str).collect::<Vec<_>>(), ", ")
    }

    /// Whether the service is where it is waited for; an error if it won't ever be.
    fn is_reached(
        &self,
        id: ServiceId,
        failures: u32,
        awaited: Awaited,
        now: Instant,
    ) -> Result<bool, String> {
        let state = self.supervisor.state(id);
        let is_to_end = self.supervisor.is_to_end(id);
        match awaited {
            // Another one has started it again since.
            Awaited::Ended => return Ok(!state.is_alive() || !is_to_end),
            Awaited::Are(Goal::Exited) => return Ok(!state.is_alive()),
            Awaited::Up if self.supervisor.failed_starts(id).0 > failures => {
                return Err(self.failed_start(id));
            }
            _ => {}
        }
        let never = |why: &str| Err(format!("service \"{}\" {why}", self.plan.name(id)));
        match state {
            State::Running { ready, .. } if awaited != Awaited::Up => Ok(ready && !is_to_end),
            State::Running { .. } => Ok(self.supervisor.up_at(id).is_some_and(|at| at <= now)),
            State::Gone(End::Done) if self.is_oneshot(id) => Ok(true),
            State::Gone(End::Failed) => never("has failed"),
            State::Gone(End::Stopped) => never("is stopped"),
            State::Gone(_) => never("has ended"),
            State::Waiting if awaited == Awaited::Up => match self.supervisor.missing(id) {
                Some(other) => {
                    never(&format!("waits for what it requires: {}", self.where_they_are(&[other])))
                }
                None => Ok(false),
            },
            _ => Ok(false),
        }
    }

    /// What has come of the last start of it that failed.
    fn failed_start(&self, id: ServiceId) -> String {
        let (_, cause) = self.supervisor.failed_starts(id);
        let mut text = cause.map_or_else(
            || self.where_they_are(&[id]),
            |cause| cause_in_words(cause, |id| self.plan.name(id)),
        );
        let refusal = self.refusals.get(&id);
        if let (Some(Cause::SpawnFailed(..)), Some(reason)) = (cause, refusal) {
            text.push_str(&format!(": {reason}"));
        }
        if matches!(self.supervisor.state(id), State::Backoff { .. }) {
            text.push_str("; it starts again, as its `restart` says");
        }
        text
    }
}
