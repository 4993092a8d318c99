//! What the init answers, and what it tells of events. Pure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::seconds;
use crate::event_kind::EventKind;
use crate::signal::Signal;
use crate::supervisor::StateKind;

/// How the bundle and its services are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The bundle's name.
    pub bundle: String,
    /// The pid of the init, in its own namespace.
    pub pid: u32,
    /// How long the init has been running.
    #[serde(rename = "uptime_seconds", with = "seconds")]
    pub uptime: Duration,
    /// Whether the bundle comes down.
    pub shutting_down: bool,
    /// Its services, in the file's order.
    pub services: Vec<ServiceStatus>,
}

/// How one service is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    #[serde(with = "crate::words")]
    pub state: StateKind,
    /// Its main process, while it has one.
    pub pid: Option<u32>,
    /// How long this run of it has taken so far.
    #[serde(rename = "uptime_seconds", with = "seconds::optional")]
    pub uptime: Option<Duration>,
    /// How often it was started again.
    pub restarts: u32,
    /// The exit code of its last run that has ended, if that was not ended by a signal.
    pub last_exit_code: Option<u8>,
    /// The signal that ended its last run that has ended.
    pub last_exit_signal: Option<Signal>,
    /// What its main process holds.
    pub memory_bytes: Option<u64>,
    /// The processor time that its main process has used.
    pub cpu_seconds: Option<f64>,
    /// What is wrong with it, or why nobody can tell.
    pub problem: Option<String>,
    /// What it says that it is doing beside its service.
    pub doing: Option<String>,
    /// What it says of itself, `STATUS=` of sd_notify(3).
    pub says: Option<String>,
}

/// Whether every service is ready and live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// Whether there is no problem.
    pub healthy: bool,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// What is wrong with a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// Which one.
    pub service: String,
    /// What is wrong, for people.
    pub problem: String,
}

/// Who starts after whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Graph {
    /// No service says after whom it starts: they start one by one, in the file's order.
    pub in_file_order: bool,
    /// The services, in the file's order.
    pub services: Vec<GraphService>,
}

/// Whom a service comes after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GraphService {
    /// Its name.
    pub name: String,
    /// Those that it starts after.
    pub after: Vec<String>,
    /// Those among them without which it can't be.
    pub requires: Vec<String>,
}

/// What a reload has changed, by the names of services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reloaded {
    /// New ones.
    pub started: Vec<String>,
    /// Those of which something is different.
    pub restarted: Vec<String>,
    /// Those that are not in the file any more.
    pub stopped: Vec<String>,
}

/// The last runs of every service. All times count from the start of the init.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Timeline {
    /// Now.
    #[serde(rename = "uptime_seconds", with = "seconds")]
    pub uptime: Duration,
    /// The services, in the file's order.
    pub services: Vec<TimelineService>,
}

/// The last runs of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TimelineService {
    /// Its name.
    pub name: String,
    /// The runs, the oldest first.
    pub runs: Vec<Run>,
}

/// One run of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Run {
    /// When its process was made.
    #[serde(rename = "started_seconds", with = "seconds")]
    pub started: Duration,
    /// When it was ready.
    #[serde(rename = "ready_seconds", with = "seconds::optional")]
    pub ready: Option<Duration>,
    /// When it was asked to end.
    #[serde(rename = "asked_seconds", with = "seconds::optional")]
    pub asked: Option<Duration>,
    /// When it was gone.
    #[serde(rename = "ended_seconds", with = "seconds::optional")]
    pub ended: Option<Duration>,
}

/// The figures of every service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Metrics {
    /// How long the init has been running.
    #[serde(rename = "uptime_seconds", with = "seconds")]
    pub uptime: Duration,
    /// The services, in the file's order.
    pub services: Vec<ServiceMetrics>,
}

/// The figures of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceMetrics {
    /// Its name.
    pub name: String,
    /// Whether it has a process.
    pub up: bool,
    /// Whether it is ready and live.
    pub healthy: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// What its main process holds.
    pub memory_bytes: Option<u64>,
    /// The processor time that its main process has used.
    pub cpu_seconds: Option<f64>,
}

/// What a service has written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogText {
    /// Whole lines; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Something that has happened. `docs/control.md` says which kind has which fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BundleEvent {
    /// When, as RFC 3339 writes it.
    pub time: String,
    /// What.
    #[serde(rename = "event", with = "crate::words")]
    pub kind: EventKind,
    /// To which service, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its main process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// The signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// Why it could not be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it takes.
    #[serde(
        rename = "seconds",
        with = "seconds::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub span: Option<Duration>,
    /// Why the bundle comes down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What a reload has started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Vec<String>>,
    /// What a reload has restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarted: Option<Vec<String>>,
    /// What a reload has stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Vec<String>>,
}

impl BundleEvent {
    /// One of which nothing else is known yet.
    pub(crate) fn new(kind: EventKind) -> BundleEvent {
        BundleEvent {
            time: String::new(),
            kind,
            service: None,
            pid: None,
            code: None,
            signal: None,
            reason: None,
            span: None,
            cause: None,
            started: None,
            restarted: None,
            stopped: None,
        }
    }
}

/// Why the init did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// In one sentence.
    pub(crate) error: String,
    /// It was not there in time.
    pub(crate) is_late: bool,
}

impl From<String> for Refusal {
    fn from(error: String) -> Refusal {
        Refusal { error, is_late: false }
    }
}

/// As JSON.
pub(crate) fn json(message: &impl Serialize) -> Value {
    // Only a map whose keys are no texts can fail, of which there is none.
    serde_json::to_value(message).unwrap_or_default()
}

/// What is sent if it went well.
pub(crate) fn yes(answer: &impl Serialize) -> Value {
    let mut answer = json(answer);
    answer["ok"] = true.into();
    answer
}

/// What is sent if it did not.
pub(crate) fn no(refusal: &Refusal) -> Value {
    let mut answer = serde_json::json!({"ok": false, "error": refusal.error});
    if refusal.is_late {
        answer["timeout"] = true.into();
    }
    answer
}

/// The answer, if it went well.
pub(crate) fn accepted(answer: Value) -> Result<Value, Refusal> {
    if answer["ok"] == true {
        return Ok(answer);
    }
    let error = answer["error"].as_str().unwrap_or("it did not say why").to_owned();
    Err(Refusal { error, is_late: answer["timeout"] == true })
}

/// The JSON that the init gives: `{}` on one line, `{:#}` on several.
macro_rules! shown_as_json {
    ($($type:ident)*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&yes(self), formatter)
            }
        }
    )*};
}
shown_as_json!(Status HealthReport Graph Reloaded Timeline Metrics);

impl fmt::Display for BundleEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&json(self), formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_is_read() {
        let service = ServiceStatus {
            name: "web".to_owned(),
            state: StateKind::NeverStarted,
            pid: Some(7),
            uptime: Some(Duration::from_millis(1250)),
            restarts: 2,
            last_exit_code: None,
            last_exit_signal: Some(Signal::TERM),
            memory_bytes: Some(4096),
            cpu_seconds: Some(0.07),
            problem: None,
            doing: None,
            says: Some("\"well\"".to_owned()),
        };
        let status = Status {
            bundle: "b".to_owned(),
            pid: 1,
            uptime: Duration::from_nanos(123_456_789_012),
            shutting_down: false,
            services: vec![service],
        };
        let line = status.to_string();
        assert!(line.contains("\"problem\":null") && line.contains("\"ok\":true"), "{line}");
        assert_eq!(serde_json::from_str::<Status>(&line).unwrap(), status);
    }

    #[test]
    fn an_event_has_only_what_is_known() {
        let event =
            BundleEvent { signal: Some(Signal::HUP), ..BundleEvent::new(EventKind::SignalDropped) };
        let line = event.to_string();
        assert_eq!(line, "{\"event\":\"signal-dropped\",\"signal\":\"SIGHUP\",\"time\":\"\"}");
        assert_eq!(serde_json::from_str::<BundleEvent>(&line).unwrap(), event);
        let line = "{\"time\":\"\",\"event\":\"dance\"}";
        let error = serde_json::from_str::<BundleEvent>(line).unwrap_err().to_string();
        assert!(error.starts_with("\"dance\" is not started, "), "{error}");
    }

    #[test]
    fn a_refusal_says_why() {
        let refusal = Refusal { error: "no".to_owned(), is_late: true };
        let answer = no(&refusal);
        assert_eq!(answer.to_string(), "{\"error\":\"no\",\"ok\":false,\"timeout\":true}");
        assert_eq!(accepted(answer), Err(refusal));
        assert_eq!(accepted(yes(&())), Ok(serde_json::json!({"ok": true})));
        assert!(HealthReport::deserialize(yes(&())).is_err());
    }
}
