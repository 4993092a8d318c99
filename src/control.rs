//! The language of the control socket: one JSON object a line, in both directions. Pure.
//!
//! `docs/control.md` describes it for those who write clients. A client in Rust is
//! [`Client`](crate::client::Client), whose answers are the structures here.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::duration::LONGEST;
use crate::signal::Signal;
use crate::words::words;

mod answer;
mod field;

pub use crate::event_kind::EventKind;
pub use crate::supervisor::StateKind;
pub use answer::{
    BundleEvent, Graph, GraphService, HealthReport, LogText, Metrics, Problem, Reloaded, Run,
    ServiceMetrics, ServiceStatus, Status, Timeline, TimelineService,
};
pub(crate) use answer::{Refusal, no, read, read_more, yes};
pub(crate) use field::Field;
use field::message;

/// Where the socket of a PID 1 is if nobody says otherwise: at the first place that it can write
/// to. In a container of another user than root, or with a read-only root, that is the second.
pub const DEFAULT_SOCKETS: [&str; 2] = ["/run/sidecar-init.sock", "/dev/shm/sidecar-init.sock"];
/// The variable that says where it is.
pub const SOCKET_VARIABLE: &str = "SIDECAR_INIT_SOCKET";
/// A longer request is refused.
pub const LONGEST_REQUEST: usize = 4096;

/// The requests: each with its command, and what else it takes.
macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident $(($fields:ident: $type:ty))? => $command:literal,)*) => {
        /// What a client wants.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Request {
            $($(#[$doc])* $name $(($type))?,)*
        }

        impl Request {
            /// All commands.
            pub const COMMANDS: &[&str] = &[$($command),*];

            /// The request as it is sent.
            fn encode(&self) -> Map<String, Value> {
                let mut object = Map::new();
                let command = match self {
                    $(Request::$name $(($fields))? => {
                        $($fields.put(&mut object);)?
                        $command
                    })*
                };
                object.insert("command".to_owned(), command.into());
                object
            }

            fn decode(command: &str, object: &mut Map<String, Value>) -> Result<Request, String> {
                match command {
                    $($command => Ok(Request::$name $((<$type>::take(object)?))?),)*
                    _ => Err(format!("there is no command {command:?}; see docs/control.md")),
                }
            }
        }
    };
}

requests! {
    /// How all services are.
    Status => "status",
    /// Whether every service is ready and well.
    Health => "health",
    /// Services are to run.
    Start(change: Change) => "start",
    /// Services are to be down.
    Stop(change: Change) => "stop",
    /// Services are to end and to start again.
    Restart(change: Change) => "restart",
    /// Services get a signal.
    Signal(signal: SendSignal) => "signal",
    /// The bundle's file is to be read again.
    Reload => "reload",
    /// Nothing is to be done; the answer comes when the service is there.
    Wait(wait: Wait) => "wait",
    /// What a service has written of late.
    Logs(logs: Logs) => "logs",
    /// Everything that happens from now on.
    Events => "events",
    /// Who comes after whom.
    Graph => "graph",
    /// When everything started and ended.
    Timeline => "timeline",
    /// Figures of the services.
    Metrics => "metrics",
    /// The bundle ends.
    Shutdown(shutdown: Shutdown) => "shutdown",
}

message! {
    null: omitted;
    /// Services, and whether the answer is to come when they are there.
    pub struct Change {
        /// Their names.
        pub services: Names => "services",
        /// How long to wait for them; `None`: not at all.
        pub wait: Option<Limit> => "wait_seconds",
    }
}

message! {
    null: omitted;
    /// Services, and what they are sent.
    pub struct SendSignal {
        /// What they are sent.
        pub signal: Signal => "signal",
        /// Their names.
        pub services: Names => "services",
    }
}

message! {
    null: omitted;
    /// A service, and what it is waited for to be.
    pub struct Wait {
        /// What it is waited for to be.
        pub goal: Goal => "for",
        /// Its name.
        pub service: String => "service",
        /// How long; `None`: for ever.
        pub timeout: Option<Limit> => "timeout_seconds",
    }
}

message! {
    null: omitted;
    /// Whose output.
    pub struct Logs {
        /// The name of the service.
        pub service: String => "service",
        /// Also what it writes from now on.
        pub follow: bool => "follow",
    }
}

message! {
    null: omitted;
    /// How the bundle ends.
    pub struct Shutdown {
        /// The exit code.
        pub code: u8 => "code",
    }
}

/// The names of services, of which there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl Field for Names {
    fn encode(&self) -> Value {
        self.0.encode()
    }

    fn decode(value: Option<Value>, key: &str) -> Result<Names, String> {
        let names = Vec::decode(value, key).ok().filter(|names| !names.is_empty());
        names.map(Names).ok_or_else(|| format!("{key:?} is a list of names, and not empty"))
    }
}

/// How long to wait at the most, in seconds; not longer than [`LONGEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Duration);

impl Field for Limit {
    fn encode(&self) -> Value {
        self.0.encode()
    }

    fn decode(value: Option<Value>, key: &str) -> Result<Limit, String> {
        let limit = Duration::decode(value, key).ok().filter(|span| *span <= LONGEST);
        limit
            .map(Limit)
            .ok_or_else(|| format!("{key:?} is a number from 0 to {}", LONGEST.as_secs()))
    }
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

impl Request {
    /// The line that asks for it, without its end.
    pub fn line(&self) -> String {
        Value::from(self.encode()).to_string()
    }
}

/// Reads a request, as the server does.
///
/// # Errors
/// One sentence for the client.
pub fn parse(line: &[u8]) -> Result<Request, String> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|error| format!("not a JSON object on one line: {error}"))?;
    let Value::Object(mut fields) = value else {
        return Err("a request is a JSON object, like {\"command\": \"status\"}".to_owned());
    };
    let Some(Value::String(command)) = fields.remove("command") else {
        return Err("a request has a text \"command\", like \"status\"".to_owned());
    };
    let request = Request::decode(&command, &mut fields)?;
    match fields.keys().next() {
        Some(unknown) => Err(format!("{command} takes no {unknown:?}")),
        None => Ok(request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_read() {
        let read = |text: &str| parse(text.as_bytes());
        assert_eq!(read("{\"command\": \"status\"}"), Ok(Request::Status));
        let names = |names: &[&str]| Names(names.iter().map(|name| (*name).to_owned()).collect());
        let wait = Some(Limit(Duration::from_secs(2)));
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
        let services = || Names(vec!["a".to_owned()]);
        let wait = Some(Limit(Duration::from_millis(1500)));
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

    #[test]
    fn what_is_wrong_is_said() {
        for (text, error) in [
            ("[]", "a request is a JSON object, like {\"command\": \"status\"}"),
            ("{}", "a request has a text \"command\", like \"status\""),
            ("{\"command\": \"dance\"}", "there is no command \"dance\"; see docs/control.md"),
            ("{\"command\": \"status\", \"x\": 1}", "status takes no \"x\""),
            (
                "{\"command\": \"stop\", \"services\": []}",
                "\"services\" is a list of names, and not empty",
            ),
            (
                "{\"command\": \"shutdown\", \"code\": 256}",
                "\"code\" is a whole number from 0 to 255",
            ),
            (
                "{\"command\": \"wait\", \"service\": \"a\", \"for\": \"x\"}",
                "\"for\" is \"ready\" or \"exited\", not \"x\"",
            ),
            (
                "{\"command\": \"stop\", \"services\": [\"a\"], \"wait_seconds\": -1}",
                "\"wait_seconds\" is a number from 0 to 31536000",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(error.to_owned()), "{text}");
        }
        assert!(parse(b"status").unwrap_err().starts_with("not a JSON object on one line: "));
    }

    proptest! {
        #[test]
        fn no_line_is_too_much_for_it(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&line);
        }

        #[test]
        fn no_object_is_too_much_for_it(command in "(status|stop|signal|wait|logs|shutdown)", key in "(services|signal|service|for|code|follow)", value in "(\"[a-z]{0,4}\"|-?[0-9]{1,30}|\\[[0-9\"a-z,]{0,8}\\]|true|null)") {
            let _ = parse(format!("{{\"command\":\"{command}\",\"{key}\":{value}}}").as_bytes());
        }
    }
}
