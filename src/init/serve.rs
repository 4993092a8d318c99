//! What clients of the control socket get: their requests become the core's events, and answers
//! are made of what the init knows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use strict_toml::listed;

use super::control::Mode;
use super::waiting::{Waiting, Wish};
use super::{Init, answer};
use crate::control::{self, Change, Field, LogText, Request, SendSignal, Shutdown, Wait, no, yes};
use crate::error_text::error_text;
use crate::signal::Signal;
use crate::supervisor::{Event, ServiceId, State, Target};

/// How many requests of one client are answered before the others have their turn.
const BATCH: usize = 16;
/// How long answers are given before signals and exits have their turn. A status of hundreds of
/// services takes milliseconds, and 64 clients may want a batch of them.
const SHARE: Duration = Duration::from_millis(10);

impl Init {
    /// Serves the clients of which the poll has reported something, and those who wait.
    pub(super) fn serve(&mut self, now: Instant) {
        let Some(control) = &mut self.control else { return };
        if std::mem::take(&mut self.unfinished.clients) || control.has_room_again(now) {
            self.unfinished.clients = control.accept(now, self.event_loop.registry());
        }
        let until = Instant::now() + SHARE;
        for number in std::mem::take(&mut self.busy_clients) {
            if let Some(control) = &mut self.control {
                control.went_on(number, now);
            }
            self.answer_requests(number, now, until);
        }
        self.serve_those_who_wait(now);
        // Last, and not those who have said something that is still to be heard.
        if let Some(control) = &mut self.control {
            control.expire(now, &self.busy_clients);
        }
    }

    fn answer_requests(&mut self, number: usize, now: Instant, until: Instant) {
        for _ in 0..BATCH {
            if Instant::now() >= until {
                break;
            }
            let request = self.control.as_mut().and_then(|control| control.request(number, now));
            let Some(request) = request else { return };
            let answer = request
                .and_then(|line| control::parse(&line))
                .and_then(|request| self.carry_out(number, request, now));
            match answer {
                Ok(Some(answer)) => self.give(number, &answer, now),
                Ok(None) => {}
                Err(error) => self.give(number, &no(&error.into()), now),
            }
        }
        self.busy_clients.push(number);
    }

    /// The answer; `None` if it comes later, or is a stream.
    fn carry_out(
        &mut self,
        number: usize,
        request: Request,
        now: Instant,
    ) -> Result<Option<Value>, String> {
        Ok(match request {
            Request::Status => Some(yes(&answer::status(self, now))),
            Request::Health => Some(yes(&answer::health(self))),
            Request::Graph => Some(yes(&answer::graph(&self.plan))),
            Request::Timeline => Some(yes(&answer::timeline(self, now))),
            Request::Metrics => Some(yes(&answer::metrics(self, now))),
            Request::Start(change) => return self.change(number, change, Wish::Start, now),
            Request::Stop(change) => return self.change(number, change, Wish::Stop, now),
            Request::Restart(change) => return self.change(number, change, Wish::Restart, now),
            Request::Signal(SendSignal { services, signal }) => {
                self.signal_all(&self.ids(&services.0)?, signal)?;
                Some(yes(&()))
            }
            Request::Wait(Wait { service, goal, timeout }) => {
                let until = timeout.map(|timeout| now + timeout.0);
                self.wait_for(number, Waiting::for_goal(goal, self.ids(&[service])?, until));
                None
            }
            Request::Logs(logs) => {
                let id = self.id(logs.service)?;
                self.give_logs(number, id, logs.follow, now)?
            }
            Request::Events => {
                self.stream(number, Mode::Events);
                self.give(number, &yes(&()), now);
                None
            }
            Request::Reload => {
                self.ask_for_reload(Some(number))?;
                None
            }
            Request::Shutdown(Shutdown { code }) => {
                self.learnt.facts.push(Event::Shutdown(code));
                self.wait_for(number, Waiting::for_shutdown(code));
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
        wish: Wish,
        now: Instant,
    ) -> Result<Option<Value>, String> {
        let ids = self.ids(&change.services.0)?;
        if ids.iter().any(|id| self.plan.foreground == Some(*id)) {
            return Err("the main command ends the bundle with its end; it is not started, \
                        stopped or restarted by itself"
                .to_owned());
        }
        self.learnt.facts.extend(ids.iter().map(|id| wish.event(*id)));
        let waiting = self.waiting_for(wish, &ids, change.wait.map(|wait| wait.0), now);
        self.wait_for(number, waiting);
        Ok(None)
    }

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

    fn wait_for(&mut self, number: usize, waiting: Waiting) {
        if let Some(control) = &mut self.control {
            control.wait(number, waiting);
        }
    }

    pub(super) fn stream(&mut self, number: usize, mode: Mode) {
        if let Some(client) = self.control.as_mut().and_then(|control| control.client(number)) {
            client.mode = mode;
            client.take_time();
        }
    }

    fn give_logs(
        &mut self,
        number: usize,
        id: ServiceId,
        follow: bool,
        now: Instant,
    ) -> Result<Option<Value>, String> {
        if self.plan.bundle.services[id.0].log == crate::bundle::LogMode::Inherit {
            let name = self.plan.name(id);
            return Err(format!("service \"{name}\" writes for itself (log = \"inherit\")"));
        }
        let (bytes, next) = self.logs.since(id, 0);
        let answer = yes(&LogText { text: String::from_utf8_lossy(&bytes).into_owned() });
        if !follow {
            return Ok(Some(answer));
        }
        self.stream(number, Mode::Logs(id, next));
        self.give(number, &answer, now);
        Ok(None)
    }

    pub(super) fn give(&mut self, number: usize, answer: &Value, now: Instant) {
        if let Some(control) = &mut self.control {
            control.give(number, format!("{answer}\n").as_bytes(), now);
        }
    }

    fn serve_those_who_wait(&mut self, now: Instant) {
        let listeners = self.control.as_ref().map_or_else(Vec::new, |control| control.listeners());
        for number in listeners {
            let Some(client) = self.control.as_mut().and_then(|control| control.client(number))
            else {
                continue;
            };
            match (client.mode, client.waiting.clone()) {
                (Mode::Logs(id, from), _) => {
                    let (bytes, next) = self.logs.since(id, from);
                    if next > from {
                        client.mode = Mode::Logs(id, next);
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        self.give(number, &LogText { text }.encode(), now);
                    }
                }
                (_, Some(waiting)) => {
                    self.look_after(number, &waiting, now);
                }
                (Mode::Asking | Mode::Events | Mode::Reload, None) => {}
            }
        }
    }

    /// Answers one who waits, if there is an answer by now.
    fn look_after(&mut self, number: usize, waiting: &Waiting, now: Instant) {
        let answer = self.came_of(waiting, now);
        let next_up = self.next_up(waiting, now);
        let Some(control) = &mut self.control else { return };
        match answer {
            Some(answer) => {
                control.waited(number, now);
                self.give(number, &answer, now);
                // It may have asked for more while it waited.
                self.busy_clients.push(number);
            }
            None => control.look_again(number, next_up),
        }
    }

    pub(super) fn is_oneshot(&self, id: ServiceId) -> bool {
        self.plan.bundle.services[id.0].kind == crate::bundle::ServiceType::Oneshot
    }
}
