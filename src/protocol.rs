//! The protocol of the control socket: one JSON object per line, in both directions. Pure.
//!
//! `docs/control.md` describes it for clients. The Rust client is [`Client`](crate::client::Client);
//! its answers are the structures of this module.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::value::MapDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

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

/// The default paths of a PID 1's socket: the first that is writable. For a user other than root, or
/// with a read-only root, that is the second.
pub const DEFAULT_SOCKETS: [&str; 2] = ["/run/sidecar-init.sock", "/dev/shm/sidecar-init.sock"];
/// The variable with the path of the socket.
pub const SOCKET_VARIABLE: &str = "SIDECAR_INIT_SOCKET";
/// Requests must be shorter.
pub const LONGEST_REQUEST: usize = 4096;
/// The version of the protocol. `docs/control.md` says what needs a new one.
pub const VERSION: u64 = 1;

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Request {
    /// The state of all services.
    #[serde(deserialize_with = "nothing_more")]
    Status,
    /// Whether every service is ready and live.
    #[serde(deserialize_with = "nothing_more")]
    Health,
    /// Starts services.
    Start(Change),
    /// Stops services.
    Stop(Change),
    /// Restarts services.
    Restart(Change),
    /// Signals services.
    Signal(SendSignal),
    /// Reloads the bundle's file.
    #[serde(deserialize_with = "nothing_more")]
    Reload,
    /// Waits for the state of a service.
    Wait(Wait),
    /// The recent output of a service.
    Logs(Logs),
    /// All events from now on.
    #[serde(deserialize_with = "nothing_more")]
    Events,
    /// The dependencies between services.
    #[serde(deserialize_with = "nothing_more")]
    Graph,
    /// When services started, were ready and ended.
    #[serde(deserialize_with = "nothing_more")]
    Timeline,
    /// Metrics of the services.
    #[serde(deserialize_with = "nothing_more")]
    Metrics,
    /// Shuts the bundle down.
    Shutdown(Shutdown),
}

/// Services, and whether to wait for the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Change {
    /// Their names, at least one.
    #[serde(deserialize_with = "services")]
    pub services: Vec<String>,
    /// How long to wait for them; `None`: not at all.
    #[serde(rename = "wait_seconds", default, skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "seconds::serialize", deserialize_with = "wait_seconds")]
    pub wait: Option<Duration>,
}

/// Services and a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SendSignal {
    /// The signal.
    #[serde(deserialize_with = "signal")]
    pub signal: Signal,
    /// Their names, at least one.
    #[serde(deserialize_with = "services")]
    pub services: Vec<String>,
}

/// A service and the state to wait for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Wait {
    /// The state to wait for.
    #[serde(rename = "for", serialize_with = "crate::words::serialize", deserialize_with = "goal")]
    pub goal: Goal,
    /// Its name.
    #[serde(deserialize_with = "service")]
    pub service: String,
    /// How long; `None`: without limit.
    #[serde(rename = "timeout_seconds", default, skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "seconds::serialize", deserialize_with = "timeout_seconds")]
    pub timeout: Option<Duration>,
}

/// A service and its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Logs {
    /// The name of the service.
    #[serde(deserialize_with = "service")]
    pub service: String,
    /// Also new output.
    #[serde(default, deserialize_with = "follow")]
    pub follow: bool,
}

/// The exit code of a shutdown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Shutdown {
    /// The exit code.
    #[serde(default, deserialize_with = "code")]
    pub code: u8,
}

words! {
    /// A state to wait for.
    #[non_exhaustive]
    pub enum Goal {
        /// Ready.
        Ready => "ready",
        /// Without a process.
        Exited => "exited",
    }
}

/// Functions that parse a field: its type, a check of the value, and the error message. serde's own
/// message for a wrong type does not name the key.
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
    version: (), |version: u64| (version == VERSION).then_some(()),
        "this init speaks only version 1 of the control protocol, and \"version\" is another";
}

/// A time of at most [`LONGEST`].
fn limit(seconds: Option<f64>) -> Option<Option<Duration>> {
    let Some(seconds) = seconds else { return Some(None) };
    Duration::try_from_secs_f64(seconds).ok().filter(|limit| *limit <= LONGEST).map(Some)
}

/// Parses a request without further fields.
fn nothing_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    let more = BTreeMap::<String, IgnoredAny>::deserialize(deserializer)?;
    let unknown = |key| format!("unknown field `{key}`: this command takes none");
    more.into_keys().next().map_or(Ok(()), |key| Err(D::Error::custom(unknown(key))))
}

/// The fields of a request, each as often as it is there.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Fields;

            fn expecting(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                Ok(())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(All)
    }
}

impl Request {
    /// All commands.
    pub const COMMANDS: &[&str] = &[
        "status", "health", "start", "stop", "restart", "signal", "reload", "wait", "logs",
        "events", "graph", "timeline", "metrics", "shutdown",
    ];

    /// The request as a line, without the newline.
    pub fn line(&self) -> String {
        json(self).to_string()
    }
}

/// Parses a request, as the server does.
///
/// # Errors
/// One sentence for the client.
pub fn parse(line: &[u8]) -> Result<Request, String> {
    let form = "a request is a JSON object on one line, like {\"command\": \"status\"}";
    // serde would also accept a list of the values of all fields.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(form.to_owned());
    }
    let read = || {
        let Fields(mut fields) = serde_json::from_slice(line)?;
        // First, because the rest of another version may mean something else. Without it the request is of
        // version 1: that of clients which name none.
        if let Some(at) = fields.iter().position(|(key, _)| key == "version") {
            version(fields.remove(at).1)?;
        }
        Request::deserialize(MapDeserializer::new(fields.into_iter()))
    };
    read().map_err(|error: serde_json::Error| {
        let text = match error.line() {
            // It is JSON, on one line.
            0 => error.to_string(),
            _ => format!("{form}: {error}"),
        };
        // The message may contain text from the client.
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

    /// Parses a request with apostrophes for quotes; returns the error in the same way.
    fn error(text: &str) -> String {
        let read = parse(text.replace('\'', "\"").as_bytes());
        read.map_or_else(|error| error.replace('"', "'"), |request| format!("{request:?}"))
    }

    #[test]
    fn what_is_wrong_is_said() {
        let limit = format!("is a number from 0 to {}", LONGEST.as_secs());
        for (text, expected) in [
            ("'status', 'x': 1", "unknown field `x`: this command takes none"),
            ("'stop', 'command': 'stop'", "duplicate field `command`"),
            (
                "'status', 'version': 1, 'version': 1",
                "unknown field `version`: this command takes none",
            ),
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
    fn a_request_may_name_its_version() {
        assert_eq!(error("{'command': 'status', 'version': 1}"), "Status");
        let other =
            "this init speaks only version 1 of the control protocol, and 'version' is another";
        assert!(other.contains(&format!("version {VERSION} ")));
        for text in [
            // Whatever else a later version says.
            "{'version': 2, 'command': 'dance', 'x': 1}",
            "{'command': 'shutdown', 'code': 1000, 'version': 2}",
            "{'commands': ['status'], 'version': 1.5}",
            "{'command': 'status', 'version': '1'}",
            "{'version': null}",
        ] {
            assert_eq!(error(text), other, "{text}");
        }
    }

    #[test]
    fn a_request_has_one_form() {
        for (text, expected) in [
            ("", ""),
            ("status", ""),
            ("['status']", ""),
            ("{", ": EOF while parsing an object at line 1 column 1"),
            ("{'command': 'status'} x", ": trailing characters at line 1 column 23"),
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
        assert_eq!(
            error,
            format!("unknown variant `dance`, expected one of {}", commands.join(", "))
        );
    }
}
