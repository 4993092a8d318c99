//! The text and the fields of each announcement, for people and for programs, only here.
//! `docs/control.md` lists them for programs.

use std::time::Duration;

use strict_toml::listed;

use crate::event_kind::EventKind;
use crate::exit::ExitStatus;
use crate::protocol::{BundleEvent, Reloaded};
use crate::record::shortened;
use crate::supervisor::{Announcement, Cause, Changes, ServiceId};

/// How important a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A step in the normal life of a bundle; `--quiet` hides it.
    Routine,
    /// Always logged.
    Always,
    /// The same, but a process outside of the init can cause very many of them.
    Repeated,
}

#[derive(Debug)]
pub(crate) struct Spelled {
    /// The event for programs, without time and service, if there is one.
    pub(crate) event: Option<BundleEvent>,
    /// The service, if it concerns one.
    pub(crate) service: Option<ServiceId>,
    /// The line for people, if there is one.
    pub(crate) text: Option<String>,
    pub(crate) weight: Weight,
}

/// The text of an announcement; `reason` has details that only the reactor knows.
pub(crate) fn spell(
    announcement: &Announcement,
    name: impl Fn(ServiceId) -> String,
    reason: Option<String>,
) -> Spelled {
    let because = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let of = |event, id, weight, text: String| Spelled {
        event,
        service: Some(id),
        text: Some(format!("service \"{}\" {text}", name(id))),
        weight,
    };
    let of_bundle = |event, weight, text| Spelled {
        event: Some(event),
        service: None,
        text: Some(text),
        weight,
    };
    let plain = |kind| Some(BundleEvent::new(kind));
    let signalled = |kind, signal| BundleEvent { signal: Some(signal), ..BundleEvent::new(kind) };
    let spanning = |kind, span| Some(BundleEvent { span: Some(span), ..BundleEvent::new(kind) });
    match announcement {
        Announcement::Started(id, pid) => {
            let event = BundleEvent {
                pid: Some(pid.unsigned_abs()),
                ..BundleEvent::new(EventKind::Started)
            };
            of(Some(event), *id, Weight::Routine, format!("started (pid {pid})"))
        }
        Announcement::StartFailed(id, code, text) => Spelled {
            event: Some(BundleEvent {
                code: Some(*code),
                reason: Some(shortened(text)),
                ..BundleEvent::new(EventKind::StartFailed)
            }),
            service: Some(*id),
            text: Some(text.clone()),
            weight: Weight::Always,
        },
        Announcement::Ready(id) => {
            of(plain(EventKind::Ready), *id, Weight::Routine, "is ready".to_owned())
        }
        Announcement::ReadyAtOnce(id) => Spelled {
            event: plain(EventKind::Ready),
            service: Some(*id),
            text: None,
            weight: Weight::Routine,
        },
        Announcement::Exited(id, status) => {
            let event = match status {
                ExitStatus::Code(code) => {
                    BundleEvent { code: Some(*code), ..BundleEvent::new(EventKind::Exited) }
                }
                ExitStatus::Signal(signal) => signalled(EventKind::Exited, *signal),
            };
            of(Some(event), *id, Weight::Routine, status.to_string())
        }
        Announcement::Restarting(id, delay) => {
            let millis = delay.as_millis().try_into().unwrap_or(u64::MAX);
            let shown = humantime::format_duration(Duration::from_millis(millis));
            let text = format!("starts again in {shown}");
            of(spanning(EventKind::Backoff, *delay), *id, Weight::Always, text)
        }
        Announcement::GivenUp(id) => {
            let text =
                "has ended more often than its `restart` allows: no more restarts".to_owned();
            of(plain(EventKind::GivenUp), *id, Weight::Always, text)
        }
        Announcement::Unready(id) => {
            let text = format!("did not become ready in time{because}");
            of(plain(EventKind::NotReadyInTime), *id, Weight::Always, text)
        }
        Announcement::Unhealthy(id) => {
            let text = format!("has failed its liveness check{because}");
            of(plain(EventKind::Unhealthy), *id, Weight::Always, text)
        }
        Announcement::RequirementGone(id) => {
            let text = "is not started: a service that it requires has ended".to_owned();
            of(plain(EventKind::RequirementGone), *id, Weight::Always, text)
        }
        Announcement::FailedAlone(id) => {
            let text = "did not come up; the other services keep running".to_owned();
            of(None, *id, Weight::Always, text)
        }
        Announcement::Draining(id, span) => {
            let text = format!("drains for {}", humantime::format_duration(*span));
            of(spanning(EventKind::Draining, *span), *id, Weight::Routine, text)
        }
        Announcement::Stopping(id, signal) => {
            let text = format!("is stopping ({signal})");
            of(Some(signalled(EventKind::Stopping, *signal)), *id, Weight::Routine, text)
        }
        Announcement::StopCommand(id) => {
            let text = "is stopping (stop-command)".to_owned();
            of(plain(EventKind::Stopping), *id, Weight::Routine, text)
        }
        Announcement::Overran(id) => {
            let text = "overran its grace and is killed".to_owned();
            of(plain(EventKind::Overran), *id, Weight::Always, text)
        }
        Announcement::Reloaded(changes) => {
            let text = format!("bundle reloaded: {}", changes_in_words(changes, &name));
            let Reloaded { started, restarted, stopped } = changes_by_name(changes, &name);
            let event = BundleEvent {
                started: Some(started),
                restarted: Some(restarted),
                stopped: Some(stopped),
                ..BundleEvent::new(EventKind::Reloaded)
            };
            of_bundle(event, Weight::Routine, text)
        }
        Announcement::ReloadFailed(reason) => {
            let text = format!("bundle not reloaded: {reason}");
            let event = BundleEvent {
                reason: Some(shortened(reason)),
                ..BundleEvent::new(EventKind::ReloadFailed)
            };
            of_bundle(event, Weight::Always, text)
        }
        Announcement::ShutdownBegins(cause) => {
            let cause = cause_in_words(*cause, &name);
            let text = format!("shutting down: {cause}");
            let event = BundleEvent { cause: Some(cause), ..BundleEvent::new(EventKind::Shutdown) };
            of_bundle(event, Weight::Routine, text)
        }
        Announcement::GraceOver => {
            let text = "the grace is over: killing all remaining processes".to_owned();
            of_bundle(BundleEvent::new(EventKind::GraceOver), Weight::Always, text)
        }
        Announcement::Forced(signal) => {
            let text =
                format!("second shutdown request ({signal}): killing all remaining processes");
            of_bundle(signalled(EventKind::Forced, *signal), Weight::Always, text)
        }
        Announcement::Unrouted(signal) => {
            let text = format!(
                "{signal} received and dropped: the bundle has no route for it under [signals]"
            );
            of_bundle(signalled(EventKind::SignalDropped, *signal), Weight::Repeated, text)
        }
    }
}

/// Why the bundle shuts down.
pub(crate) fn cause_in_words(cause: Cause, name: impl Fn(ServiceId) -> String) -> String {
    let of = |id, text: &str| format!("service \"{}\" {text}", name(id));
    match cause {
        Cause::Requested(signal) => format!("{signal} received"),
        Cause::Exited(id, status) => of(id, &status.to_string()),
        Cause::SpawnFailed(id, _) => of(id, "could not be started"),
        Cause::Unready(id) => of(id, "did not become ready in time"),
        Cause::Unhealthy(id) => of(id, "failed its liveness check"),
        Cause::Commanded(_) => "requested by an operator".to_owned(),
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

/// The changes of a reload, for programs.
pub(crate) fn changes_by_name(changes: &Changes, name: impl Fn(ServiceId) -> String) -> Reloaded {
    let names = |ids: &[ServiceId]| -> Vec<String> { ids.iter().map(|id| name(*id)).collect() };
    Reloaded {
        started: names(&changes.started),
        restarted: names(&changes.restarted),
        stopped: names(&changes.stopped),
    }
}
