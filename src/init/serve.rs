//! What clients of the control socket get: their requests become the core's events, and answers
//! are made of what the init knows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use strict_toml::listed;

use super::answer::{self, View};
use super::control::{Control, Mode};
use super::waiting::{Operation, PendingAnswer};
use crate::control::{self, Change, Field, LogText, Request, SendSignal, Shutdown, Wait, no, yes};
use crate::error_text::error_text;
use crate::log::Logs;
use crate::poll::Registry;
use crate::signal::Signal;
use crate::supervisor::{Event, ServiceId, State, Target};

/// How many requests of one client are answered before the others have their turn.
const BATCH: usize = 16;
/// How long answers are given before signals and exits have their turn. A status of hundreds of
/// services takes milliseconds, and 64 clients may want a batch of them.
const SHARE: Duration = Duration::from_millis(10);

/// What comes of serving that others have to do.
#[derive(Debug, Default)]
pub(super) struct Requested {
    /// What the core is to be told.
    pub(super) facts: Vec<Event>,
    /// The clients who want the bundle to be read again.
    pub(super) reloads: Vec<usize>,
}

impl Control {
    /// Serves the clients of which the poll has reported something, and those who wait.
    pub(super) fn serve(
        &mut self,
        view: View,
        logs: &Logs,
        registry: &Registry,
        now: Instant,
    ) -> Requested {
        let mut requested = Requested::default();
        self.let_in(now, registry);
        let until = Instant::now() + SHARE;
        for number in self.take_busy() {
            self.handle_report(number, now);
            self.answer_requests(number, view, logs, (now, until), &mut requested);
        }
        let is_told = view.is_told && requested.facts.is_empty();
        self.serve_those_who_wait(View { is_told, ..view }, logs, now);
        self.expire(now);
        requested
    }

    fn answer_requests(
        &mut self,
        number: usize,
        view: View,
        logs: &Logs,
        (now, until): (Instant, Instant),
        requested: &mut Requested,
    ) {
        for _ in 0..BATCH {
            if Instant::now() >= until {
                break;
            }
            let Some(request) = self.request(number, now) else { return };
            let answer = request
                .and_then(|line| control::parse(&line))
                .and_then(|request| self.carry_out(number, request, view, logs, now, requested));
            match answer {
                Ok(Some(answer)) => self.give(number, &answer, now),
                Ok(None) => {}
                Err(error) => self.give(number, &no(&error.into()), now),
            }
        }
        self.reported(number);
    }

    /// The answer; `None` if it comes later, or is a stream.
    fn carry_out(
        &mut self,
        number: usize,
        request: Request,
        view: View,
        logs: &Logs,
        now: Instant,
        requested: &mut Requested,
    ) -> Result<Option<Value>, String> {
        Ok(match request {
            Request::Status => Some(yes(&answer::status(&view, now))),
            Request::Health => Some(yes(&answer::health(&view))),
            Request::Graph => Some(yes(&answer::graph(view.plan))),
            Request::Timeline => Some(yes(&answer::timeline(&view, now))),
            Request::Metrics => Some(yes(&answer::metrics(&view, now))),
            Request::Start(change) => {
                self.change(number, change, Operation::Start, view, now, requested)?;
                None
            }
            Request::Stop(change) => {
                self.change(number, change, Operation::Stop, view, now, requested)?;
                None
            }
            Request::Restart(change) => {
                self.change(number, change, Operation::Restart, view, now, requested)?;
                None
            }
            Request::Signal(SendSignal { services, signal }) => {
                view.signal_all(&view.ids(&services.0)?, signal)?;
                Some(yes(&()))
            }
            Request::Wait(Wait { service, goal, timeout }) => {
                let until = timeout.map(|timeout| now + timeout.0);
                self.wait(number, PendingAnswer::for_goal(goal, view.ids(&[service])?, until));
                None
            }
            Request::Logs(wanted) => {
                let id = view.id(wanted.service)?;
                self.give_logs(number, id, wanted.follow, view, logs, now)?
            }
            Request::Events => {
                self.stream(number, Mode::Events);
                self.give(number, &yes(&()), now);
                None
            }
            Request::Reload => {
                self.stream(number, Mode::Reload);
                requested.reloads.push(number);
                None
            }
            Request::Shutdown(Shutdown { code }) => {
                requested.facts.push(Event::Shutdown(code));
                self.wait(number, PendingAnswer::for_shutdown(code));
                None
            }
        })
    }

    /// The answer comes when the core was told, if not later: until then nobody knows whether it
    /// still can be done.
    fn change(
        &mut self,
        number: usize,
        change: Change,
        operation: Operation,
        view: View,
        now: Instant,
        requested: &mut Requested,
    ) -> Result<(), String> {
        let ids = view.ids(&change.services.0)?;
        if ids.iter().any(|id| view.plan.foreground == Some(*id)) {
            return Err("the main command ends the bundle with its end; it is not started, \
                        stopped or restarted by itself"
                .to_owned());
        }
        requested.facts.extend(ids.iter().map(|id| operation.event(*id)));
        let waiting = view.waiting_for(operation, &ids, change.wait.map(|wait| wait.0), now);
        self.wait(number, waiting);
        Ok(())
    }

    fn stream(&mut self, number: usize, mode: Mode) {
        if let Some(client) = self.client(number) {
            client.mode = mode;
            client.take_time();
        }
    }

    fn give_logs(
        &mut self,
        number: usize,
        id: ServiceId,
        follow: bool,
        view: View,
        logs: &Logs,
        now: Instant,
    ) -> Result<Option<Value>, String> {
        if view.plan.bundle.services[id.0].log == crate::bundle::LogMode::Inherit {
            let name = view.plan.name(id);
            return Err(format!("service \"{name}\" writes for itself (log = \"inherit\")"));
        }
        let (bytes, next) = logs.since(id, 0);
        let answer = yes(&LogText { text: String::from_utf8_lossy(&bytes).into_owned() });
        if !follow {
            return Ok(Some(answer));
        }
        self.stream(number, Mode::Logs(id, next));
        self.give(number, &answer, now);
        Ok(None)
    }

    /// Gives it this as one line.
    pub(super) fn give(&mut self, number: usize, answer: &Value, now: Instant) {
        self.give_bytes(number, format!("{answer}\n").as_bytes(), now);
    }

    fn serve_those_who_wait(&mut self, view: View, logs: &Logs, now: Instant) {
        for number in self.listeners() {
            let Some(client) = self.client(number) else { continue };
            match (client.mode, client.waiting.clone()) {
                (Mode::Logs(id, from), _) => {
                    let (bytes, next) = logs.since(id, from);
                    if next > from {
                        client.mode = Mode::Logs(id, next);
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        self.give(number, &LogText { text }.encode(), now);
                    }
                }
                (_, Some(waiting)) => match view.result_of(&waiting, now) {
                    Some(answer) => self.answer_later(number, &answer, now),
                    None => self.look_again(number, view.next_up_at(&waiting, now)),
                },
                (Mode::Asking | Mode::Events | Mode::Reload, None) => {}
            }
        }
    }

    /// Gives its answer to one who has waited.
    pub(super) fn answer_later(&mut self, number: usize, answer: &Value, now: Instant) {
        self.waited(number, now);
        self.give(number, answer, now);
        // It may have asked for more while it waited.
        self.reported(number);
    }
}

impl View<'_> {
    /// Signals all of them, or none if one does not run.
    fn signal_all(&self, ids: &[ServiceId], signal: Signal) -> Result<(), String> {
        let runs = |id: ServiceId| match self.supervisor.state(id) {
            State::Running { .. } | State::Draining { .. } | State::Stopping { .. } => {
                self.children.main(id).is_some()
            }
            _ => false,
        };
        let absent: Vec<ServiceId> = ids.iter().copied().filter(|id| !runs(*id)).collect();
        if !absent.is_empty() {
            return Err(format!("no signal was sent: {}", self.where_they_are(&absent)));
        }
        let (mut reached, mut refusals) = (Vec::new(), Vec::new());
        for id in ids {
            let name = self.plan.name(*id);
            match self.children.signal(*id, signal, Target::Process) {
                Ok(()) => reached.push(name),
                Err(error) => refusals.push(format!("{name}: {}", error_text(&error))),
            }
        }
        if refusals.is_empty() {
            return Ok(());
        }
        let reached = if reached.is_empty() { "nobody".to_owned() } else { reached.join(", ") };
        Err(format!("can't send {signal} to {}; it was sent to {reached}", refusals.join(", ")))
    }

    /// The services of these names, each once; that of a service with instances means them all.
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

    /// The one service of this name.
    fn id(&self, name: String) -> Result<ServiceId, String> {
        match self.ids(&[name])?[..] {
            [id] => Ok(id),
            ref ids => {
                let names: Vec<String> = ids.iter().map(|id| self.plan.name(*id)).collect();
                Err(format!("there are several: {}; name one of them", names.join(", ")))
            }
        }
    }
}
