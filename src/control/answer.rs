//! What the init answers, and what it tells of events. Pure.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::field::{Field, message};
use crate::event_kind::EventKind;
use crate::signal::Signal;
use crate::supervisor::StateKind;

message! {
    null: kept;
    /// How the bundle and its services are.
    pub struct Status {
        /// The bundle's name.
        pub bundle: String => "bundle",
        /// The pid of the init, in its own namespace.
        pub pid: u32 => "pid",
        /// How long the init has been running.
        pub uptime: Duration => "uptime_seconds",
        /// Whether the bundle comes down.
        pub shutting_down: bool => "shutting_down",
        /// Its services, in the file's order.
        pub services: Vec<ServiceStatus> => "services",
    }
}

message! {
    null: kept;
    /// How one service is.
    pub struct ServiceStatus {
        /// Its name.
        pub name: String => "name",
        /// Where it is in its life.
        pub state: StateKind => "state",
        /// Its main process, while it has one.
        pub pid: Option<u32> => "pid",
        /// How long this run of it has taken so far.
        pub uptime: Option<Duration> => "uptime_seconds",
        /// How often it was started again.
        pub restarts: u32 => "restarts",
        /// The exit code of its last run that has ended, if that was not ended by a signal.
        pub last_exit_code: Option<u8> => "last_exit_code",
        /// The signal that ended its last run that has ended.
        pub last_exit_signal: Option<Signal> => "last_exit_signal",
        /// What its main process holds.
        pub memory_bytes: Option<u64> => "memory_bytes",
        /// The processor time that its main process has used.
        pub cpu_seconds: Option<f64> => "cpu_seconds",
        /// What is wrong with it, or why nobody can tell.
        pub problem: Option<String> => "problem",
        /// What it says that it is doing beside its service.
        pub doing: Option<String> => "doing",
        /// What it says of itself, `STATUS=` of sd_notify(3).
        pub says: Option<String> => "says",
    }
}

message! {
    null: kept;
    /// Whether every service is ready and live.
    pub struct HealthReport {
        /// Whether there is no problem.
        pub healthy: bool => "healthy",
        /// What is wrong.
        pub problems: Vec<Problem> => "problems",
    }
}

message! {
    null: kept;
    /// What is wrong with a service.
    pub struct Problem {
        /// Which one.
        pub service: String => "service",
        /// What is wrong, for people.
        pub problem: String => "problem",
    }
}

message! {
    null: kept;
    /// Who starts after whom.
    pub struct Graph {
        /// No service says after whom it starts: they start one by one, in the file's order.
        pub in_file_order: bool => "in_file_order",
        /// The services, in the file's order.
        pub services: Vec<GraphService> => "services",
    }
}

message! {
    null: kept;
    /// Whom a service comes after.
    pub struct GraphService {
        /// Its name.
        pub name: String => "name",
        /// Those that it starts after.
        pub after: Vec<String> => "after",
        /// Those among them without which it can't be.
        pub requires: Vec<String> => "requires",
    }
}

message! {
    null: kept;
    /// What a reload has changed, by the names of services.
    pub struct Reloaded {
        /// New ones.
        pub started: Vec<String> => "started",
        /// Those of which something is different.
        pub restarted: Vec<String> => "restarted",
        /// Those that are not in the file any more.
        pub stopped: Vec<String> => "stopped",
    }
}

message! {
    null: kept;
    /// The last runs of every service. All times count from the start of the init.
    pub struct Timeline {
        /// Now.
        pub uptime: Duration => "uptime_seconds",
        /// The services, in the file's order.
        pub services: Vec<TimelineService> => "services",
    }
}

message! {
    null: kept;
    /// The last runs of a service.
    pub struct TimelineService {
        /// Its name.
        pub name: String => "name",
        /// The runs, the oldest first.
        pub runs: Vec<Run> => "runs",
    }
}

message! {
    null: kept;
    /// One run of a service.
    pub struct Run {
        /// When its process was made.
        pub started: Duration => "started_seconds",
        /// When it was ready.
        pub ready: Option<Duration> => "ready_seconds",
        /// When it was asked to end.
        pub asked: Option<Duration> => "asked_seconds",
        /// When it was gone.
        pub ended: Option<Duration> => "ended_seconds",
    }
}

message! {
    null: kept;
    /// The figures of every service.
    pub struct Metrics {
        /// How long the init has been running.
        pub uptime: Duration => "uptime_seconds",
        /// The services, in the file's order.
        pub services: Vec<ServiceMetrics> => "services",
    }
}

message! {
    null: kept;
    /// The figures of a service.
    pub struct ServiceMetrics {
        /// Its name.
        pub name: String => "name",
        /// Whether it has a process.
        pub up: bool => "up",
        /// Whether it is ready and live.
        pub healthy: bool => "healthy",
        /// How often it was started again.
        pub restarts: u32 => "restarts",
        /// What its main process holds.
        pub memory_bytes: Option<u64> => "memory_bytes",
        /// The processor time that its main process has used.
        pub cpu_seconds: Option<f64> => "cpu_seconds",
    }
}

message! {
    null: kept;
    /// What a service has written.
    pub struct LogText {
        /// Whole lines; bytes that are no UTF-8 are replaced.
        pub text: String => "text",
    }
}

message! {
    null: omitted;
    /// Something that has happened. `docs/control.md` says which kind has which fields.
    pub struct BundleEvent {
        /// When, as RFC 3339 writes it.
        pub time: String => "time",
        /// What.
        pub kind: EventKind => "event",
        /// To which service, if it is about one.
        pub service: Option<String> => "service",
        /// Its main process.
        pub pid: Option<u32> => "pid",
        /// The exit code.
        pub code: Option<u8> => "code",
        /// The signal.
        pub signal: Option<Signal> => "signal",
        /// Why it could not be started.
        pub reason: Option<String> => "reason",
        /// How long it takes.
        pub span: Option<Duration> => "seconds",
        /// Why the bundle comes down.
        pub cause: Option<String> => "cause",
        /// What a reload has started.
        pub started: Option<Vec<String>> => "started",
        /// What a reload has restarted.
        pub restarted: Option<Vec<String>> => "restarted",
        /// What a reload has stopped.
        pub stopped: Option<Vec<String>> => "stopped",
    }
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

/// What is sent if it went well.
pub(crate) fn yes(answer: &impl Field) -> Value {
    let mut answer = answer.encode();
    answer["ok"] = true.into();
    answer
}

/// What is sent if it did not.
pub(crate) fn no(refusal: &Refusal) -> Value {
    let mut answer = json!({"ok": false, "error": refusal.error});
    if refusal.is_late {
        answer["timeout"] = true.into();
    }
    answer
}

/// Reads an answer.
///
/// # Errors
/// If it is none; and in it, what the init has refused.
pub(crate) fn read<T: Field>(line: &[u8]) -> Result<Result<T, Refusal>, String> {
    let answer: Value =
        serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
    if answer["ok"] == true {
        return T::decode(Some(answer), "answer").map(Ok);
    }
    let error = answer["error"].as_str().unwrap_or("it did not say why").to_owned();
    Ok(Err(Refusal { error, is_late: answer["timeout"] == true }))
}

/// Reads what comes without being asked for.
///
/// # Errors
/// If it is something else.
pub(crate) fn read_more<T: Field>(line: &[u8]) -> Result<T, String> {
    let value = serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
    T::decode(Some(value), "line")
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
        fmt::Display::fmt(&self.encode(), formatter)
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
        assert_eq!(read::<Status>(line.as_bytes()), Ok(Ok(status)));
    }

    #[test]
    fn an_event_has_only_what_is_known() {
        let event =
            BundleEvent { signal: Some(Signal::HUP), ..BundleEvent::new(EventKind::SignalDropped) };
        let line = event.to_string();
        assert_eq!(line, "{\"event\":\"signal-dropped\",\"signal\":\"SIGHUP\",\"time\":\"\"}");
        assert_eq!(read_more(line.as_bytes()), Ok(event));
        let error = read_more::<BundleEvent>(b"{\"time\":\"\",\"event\":\"dance\"}").unwrap_err();
        assert!(error.starts_with("\"event\" is \"started\" or "), "{error}");
    }

    #[test]
    fn a_refusal_says_why() {
        let refusal = Refusal { error: "no".to_owned(), is_late: true };
        let line = no(&refusal).to_string();
        assert_eq!(line, "{\"error\":\"no\",\"ok\":false,\"timeout\":true}");
        assert_eq!(read::<()>(line.as_bytes()), Ok(Err(refusal)));
        assert_eq!(read::<()>(b"{\"ok\":true}"), Ok(Ok(())));
        assert!(read::<()>(b"x").unwrap_err().starts_with("no JSON: "));
        assert!(read::<HealthReport>(b"{\"ok\":true}").is_err());
    }
}
