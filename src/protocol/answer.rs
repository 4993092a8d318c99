//! The answers of the init, and its events. Pure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{VERSION, seconds};
use crate::event_kind::EventKind;
use crate::signal::Signal;
use crate::supervisor::StateKind;

/// The state of the bundle and its services.
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
    /// Whether the bundle is shutting down.
    pub shutting_down: bool,
    /// Its services, in the file's order.
    pub services: Vec<ServiceStatus>,
}

/// The state of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Its state.
    #[serde(with = "crate::words")]
    pub state: StateKind,
    /// The pid of its main process, if it has one.
    pub pid: Option<u32>,
    /// The length of its current run.
    #[serde(rename = "uptime_seconds", with = "seconds::optional")]
    pub uptime: Option<Duration>,
    /// How often it was restarted.
    pub restarts: u32,
    /// The exit code of its last ended run, if no signal killed it.
    pub last_exit_code: Option<u8>,
    /// The signal that killed its last ended run.
    pub last_exit_signal: Option<Signal>,
    /// The memory of its main process.
    pub memory_bytes: Option<u64>,
    /// The CPU time of its main process.
    pub cpu_seconds: Option<f64>,
    /// Its problem, or why its state is unknown.
    pub problem: Option<String>,
    /// What it reports to do beside its service.
    pub doing: Option<String>,
    /// Its status text, `STATUS=` of sd_notify(3).
    pub says: Option<String>,
}

/// Whether every service is ready and live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// Whether there is no problem.
    pub healthy: bool,
    /// The problems.
    pub problems: Vec<Problem>,
}

/// The problem of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// The service.
    pub service: String,
    /// The problem, for people.
    pub problem: String,
}

/// The dependencies between services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Graph {
    /// No service has `after` or `requires`: they start in the order of the file.
    pub in_file_order: bool,
    /// The services, in the file's order.
    pub services: Vec<GraphService>,
}

/// The dependencies of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GraphService {
    /// Its name.
    pub name: String,
    /// The services that it starts after.
    pub after: Vec<String>,
    /// Those of them that it requires.
    pub requires: Vec<String>,
}

/// The changes of a reload, by names of services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reloaded {
    /// New services.
    pub started: Vec<String>,
    /// Changed services.
    pub restarted: Vec<String>,
    /// Services that are no longer in the file.
    pub stopped: Vec<String>,
}

/// The last runs of every service. All times count from the start of the init.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Timeline {
    /// The current time.
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
    /// When it was started.
    #[serde(rename = "started_seconds", with = "seconds")]
    pub started: Duration,
    /// When it was ready.
    #[serde(rename = "ready_seconds", with = "seconds::optional")]
    pub ready: Option<Duration>,
    /// When it got its stop signal.
    #[serde(rename = "asked_seconds", with = "seconds::optional")]
    pub asked: Option<Duration>,
    /// When it ended.
    #[serde(rename = "ended_seconds", with = "seconds::optional")]
    pub ended: Option<Duration>,
}

/// The metrics of every service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Metrics {
    /// How long the init has been running.
    #[serde(rename = "uptime_seconds", with = "seconds")]
    pub uptime: Duration,
    /// The services, in the file's order.
    pub services: Vec<ServiceMetrics>,
}

/// The metrics of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceMetrics {
    /// Its name.
    pub name: String,
    /// Whether it has a process.
    pub up: bool,
    /// Whether it is ready and live.
    pub healthy: bool,
    /// How often it was restarted.
    pub restarts: u32,
    /// The memory of its main process.
    pub memory_bytes: Option<u64>,
    /// The CPU time of its main process.
    pub cpu_seconds: Option<f64>,
}

/// The output of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogText {
    /// Whole lines; invalid UTF-8 is replaced.
    pub text: String,
}

/// An event. `docs/control.md` lists the fields of each kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BundleEvent {
    /// The time in RFC 3339.
    pub time: String,
    /// The kind.
    #[serde(rename = "event", with = "crate::words")]
    pub kind: EventKind,
    /// The service, if it concerns one.
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
    /// A delay.
    #[serde(
        rename = "seconds",
        with = "seconds::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub span: Option<Duration>,
    /// Why the bundle shuts down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The services that a reload has started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Vec<String>>,
    /// The services that a reload has restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarted: Option<Vec<String>>,
    /// The services that a reload has stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Vec<String>>,
}

impl BundleEvent {
    /// An event without further fields.
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

/// Why the init refused a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// In one sentence.
    pub(crate) error: String,
    /// Whether it was a timeout.
    pub(crate) is_late: bool,
}

impl From<String> for Refusal {
    fn from(error: String) -> Refusal {
        Refusal { error, is_late: false }
    }
}

pub(crate) fn json(message: &impl Serialize) -> Value {
    // Only a map with keys that are not strings can fail, and there is none.
    serde_json::to_value(message).unwrap_or_default()
}

/// The message for a success.
pub(crate) fn yes(answer: &impl Serialize) -> Value {
    let mut answer = json(answer);
    answer["ok"] = true.into();
    answer["version"] = VERSION.into();
    answer
}

/// The message for a refusal.
pub(crate) fn no(refusal: &Refusal) -> Value {
    let mut answer = serde_json::json!({"ok": false, "error": refusal.error, "version": VERSION});
    if refusal.is_late {
        answer["timeout"] = true.into();
    }
    answer
}

/// The answer, or the refusal.
pub(crate) fn accepted(answer: Value) -> Result<Value, Refusal> {
    if answer["ok"] == true {
        return Ok(answer);
    }
    let error = answer["error"].as_str().unwrap_or("no reason given").to_owned();
    Err(Refusal { error, is_late: answer["timeout"] == true })
}

/// The JSON of an answer: `{}` on one line, `{:#}` on several.
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
        assert_eq!(
            answer.to_string(),
            "{\"error\":\"no\",\"ok\":false,\"timeout\":true,\"version\":1}"
        );
        assert_eq!(accepted(answer), Err(refusal));
        assert_eq!(accepted(yes(&())), Ok(serde_json::json!({"ok": true, "version": 1})));
        assert!(HealthReport::deserialize(yes(&())).is_err());
    }
}
