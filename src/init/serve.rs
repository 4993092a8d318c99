//! Answers for clients of the control socket: requests become events for the core, and answers are made
//! from the init's state. Some answers are deferred until the request has taken effect.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use strict_toml::listed;

use super::SHUTTING_DOWN;
use super::control::{Awaited, Control, Mode, PendingAnswer};
use super::view::{self, View};
use crate::announcement::cause_in_words;
use crate::bundle::LogMode;
use crate::log::Logs;
use crate::poll::Registry;
use crate::protocol::{
    self, Change, Goal, LogText, Refusal, Request, SendSignal, Shutdown, Wait, json, no, yes,
};
use crate::signal::Signal;
use crate::supervisor::{Cause, End, Event, ServiceId, State};

/// How long to answer before signals and exits are handled. A status of hundreds of services takes
/// milliseconds, and each client may want very many.
const SHARE: Duration = Duration::from_millis(10);

/// Requests of clients that other components carry out.
#[derive(Debug, Default)]
pub(super) struct Requested {
    /// For the core.
    pub(super) facts: Vec<Event>,
    /// The clients that requested a reload.
    pub(super) reloads: Vec<usize>,
    /// Requests to signal services.
    pub(super) signals: Vec<(usize, Vec<ServiceId>, Signal)>,
}

/// The state that answers use, and the requests of one turn.
struct Serving<'a> {
    view: View<'a>,
    logs: &'a Logs,
    now: Instant,
    requested: Requested,
}

impl Control {
    /// Serves the clients that the poll has reported, and the waiting ones.
    pub(super) fn serve(
        &mut self,
        view: View,
        logs: &Logs,
        registry: &Registry,
        now: Instant,
    ) -> Requested {
        let mut serving = Serving { view, logs, now, requested: Requested::default() };
        self.accept(now, registry);
        let until = Instant::now() + SHARE;
        // One request of each client in turn: a client that sends many does not delay the others.
        while let Some(number) = self.next_ready() {
            self.handle_report(number, now);
            if self.answer_request(number, &mut serving) {
                self.client_ready(number);
            }
            if Instant::now() >= until {
                break;
            }
        }
        serving.view.is_told &= serving.requested.facts.is_empty();
        self.answer_deferred(&serving);
        self.expire(now);
        serving.requested
    }

    /// Whether there was a request.
    fn answer_request(&mut self, number: usize, serving: &mut Serving) -> bool {
        let Some(request) = self.request(number, serving.now) else { return false };
        let answer = request
            .and_then(|line| protocol::parse(&line))
            .and_then(|request| self.carry_out(number, request, serving));
        match answer {
            Ok(Some(answer)) => self.give(number, &answer, serving.now),
            Ok(None) => {}
            Err(error) => self.give(number, &no(&error.into()), serving.now),
        }
        true
    }

    /// The answer; `None` if it is deferred, or a stream.
    fn carry_out(
        &mut self,
        number: usize,
        request: Request,
        serving: &mut Serving,
    ) -> Result<Option<Value>, String> {
        let (view, now) = (serving.view, serving.now);
        Ok(match request {
            Request::Status => Some(yes(&view::status(&view, now))),
            Request::Health => Some(yes(&view::health(&view))),
            Request::Graph => Some(yes(&view::graph(view.plan))),
            Request::Timeline => Some(yes(&view::timeline(&view, now))),
            Request::Metrics => Some(yes(&view::metrics(&view, now))),
            Request::Start(change) => self.change(number, change, Event::Start, serving)?,
            Request::Stop(change) => self.change(number, change, Event::Stop, serving)?,
            Request::Restart(change) => self.change(number, change, Event::Restart, serving)?,
            Request::Signal(SendSignal { services, signal }) => {
                serving.requested.signals.push((number, view.ids(&services)?, signal));
                self.set_mode(number, Mode::Promised);
                None
            }
            Request::Reload => {
                serving.requested.reloads.push(number);
                self.set_mode(number, Mode::Promised);
                None
            }
            Request::Wait(Wait { service, goal, timeout }) => {
                let until = timeout.map(|timeout| now + timeout);
                let pending = PendingAnswer::for_goal(goal, view.ids(&[service])?, until);
                self.defer_answer(number, pending);
                None
            }
            Request::Shutdown(Shutdown { code }) => {
                serving.requested.facts.push(Event::Shutdown(code));
                self.defer_answer(number, PendingAnswer::for_shutdown(code));
                None
            }
            Request::Events => {
                self.set_mode(number, Mode::Events);
                self.give(number, &yes(&()), now);
                None
            }
            Request::Logs(wanted) => {
                let id = view.id(wanted.service)?;
                self.give_logs(number, id, wanted.follow, serving)?
            }
        })
    }

    /// The answer is deferred at least until the core knows the request: only then is it known whether
    /// it is possible.
    fn change(
        &mut self,
        number: usize,
        change: Change,
        event: fn(ServiceId) -> Event,
        serving: &mut Serving,
    ) -> Result<Option<Value>, String> {
        let (view, now) = (serving.view, serving.now);
        let ids = view.ids(&change.services)?;
        if ids.iter().any(|id| view.plan.foreground == Some(*id)) {
            return Err("the main command can't be started, stopped or restarted; its exit \
                        ends the bundle"
                .to_owned());
        }
        let events: Vec<Event> = ids.iter().map(|id| event(*id)).collect();
        let awaited = match (change.wait, events.first()) {
            (None, _) => Awaited::Told,
            (Some(_), Some(Event::Stop(_))) => Awaited::Ended,
            (Some(_), _) => Awaited::Up,
        };
        serving.requested.facts.extend(events);
        let services =
            ids.into_iter().map(|id| (id, view.supervisor.failed_starts(id).0)).collect();
        let until = change.wait.map(|wait| now + wait);
        self.defer_answer(number, PendingAnswer::new(awaited, services, until));
        Ok(None)
    }

    fn give_logs(
        &mut self,
        number: usize,
        id: ServiceId,
        follow: bool,
        serving: &Serving,
    ) -> Result<Option<Value>, String> {
        let plan = serving.view.plan;
        if plan.bundle.services[id.0].log == LogMode::Inherit {
            let name = plan.name(id);
            return Err(format!(
                "the init does not see the output of service \"{name}\" (log = \"inherit\")"
            ));
        }
        let (bytes, next) = serving.logs.since(id, 0);
        let answer = yes(&LogText { text: String::from_utf8_lossy(&bytes).into_owned() });
        if !follow {
            return Ok(Some(answer));
        }
        self.set_mode(number, Mode::Logs(id, next));
        self.give(number, &answer, serving.now);
        Ok(None)
    }

    /// Sends this as one line.
    pub(super) fn give(&mut self, number: usize, answer: &Value, now: Instant) {
        self.give_bytes(number, format!("{answer}\n").as_bytes(), now);
    }

    fn answer_deferred(&mut self, serving: &Serving) {
        let (view, now) = (serving.view, serving.now);
        for number in self.followers() {
            let Some(client) = self.client(number) else { continue };
            match (client.mode, client.waiting.clone()) {
                (Mode::Logs(id, from), _) => {
                    let (bytes, next) = serving.logs.since(id, from);
                    if next > from {
                        client.mode = Mode::Logs(id, next);
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        self.give(number, &json(&LogText { text }), now);
                    }
                }
                (_, Some(waiting)) => match view.result_of(&waiting, now) {
                    Some(answer) => self.send_deferred_answer(number, &answer, now),
                    None => self.look_again(number, view.next_up_at(&waiting, now)),
                },
                (Mode::Asking | Mode::Events | Mode::Promised, None) => {}
            }
        }
    }

    /// Sends the answer to a client that has waited.
    pub(super) fn send_deferred_answer(&mut self, number: usize, answer: &Value, now: Instant) {
        self.end_deferral(number, now);
        self.give(number, answer, now);
        // It may have sent more requests while it waited.
        self.client_ready(number);
    }
}

impl View<'_> {
    /// The services with these names, without duplicates; the name of a service with instances means
    /// all of them.
    fn ids(&self, names: &[String]) -> Result<Vec<ServiceId>, String> {
        let mut unknown: BTreeSet<&String> = names.iter().collect();
        let wanted = unknown.clone();
        let mut ids = Vec::new();
        for id in self.plan.ids() {
            let service = &self.plan.bundle.services[id.0];
            let own_names = [Some(&service.name), service.instance_of.as_ref()];
            let mut is_wanted = false;
            for name in own_names.into_iter().flatten().filter(|name| wanted.contains(name)) {
                unknown.remove(name);
                is_wanted = true;
            }
            ids.extend(is_wanted.then_some(id));
        }
        let Some(name) = names.iter().find(|name| unknown.contains(name)) else { return Ok(ids) };
        let known: Vec<String> = self.plan.ids().map(|id| self.plan.name(id)).collect();
        let known = listed(&known.iter().map(String::as_str).collect::<Vec<_>>(), ", ");
        Err(format!("there is no service \"{name}\"; there are {known}"))
    }

    /// The single service with this name.
    fn id(&self, name: String) -> Result<ServiceId, String> {
        match self.ids(&[name])?[..] {
            [id] => Ok(id),
            ref ids => {
                let names: Vec<String> = ids.iter().map(|id| self.plan.name(*id)).collect();
                Err(format!("there are several: {}; name one of them", names.join(", ")))
            }
        }
    }

    /// "web is ready, cache is stopped".
    pub(super) fn where_they_are(&self, ids: &[ServiceId]) -> String {
        let is = |id: &ServiceId| format!("{} is {}", self.plan.name(*id), view::state(self, *id));
        let texts: Vec<String> = ids.iter().map(is).collect();
        listed(&texts.iter().map(String::as_str).collect::<Vec<_>>(), ", ")
    }

    /// The answer to a waiting client, if there is one already.
    pub(super) fn result_of(&self, waiting: &PendingAnswer, now: Instant) -> Option<Value> {
        // The core must know the request first.
        if !self.is_told {
            return None;
        }
        let refuse = |error: &str| Some(no(&error.to_owned().into()));
        let is_up = self.supervisor.shutdown_deadline().is_none();
        match waiting.awaited {
            Awaited::Shutdown(code) if self.supervisor.cause() != Some(Cause::Commanded(code)) => {
                return refuse(&format!("{SHUTTING_DOWN} already; its exit code can't change"));
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

    /// When the next of the services counts as up, without further events.
    pub(super) fn next_up_at(&self, waiting: &PendingAnswer, now: Instant) -> Option<Instant> {
        let services = waiting.services.iter().filter(|_| waiting.awaited == Awaited::Up);
        let up_at = services.filter_map(|(id, _)| self.supervisor.up_at(*id));
        up_at.filter(|up_at| *up_at > now).min()
    }

    /// Whether the service has reached the goal; an error if it never will.
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
            // Another client has started it again.
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
                Some(other) => never(&format!(
                    "waits for a required service: {}",
                    self.where_they_are(&[other])
                )),
                None => Ok(false),
            },
            _ => Ok(false),
        }
    }

    /// The reason of its last failed start.
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
