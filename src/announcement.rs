//! What has happened, for people and for programs: each announcement's name, line and fields, here
//! and nowhere else. `docs/control.md` lists them for programs.

use std::time::Duration;

use serde_json::{Value, json};
use strict_toml::listed;

use crate::event_kind::EventKind;
use crate::exit::ExitStatus;
use crate::supervisor::{Announcement, Cause, Changes, ServiceId};
use crate::words::Words;

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A step in the ordinary life of a bundle, which `--quiet` leaves out.
    Routine,
    /// To be said in any case.
    Always,
    /// The same, but somebody may cause very many of them.
    Repeated,
}

/// An announcement in words.
#[derive(Debug)]
pub(crate) struct Spelled {
    /// The event that programs are told of, if it is one.
    pub(crate) event: Option<EventKind>,
    /// Whom it is about.
    pub(crate) service: Option<ServiceId>,
    /// What else programs are told, an object.
    pub(crate) fields: Value,
    /// The line for people, if there is one.
    pub(crate) text: Option<String>,
    pub(crate) weight: Weight,
}

impl Spelled {
    /// The object that programs are told.
    pub(crate) fn line(
        &self,
        event: EventKind,
        time: &str,
        name: impl Fn(ServiceId) -> String,
    ) -> Value {
        let mut line = json!({"time": time, "event": event.word()});
        if let Some(id) = self.service {
            line["service"] = name(id).into();
        }
        if let (Some(line), Some(fields)) = (line.as_object_mut(), self.fields.as_object()) {
            line.extend(fields.clone());
        }
        line
    }
}

/// Puts an announcement into words; `reason` says why, where the reactor knows more than the core.
pub(crate) fn spell(
    announcement: &Announcement,
    name: impl Fn(ServiceId) -> String,
    reason: Option<String>,
) -> Spelled {
    let seconds = |span: Duration| json!({"seconds": span.as_secs_f64()});
    let because = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let of = |event, id, weight, text: String, fields| Spelled {
        event,
        service: Some(id),
        fields,
        text: Some(format!("service \"{}\" {text}", name(id))),
        weight,
    };
    let of_bundle = |event, weight, text, fields| Spelled {
        event: Some(event),
        service: None,
        fields,
        text: Some(text),
        weight,
    };
    let nothing = || json!({});
    match announcement {
        Announcement::Started(id, pid) => of(
            Some(EventKind::Started),
            *id,
            Weight::Routine,
            format!("started (pid {pid})"),
            json!({"pid": pid}),
        ),
        Announcement::StartFailed(id, code, text) => Spelled {
            event: Some(EventKind::StartFailed),
            service: Some(*id),
            fields: json!({"code": code, "reason": text}),
            text: Some(text.clone()),
            weight: Weight::Always,
        },
        Announcement::Ready(id) => {
            of(Some(EventKind::Ready), *id, Weight::Routine, "is ready".to_owned(), nothing())
        }
        Announcement::ReadyAtOnce(id) => Spelled {
            event: Some(EventKind::Ready),
            service: Some(*id),
            fields: nothing(),
            text: None,
            weight: Weight::Routine,
        },
        Announcement::Exited(id, status) => {
            let fields = match status {
                ExitStatus::Code(code) => json!({"code": code}),
                ExitStatus::Signal(signal) => json!({"signal": signal.to_string()}),
            };
            of(Some(EventKind::Exited), *id, Weight::Routine, status.to_string(), fields)
        }
        Announcement::Restarting(id, delay) => {
            let millis = delay.as_millis().try_into().unwrap_or(u64::MAX);
            let shown = humantime::format_duration(Duration::from_millis(millis));
            let text = format!("starts again in {shown}");
            of(Some(EventKind::Backoff), *id, Weight::Always, text, seconds(*delay))
        }
        Announcement::GivenUp(id) => {
            let text = "has ended more often than its `restart` allows: giving it up".to_owned();
            of(Some(EventKind::GivenUp), *id, Weight::Always, text, nothing())
        }
        Announcement::Unready(id) => {
            let text = format!("did not become ready in time{because}");
            of(Some(EventKind::NotReadyInTime), *id, Weight::Always, text, nothing())
        }
        Announcement::Unhealthy(id) => {
            let text = format!("has failed its liveness check{because}");
            of(Some(EventKind::Unhealthy), *id, Weight::Always, text, nothing())
        }
        Announcement::RequirementGone(id) => {
            let text = "is not started: a service that it requires has ended".to_owned();
            of(Some(EventKind::RequirementGone), *id, Weight::Always, text, nothing())
        }
        Announcement::FailedAlone(id) => {
            let text = "did not come up as it was asked to; the others go on".to_owned();
            of(None, *id, Weight::Always, text, nothing())
        }
        Announcement::Draining(id, span) => {
            let text = format!("drains for {}", humantime::format_duration(*span));
            of(Some(EventKind::Draining), *id, Weight::Routine, text, seconds(*span))
        }
        Announcement::Stopping(id, signal) => {
            let fields = json!({"signal": signal.to_string()});
            let text = format!("is asked to end ({signal})");
            of(Some(EventKind::Stopping), *id, Weight::Routine, text, fields)
        }
        Announcement::StopCommand(id) => {
            let text = "is asked to end (stop-command)".to_owned();
            of(Some(EventKind::Stopping), *id, Weight::Routine, text, nothing())
        }
        Announcement::Overran(id) => {
            let text = "overran its grace and is killed".to_owned();
            of(Some(EventKind::Overran), *id, Weight::Always, text, nothing())
        }
        Announcement::Reloaded(changes) => {
            let text = format!("bundle reloaded: {}", changes_in_words(changes, &name));
            of_bundle(EventKind::Reloaded, Weight::Routine, text, changes_as_json(changes, &name))
        }
        Announcement::ShutdownBegins(cause) => {
            let cause = cause_in_words(*cause, &name);
            let fields = json!({"cause": cause});
            of_bundle(
                EventKind::Shutdown,
                Weight::Routine,
                format!("shutting down: {cause}"),
                fields,
            )
        }
        Announcement::GraceOver => {
            let text = "the grace is over: killing all that is left".to_owned();
            of_bundle(EventKind::GraceOver, Weight::Always, text, nothing())
        }
        Announcement::Forced(signal) => {
            let text = format!("second request to end ({signal}): killing all that is left");
            of_bundle(
                EventKind::Forced,
                Weight::Always,
                text,
                json!({"signal": signal.to_string()}),
            )
        }
        Announcement::Unrouted(signal) => {
            let text = format!(
                "{signal} received and dropped: the bundle has no route for it under [signals]"
            );
            let fields = json!({"signal": signal.to_string()});
            of_bundle(EventKind::SignalDropped, Weight::Repeated, text, fields)
        }
    }
}

/// Why the bundle comes down.
pub(crate) fn cause_in_words(cause: Cause, name: impl Fn(ServiceId) -> String) -> String {
    let of = |id, text: &str| format!("service \"{}\" {text}", name(id));
    match cause {
        Cause::Requested(signal) => format!("{signal} received"),
        Cause::Exited(id, status) => of(id, &status.to_string()),
        Cause::SpawnFailed(id, _) => of(id, "could not be started"),
        Cause::Unready(id) => of(id, "did not become ready in time"),
        Cause::Unhealthy(id) => of(id, "failed its liveness check"),
        Cause::Commanded(_) => "an operator asked for it".to_owned(),
        Cause::AllExited(_) => "every service has exited".to_owned(),
    }
}

fn changes_in_words(changes: &Changes, name: impl Fn(ServiceId) -> String) -> String {
    let Changes { started, restarted, stopped } = changes;
    let parts: Vec<String> = [("new", started), ("changed", restarted), ("gone", stopped)]
        .into_iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(word, ids)| {
            let names: Vec<String> = ids.iter().map(|id| name(*id)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            format!("{word}: {}", listed(&names, ", "))
        })
        .collect();
    if parts.is_empty() { "nothing has changed".to_owned() } else { parts.join("; ") }
}

/// What a reload has changed, for programs.
pub(crate) fn changes_as_json(changes: &Changes, name: impl Fn(ServiceId) -> String) -> Value {
    let names = |ids: &[ServiceId]| -> Vec<String> { ids.iter().map(|id| name(*id)).collect() };
    json!({
        "started": names(&changes.started),
        "restarted": names(&changes.restarted),
        "stopped": names(&changes.stopped),
    })
}
