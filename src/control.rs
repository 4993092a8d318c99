//! The language of the control socket: one JSON object a line, in both directions. Pure.
//! `docs/control.md` describes it for those who write clients.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::duration::LONGEST;
use crate::signal::Signal;

/// Where the socket of a PID 1 is if nobody says otherwise: at the first place that it can write
/// to. In a container of another user than root, or with a read-only root, that is the second.
pub const DEFAULT_SOCKETS: [&str; 2] = ["/run/sidecar-init.sock", "/dev/shm/sidecar-init.sock"];
/// The variable that says where it is.
pub const SOCKET_VARIABLE: &str = "SIDECAR_INIT_SOCKET";
/// A longer request is refused.
pub const LONGEST_REQUEST: usize = 4096;

/// What a client wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// How all services are.
    Status,
    /// Whether every service is ready and well.
    Health,
    /// Services are to run.
    Start(Change),
    /// Services are to be down.
    Stop(Change),
    /// Services are to end and to start again.
    Restart(Change),
    /// Services get this signal.
    Signal(Vec<String>, Signal),
    /// Nothing is to be done; the answer comes when the service is there.
    Wait(String, Goal, Option<Duration>),
    /// What a service has written of late; `true`: and what it writes from now on.
    Logs(String, bool),
    /// Everything that happens from now on.
    Events,
    /// Who comes after whom.
    Graph,
    /// When everything started and ended, as an SVG.
    Timeline,
    /// The figures of a status, as Prometheus reads them.
    Metrics,
    /// The bundle's file is to be read again.
    Reload,
    /// The bundle ends with this code.
    Shutdown(u8),
}

/// Services, and whether the answer is to come when they are there.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Their names; never empty.
    pub services: Vec<String>,
    /// How long to wait for them; `None`: not at all.
    pub wait: Option<Duration>,
}

/// What a service is waited for to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Ready.
    Ready,
    /// Without a process.
    Exited,
}

/// Reads a request.
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
    let fields = &mut fields;
    let request = match &*command {
        "status" => Request::Status,
        "health" => Request::Health,
        "start" => Request::Start(change(fields)?),
        "stop" => Request::Stop(change(fields)?),
        "restart" => Request::Restart(change(fields)?),
        "signal" => {
            let signal = text(fields, "signal")?.parse::<Signal>();
            Request::Signal(services(fields)?, signal.map_err(|error| error.to_string())?)
        }
        "wait" => {
            let goal = match &*text(fields, "for")? {
                "ready" => Goal::Ready,
                "exited" => Goal::Exited,
                other => return Err(format!("\"for\" is \"ready\" or \"exited\", not {other:?}")),
            };
            Request::Wait(text(fields, "service")?, goal, seconds(fields, "timeout_seconds")?)
        }
        "logs" => Request::Logs(text(fields, "service")?, flag(fields, "follow")?),
        "events" => Request::Events,
        "graph" => Request::Graph,
        "timeline" => Request::Timeline,
        "metrics" => Request::Metrics,
        "reload" => Request::Reload,
        "shutdown" => Request::Shutdown(code(fields)?),
        other => return Err(format!("there is no command {other:?}; see docs/control.md")),
    };
    match fields.keys().next() {
        Some(unknown) => Err(format!("{command} takes no {unknown:?}")),
        None => Ok(request),
    }
}

fn change(fields: &mut Map<String, Value>) -> Result<Change, String> {
    Ok(Change { services: services(fields)?, wait: seconds(fields, "wait_seconds")? })
}

fn services(fields: &mut Map<String, Value>) -> Result<Vec<String>, String> {
    let wrong = || "\"services\" is a list of names, and not empty".to_owned();
    let Some(Value::Array(names)) = fields.remove("services") else { return Err(wrong()) };
    let names: Option<Vec<String>> =
        names.into_iter().map(|name| name.as_str().map(str::to_owned)).collect();
    names.filter(|names| !names.is_empty()).ok_or_else(wrong)
}

fn text(fields: &mut Map<String, Value>, key: &str) -> Result<String, String> {
    match fields.remove(key) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(format!("{key:?} is missing, or no text")),
    }
}

fn flag(fields: &mut Map<String, Value>, key: &str) -> Result<bool, String> {
    match fields.remove(key) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(_) => Err(format!("{key:?} is true or false")),
    }
}

fn seconds(fields: &mut Map<String, Value>, key: &str) -> Result<Option<Duration>, String> {
    let Some(value) = fields.remove(key) else { return Ok(None) };
    let span = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match span.filter(|span| *span <= LONGEST) {
        Some(span) => Ok(Some(span)),
        None => Err(format!("{key:?} is a number from 0 to {}", LONGEST.as_secs())),
    }
}

fn code(fields: &mut Map<String, Value>) -> Result<u8, String> {
    let Some(value) = fields.remove("code") else { return Ok(0) };
    let code = value.as_u64().and_then(|code| u8::try_from(code).ok());
    code.ok_or_else(|| "\"code\" is a whole number from 0 to 255".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_read() {
        let read = |text: &str| parse(text.as_bytes());
        assert_eq!(read("{\"command\": \"status\"}"), Ok(Request::Status));
        let change = Change { services: vec!["a".to_owned()], wait: Some(Duration::from_secs(2)) };
        assert_eq!(
            read("{\"command\": \"stop\", \"services\": [\"a\"], \"wait_seconds\": 2}"),
            Ok(Request::Stop(change))
        );
        assert_eq!(
            read("{\"command\": \"signal\", \"services\": [\"a\", \"b\"], \"signal\": \"HUP\"}"),
            Ok(Request::Signal(vec!["a".to_owned(), "b".to_owned()], Signal::HUP))
        );
        assert_eq!(
            read("{\"command\": \"wait\", \"service\": \"a\", \"for\": \"exited\"}"),
            Ok(Request::Wait("a".to_owned(), Goal::Exited, None))
        );
        assert_eq!(read("{\"command\": \"shutdown\", \"code\": 3}"), Ok(Request::Shutdown(3)));
        assert_eq!(
            read("{\"command\": \"logs\", \"service\": \"a\", \"follow\": true}"),
            Ok(Request::Logs("a".to_owned(), true))
        );
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
