//! The language of the control socket: one JSON object a line, in both directions. Pure.
//!
//! `docs/control.md` describes it for those who write clients. A client in Rust is
//! [`Client`](crate::client::Client), whose answers are the structures here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

use crate::duration::LONGEST;
use crate::signal::Signal;
use crate::words::{Words, words};

mod answer;
mod seconds;

pub use crate::event_kind::EventKind;
pub use crate::supervisor::StateKind;
pub use answer::{
    BundleEvent, Graph, GraphService, HealthReport, LogText, Metrics, Problem, Reloaded, Run,
    ServiceMetrics, ServiceStatus, Status, Timeline, TimelineService,
};
pub(crate) use answer::{Refusal, accepted, json, no, yes};

/// Where the socket of a PID 1 is if nobody says otherwise: at the first place that it can write
/// to. In a container of another user than root, or with a read-only root, that is the second.
pub const DEFAULT_SOCKETS: [&str; 2] = ["/run/sidecar-init.sock", "/dev/shm/sidecar-init.sock"];
/// The variable that says where it is.
pub const SOCKET_VARIABLE: &str = "SIDECAR_INIT_SOCKET";
/// A longer request is refused.
pub const LONGEST_REQUEST: usize = 4096;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Request {
    /// How all services are.
    #[serde(deserialize_with = "nothing_more")]
    Status,
    /// Whether every service is ready and well.
    #[serde(deserialize_with = "nothing_more")]
    Health,
    /// Services are to run.
    Start(Change),
    /// Services are to be down.
    Stop(Change),
    /// Services are to end and to start again.
    Restart(Change),
    /// Services get a signal.
    Signal(SendSignal),
    /// The bundle's file is to be read again.
    #[serde(deserialize_with = "nothing_more")]
    Reload,
    /// Nothing is to be done; the answer comes when the service is there.
    Wait(Wait),
    /// What a service has written of late.
    Logs(Logs),
    /// Everything that happens from now on.
    #[serde(deserialize_with = "nothing_more")]
    Events,
    /// Who comes after whom.
    #[serde(deserialize_with = "nothing_more")]
    Graph,
    /// When everything started and ended.
    #[serde(deserialize_with = "nothing_more")]
    Timeline,
    /// Figures of the services.
    #[serde(deserialize_with = "nothing_more")]
    Metrics,
    /// The bundle ends.
    Shutdown(Shutdown),
}

/// Services, and whether the answer is to come when they are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Change {
    /// Their names, of which there is at least one.
    #[serde(deserialize_with = "services")]
    pub services: Vec<String>,
    /// How long to wait for them; `None`: not at all.
    #[serde(rename = "wait_seconds", default, skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "seconds::serialize", deserialize_with = "wait_seconds")]
    pub wait: Option<Duration>,
}

/// Services, and what they are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SendSignal {
    /// What they are sent.
    #[serde(deserialize_with = "signal")]
    pub signal: Signal,
    /// Their names, of which there is at least one.
    #[serde(deserialize_with = "services")]
    pub services: Vec<String>,
}

/// A service, and what it is waited for to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Wait {
    /// What it is waited for to be.
    #[serde(rename = "for", serialize_with = "crate::words::serialize", deserialize_with = "goal")]
    pub goal: Goal,
    /// Its name.
    #[serde(deserialize_with = "service")]
    pub service: String,
    /// How long; `None`: for ever.
    #[serde(rename = "timeout_seconds", default, skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "seconds::serialize", deserialize_with = "timeout_seconds")]
    pub timeout: Option<Duration>,
}

/// Whose output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Logs {
    /// The name of the service.
    #[serde(deserialize_with = "service")]
    pub service: String,
    /// Also what it writes from now on.
    #[serde(default, deserialize_with = "follow")]
    pub follow: bool,
}

/// How the bundle ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Shutdown {
    /// The exit code.
    #[serde(default, deserialize_with = "code")]
    pub code: u8,
}

words! {
    /// What a service is waited for to be.
    #[non_exhaustive]
    pub enum Goal {
        /// Ready.
        Ready => "ready",
        /// Without a process.
        Exited => "exited",
    }
}

/// Functions that read a field: its type, the check of what was read, and what is said if it is
/// something else. What serde says of a wrong type does not name the key.
macro_rules! fields {
    ($($name:ident: $type:ty, $check:expr, $takes:literal;)*) => {$(
        fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
            let value = Deserialize::deserialize(deserializer).ok().and_then($check);
            value.ok_or_else(|| D::Error::custom($takes))
        }
    )*};
}

fields! {
    services: Vec<String>, |names: Vec<String>| Some(names).filter(|names| !names.is_empty()),
        "\"services\" is a list of names, and not empty";
    service: String, Some, "\"service\" is the name of a service";
    signal: Signal, Some,
        "\"signal\" is a name such as \"TERM\", \"HUP\" or \"RTMIN+3\", or a number from \"1\" to \"64\"";
    goal: Goal, |word: String| Goal::from_word(&word), "\"for\" is \"ready\" or \"exited\"";
    follow: bool, Some, "\"follow\" is true or false";
    code: u8, Some, "\"code\" is a whole number from 0 to 255";
    wait_seconds: Option<Duration>, limit, "\"wait_seconds\" is a number from 0 to 31536000";
    timeout_seconds: Option<Duration>, limit, "\"timeout_seconds\" is a number from 0 to 31536000";
}

/// A time that is not longer than [`LONGEST`].
fn limit(seconds: Option<f64>) -> Option<Option<Duration>> {
    let Some(seconds) = seconds else { return Some(None) };
    Duration::try_from_secs_f64(seconds).ok().filter(|limit| *limit <= LONGEST).map(Some)
}

/// Reads the rest of a request that is a command alone.
fn nothing_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    let more = BTreeMap::<String, IgnoredAny>::deserialize(deserializer)?;
    let unknown = |key| format!("unknown field `{key}`: this command takes none");
    more.into_keys().next().map_or(Ok(()), |key| Err(D::Error::custom(unknown(key))))
}

impl Request {
    /// All commands.
    pub const COMMANDS: &[&str] = &[
        "status", "health", "start", "stop", "restart", "signal", "reload", "wait", "logs",
        "events", "graph", "timeline", "metrics", "shutdown",
    ];

    /// The line that asks for it, without its end.
    pub fn line(&self) -> String {
        json(self).to_string()
    }
}

/// Reads a request, as the server does.
///
/// # Errors
/// One sentence for the client.
pub fn parse(line: &[u8]) -> Result<Request, String> {
    let form = "a request is a JSON object on one line, like {\"command\": \"status\"}";
    // A list of the values of all fields would do for serde as well.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(form.to_owned());
    }
    serde_json::from_slice(line).map_err(|error| {
        let text = match error.line() {
            // It is about a field behind the command.
            0 => error.to_string(),
            _ => format!("{form}: {error}"),
        };
        // A key or a command in it is the client's text as it came.
        text.replace(char::is_control, "\u{fffd}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let read = |text: &str| parse(text.as_bytes());
        assert_eq!(read("{\"command\": \"status\"}"), Ok(Request::Status));
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let wait = Some(Duration::from_secs(2));
        let change = Change { services: names(&["a"]), wait };
        assert_eq!(
            read("{\"command\": \"stop\", \"services\": [\"a\"], \"wait_seconds\": 2}"),
            Ok(Request::Stop(change))
        );
        assert_eq!(
            read("{\"command\": \"signal\", \"services\": [\"a\", \"b\"], \"signal\": \"HUP\"}"),
            Ok(Request::Signal(SendSignal { services: names(&["a", "b"]), signal: Signal::HUP }))
        );
        assert_eq!(
            read("{\"command\": \"wait\", \"service\": \"a\", \"for\": \"exited\"}"),
            Ok(Request::Wait(Wait { service: "a".to_owned(), goal: Goal::Exited, timeout: None }))
        );
        assert_eq!(
            read("{\"command\": \"shutdown\", \"code\": 3}"),
            Ok(Request::Shutdown(Shutdown { code: 3 }))
        );
        assert_eq!(
            read("{\"command\": \"logs\", \"service\": \"a\", \"follow\": true}"),
            Ok(Request::Logs(Logs { service: "a".to_owned(), follow: true }))
        );
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        let services = || vec!["a".to_owned()];
        let wait = Some(Duration::from_millis(1500));
        for request in [
            Request::Metrics,
            Request::Stop(Change { services: services(), wait }),
            Request::Start(Change { services: services(), wait: None }),
            Request::Signal(SendSignal { services: services(), signal: Signal::TERM }),
            Request::Wait(Wait { service: "a".to_owned(), goal: Goal::Ready, timeout: wait }),
            Request::Logs(Logs { service: "a".to_owned(), follow: false }),
            Request::Shutdown(Shutdown { code: 255 }),
        ] {
            assert_eq!(parse(request.line().as_bytes()), Ok(request.clone()), "{request:?}");
        }
    }

    /// Reads a request in which apostrophes stand for quotes; gives what is wrong with it likewise.
    fn error(text: &str) -> String {
        let read = parse(text.replace('\'', "\"").as_bytes());
        read.map_or_else(|error| error.replace('"', "'"), |request| format!("{request:?}"))
    }

    #[test]
    fn what_is_wrong_is_said() {
        let limit = format!("is a number from 0 to {}", LONGEST.as_secs());
        for (text, expected) in [
            ("'status', 'x': 1", "unknown field `x`: this command takes none"),
            ("'shutdown', 'cod\\u001b': 1", "unknown field `cod\u{fffd}`, expected `code`"),
            ("'stop'", "missing field `services`"),
            ("'stop', 'services': []", "'services' is a list of names, and not empty"),
            ("'stop', 'services': 'a'", "'services' is a list of names, and not empty"),
            ("'logs', 'service': ['a']", "'service' is the name of a service"),
            ("'logs', 'follow': 1", "'follow' is true or false"),
            (
                "'signal', 'signal': 'X'",
                "'signal' is a name such as 'TERM', 'HUP' or 'RTMIN+3', or a number from '1' to '64'",
            ),
            ("'shutdown', 'code': 256", "'code' is a whole number from 0 to 255"),
            ("'shutdown', 'code': 1, 'code': 2", "duplicate field `code`"),
            ("'wait', 'for': 'x'", "'for' is 'ready' or 'exited'"),
            ("'wait', 'for': {'ready': null}", "'for' is 'ready' or 'exited'"),
            ("'wait', 'timeout_seconds': '1'", &format!("'timeout_seconds' {limit}")),
            ("'stop', 'wait_seconds': -1", &format!("'wait_seconds' {limit}")),
            ("'stop', 'wait_seconds': 31536000.1", &format!("'wait_seconds' {limit}")),
        ] {
            assert_eq!(error(&format!("{{'command': {text}}}")), expected, "{text}");
        }
    }

    #[test]
    fn a_request_has_one_form() {
        for (text, expected) in [
            ("", ""),
            ("status", ""),
            ("['status']", ""),
            ("{", ": EOF while parsing an object at line 1 column 1"),
            ("{}", ": missing field `command` at line 1 column 2"),
            ("{'command': 'status'} x", ": trailing characters at line 1 column 23"),
            (
                "{'command': 'stop', 'command': 'stop'}",
                ": duplicate field `command` at line 1 column 29",
            ),
        ] {
            let form = "a request is a JSON object on one line, like {'command': 'status'}";
            assert_eq!(error(text), format!("{form}{expected}"), "{text}");
        }
        let deep = format!("{{'services': {}", "[".repeat(LONGEST_REQUEST));
        assert!(error(&deep).contains("recursion limit exceeded"));
    }

    #[test]
    fn the_commands_are_all() {
        let commands: Vec<String> =
            Request::COMMANDS.iter().map(|command| format!("`{command}`")).collect();
        let error = error("{'command': 'dance'}");
        let expected =
            format!("unknown variant `dance`, expected one of {} at", commands.join(", "));
        assert!(error.contains(&expected), "{error}");
    }
}
