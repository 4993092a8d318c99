//! What clients of the control socket get: their requests become the core's events, and answers
//! are made of what the init knows.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::control::{Control, Mode, Waiting};
use super::{Init, answer, hooks};
use crate::control::{self, Change, Goal, Request};
use crate::log::TimeStamp;
use crate::supervisor::{End, Event, ServiceId, State, Target};

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
            self.unfinished.clients = control.accept(now, self.poll.registry());
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
                Err(error) => self.give(number, &json!({"ok": false, "error": error}), now),
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
        let done = || Some(json!({"ok": true}));
        Ok(match request {
            Request::Status => Some(answer::status(self, now)),
            Request::Health => Some(answer::health(self)),
            Request::Graph => Some(answer::graph(&self.plan)),
            Request::Timeline => Some(json!({"ok": true, "text": answer::timeline(self, now)})),
            Request::Metrics => Some(json!({"ok": true, "text": answer::metrics(self, now)})),
            Request::Start(change) => {
                self.change(number, change, Event::Start, Goal::Ready, now)?
            }
            Request::Stop(change) => self.change(number, change, Event::Stop, Goal::Exited, now)?,
            Request::Restart(change) => {
                self.change(number, change, Event::Restart, Goal::Ready, now)?
            }
            Request::Signal(names, signal) => {
                for id in self.ids(&names)? {
                    if self.processes.get(id).is_none() {
                        return Err(format!("service \"{}\" does not run", self.plan.name(id)));
                    }
                    self.signal(id, signal, Target::Process);
                }
                done()
            }
            Request::Wait(name, goal, timeout) => {
                let until = timeout.map(|timeout| now + timeout);
                let services = self.ids(&[name])?.into_iter().map(|id| (id, 0)).collect();
                self.wait_for(number, Waiting { services, goal, until });
                None
            }
            Request::Logs(name, follow) => {
                let id = self.id(name)?;
                self.give_logs(number, id, follow, now)?
            }
            Request::Events => {
                self.stream(number, Mode::Events);
                self.give(number, &json!({"ok": true}), now);
                None
            }
            Request::Reload => {
                let mut answer = self.reload()?;
                answer["ok"] = true.into();
                Some(answer)
            }
            Request::Shutdown(code) => {
                self.facts.push(Event::Shutdown(code));
                done()
            }
        })
    }

    fn change(
        &mut self,
        number: usize,
        change: Change,
        event: fn(ServiceId) -> Event,
        goal: Goal,
        now: Instant,
    ) -> Result<Option<Value>, String> {
        if self.supervisor.shutdown_deadline().is_some() {
            return Err("the bundle is shutting down".to_owned());
        }
        let ids = self.ids(&change.services)?;
        if ids.iter().any(|id| self.plan.foreground == Some(*id)) {
            return Err("the main command ends the bundle with its end; it is not started, \
                        stopped or restarted by itself"
                .to_owned());
        }
        self.facts.extend(ids.iter().copied().map(event));
        let Some(span) = change.wait else { return Ok(Some(json!({"ok": true}))) };
        // A restart is over when another run than the present one is ready.
        let is_restart = event(ServiceId(0)) == Event::Restart(ServiceId(0));
        let runs = |id: &ServiceId| match (is_restart, self.processes.get(*id)) {
            (true, Some(_)) => self.history.past(*id).map_or(0, |past| past.count),
            _ => 0,
        };
        let services = ids.iter().map(|id| (*id, runs(id))).collect();
        self.wait_for(number, Waiting { services, goal, until: Some(now + span) });
        Ok(None)
    }

    /// The services of these names; that of a service with instances means them all.
    fn ids(&self, names: &[String]) -> Result<Vec<ServiceId>, String> {
        let mut ids = Vec::new();
        for name in names {
            let is_meant = |id: &ServiceId| {
                let service = &self.plan.bundle.services[id.0];
                service.name == *name || service.instance_of.as_ref() == Some(name)
            };
            let before = ids.len();
            ids.extend(self.plan.ids().filter(is_meant));
            if ids.len() == before {
                let known: Vec<String> = self.plan.ids().map(|id| self.plan.name(id)).collect();
                let known = known.join(", ");
                return Err(format!("there is no service \"{name}\"; there are {known}"));
            }
        }
        Ok(ids)
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

    fn stream(&mut self, number: usize, mode: Mode) {
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
        let answer = json!({"ok": true, "text": String::from_utf8_lossy(&bytes)});
        if !follow {
            return Ok(Some(answer));
        }
        self.stream(number, Mode::Logs(id, next));
        self.give(number, &answer, now);
        Ok(None)
    }

    fn give(&mut self, number: usize, answer: &Value, now: Instant) {
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
                        let text = String::from_utf8_lossy(&bytes);
                        self.give(number, &json!({"text": text}), now);
                    }
                }
                (_, Some(waiting)) => {
                    if let Some(answer) = self.came_of(&waiting, now) {
                        if let Some(control) = &mut self.control {
                            control.waited(number, now);
                        }
                        self.give(number, &answer, now);
                    }
                }
                (Mode::Asking | Mode::Events, None) => {}
            }
        }
    }

    /// The answer to one who waits, once there is one.
    fn came_of(&self, waiting: &Waiting, now: Instant) -> Option<Value> {
        // What was asked for is told to the core first.
        if !self.facts.is_empty() {
            return None;
        }
        let mut all_there = true;
        for (id, runs) in &waiting.services {
            match self.reached(*id, *runs, waiting.goal) {
                Ok(there) => all_there &= there,
                Err(error) => return Some(json!({"ok": false, "error": error})),
            }
        }
        if all_there {
            return Some(json!({"ok": true}));
        }
        let is_late = waiting.until.is_some_and(|until| until <= now);
        let is_missing =
            |(id, runs): &&(ServiceId, u32)| self.reached(*id, *runs, waiting.goal) != Ok(true);
        let missing: Vec<String> = waiting
            .services
            .iter()
            .filter(is_missing)
            .map(|(id, _)| format!("{} is {}", self.plan.name(*id), answer::state(self, *id)))
            .collect();
        let error = || format!("not in time: {}", missing.join(", "));
        is_late.then(|| json!({"ok": false, "error": error(), "timeout": true}))
    }

    fn reached(&self, id: ServiceId, runs: u32, goal: Goal) -> Result<bool, String> {
        let count = self.history.past(id).map_or(0, |past| past.count);
        let never = |why: &str| Err(format!("service \"{}\" {why}", self.plan.name(id)));
        match (goal, self.supervisor.state(id)) {
            (Goal::Exited, state) => Ok(!state.is_alive()),
            (Goal::Ready, State::Running { ready, .. }) => Ok(ready && count > runs),
            (Goal::Ready, State::Gone(End::Done)) if self.is_oneshot(id) => Ok(count > runs),
            (Goal::Ready, State::Gone(End::Failed)) => never("has failed"),
            (Goal::Ready, State::Gone(End::Stopped)) => never("is stopped"),
            (Goal::Ready, State::Gone(_)) => never("has ended"),
            (Goal::Ready, _) => Ok(false),
        }
    }

    pub(super) fn is_oneshot(&self, id: ServiceId) -> bool {
        self.plan.bundle.services[id.0].kind == crate::bundle::ServiceType::Oneshot
    }

    /// Tells everybody who wants to know that something has happened.
    pub(super) fn publish(&mut self, event: &str, id: Option<ServiceId>, more: Value) {
        let listeners = self.control.as_ref().map_or_else(Vec::new, Control::event_listeners);
        let is_for_hooks = hooks::is_wanted(&self.plan.bundle.on_event, event);
        if listeners.is_empty() && !is_for_hooks {
            return;
        }
        let mut line = json!({"time": TimeStamp::default().text(), "event": event});
        if let Some(id) = id {
            line["service"] = Value::String(self.plan.name(id));
        }
        if let (Some(fields), Value::Object(more)) = (line.as_object_mut(), more) {
            fields.extend(more);
        }
        let now = Instant::now();
        for number in listeners {
            self.give(number, &line, now);
        }
        if is_for_hooks {
            self.hand_out(&line);
        }
    }

    /// When a client has used up its time.
    pub(super) fn control_deadline(&self) -> Option<Instant> {
        self.control.as_ref().and_then(Control::deadline)
    }

    /// How long the init has been running.
    pub(super) fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}
