//! The arguments of the subcommands that talk to a running init.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Value, json};
use sidecar_init::bundle::NO_SOCKET;
use sidecar_init::control::SOCKET_VARIABLE;
use sidecar_init::duration::{self, LONGEST};
use sidecar_init::signal::Signal;

/// The subcommands, for the top of the command line.
pub(crate) const SUBCOMMANDS: [&str; 14] = [
    "status", "health", "start", "stop", "restart", "signal", "reload", "wait", "logs", "events",
    "graph", "timeline", "metrics", "shutdown",
];

/// How long to wait for what was asked for, if nobody says.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// How long the init may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// The same where it has files to read, or users to look up.
const RELOAD_TIME: Duration = Duration::from_secs(60);

/// What to ask the init, and how to show the answer.
pub(crate) struct ClientRequest {
    /// `None`: at one of its usual places.
    pub(crate) socket: Option<PathBuf>,
    /// The request as the control socket takes it.
    pub(crate) request: Value,
    /// How long the init may take to answer.
    pub(crate) limit: Duration,
    /// The answer comes when something has happened.
    pub(crate) waits: bool,
    pub(crate) view: View,
}

/// How to show the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// A table of services; with `watch` again and again.
    Status {
        watch: bool,
    },
    Health,
    Graph,
    /// Which services a reload has started, stopped and restarted.
    Changes,
    /// Nothing, if it went well.
    Done,
    /// The text in it.
    Text,
    /// The text in it, and in all that follows.
    Follow,
    /// Each line as it comes.
    Lines,
    /// The answer itself.
    Json,
}

#[derive(Default)]
struct Given {
    words: Vec<String>,
    socket: Option<PathBuf>,
    json: bool,
    watch: bool,
    no_wait: bool,
    follow: bool,
    goal: Option<&'static str>,
    timeout: Option<Duration>,
    code: Option<u8>,
}

/// Reads what follows the subcommand.
pub(crate) fn parse(subcommand: &str, parser: &mut Parser) -> Result<ClientRequest, String> {
    let mut given = Given::default();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Value(word) => given.words.push(utf8(word)?),
            Arg::Short(letter) => option(subcommand, &letter.to_string(), &mut given, parser)?,
            Arg::Long(name) => {
                let name = name.to_owned();
                option(subcommand, &name, &mut given, parser)?;
            }
        }
    }
    let in_environment = std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty());
    let socket = given.socket.take().or_else(|| in_environment.map(PathBuf::from));
    if socket.as_ref().is_some_and(|socket| socket.as_os_str() == NO_SOCKET) {
        return Err(format!("{SOCKET_VARIABLE} says that there is no control socket"));
    }
    let waits = match subcommand {
        "start" | "stop" | "restart" => !given.no_wait,
        _ => subcommand == "wait",
    };
    let usual = if subcommand == "reload" { RELOAD_TIME } else { ANSWER_TIME };
    let limit = given.timeout.filter(|_| !waits).unwrap_or(usual);
    let (request, view) = request(subcommand, given)?;
    Ok(ClientRequest { socket, request, limit, waits, view })
}

fn option(
    subcommand: &str,
    name: &str,
    given: &mut Given,
    parser: &mut Parser,
) -> Result<(), String> {
    let goes_with: &[&str] = match name {
        "socket" => &SUBCOMMANDS,
        "json" => &["status", "health", "graph", "reload"],
        "w" | "watch" => &["status"],
        "no-wait" => &["start", "stop", "restart"],
        "timeout" => &SUBCOMMANDS,
        "f" | "follow" => &["logs"],
        "ready" | "exited" => &["wait"],
        "code" => &["shutdown"],
        _ => &[],
    };
    let dashed = if name.len() == 1 { format!("-{name}") } else { format!("--{name}") };
    if !goes_with.contains(&subcommand) {
        return Err(format!("{subcommand} takes no option {dashed}"));
    }
    let mut value = || parser.value().map_err(|_| format!("{dashed} needs a value"));
    match name {
        "socket" => given.socket = Some(value()?.into()),
        "json" => given.json = true,
        "w" | "watch" => given.watch = true,
        "no-wait" => given.no_wait = true,
        "f" | "follow" => given.follow = true,
        "ready" => given.goal = Some("ready"),
        "exited" => given.goal = Some("exited"),
        "timeout" => {
            let span = duration::parse(&utf8(value()?)?, LONGEST);
            given.timeout = Some(span.map_err(|error| format!("--timeout: {error}"))?);
        }
        _ => {
            let text = utf8(value()?)?;
            let wrong = || format!("--code: \"{text}\" is no number from 0 to 255");
            given.code = Some(text.parse().map_err(|_| wrong())?);
        }
    }
    Ok(())
}

fn request(subcommand: &str, given: Given) -> Result<(Value, View), String> {
    let Given { words, json, watch, .. } = &given;
    let or_json = |view| if *json { View::Json } else { view };
    let wait = given.timeout.unwrap_or(DEFAULT_WAIT).as_secs_f64();
    let request = match subcommand {
        "start" | "stop" | "restart" => {
            at_least_one(subcommand, words)?;
            let mut request = json!({"command": subcommand, "services": words});
            if !given.no_wait {
                request["wait_seconds"] = json!(wait);
            }
            (request, View::Done)
        }
        "signal" => {
            let Some((signal, names)) = words.split_last().filter(|(_, names)| !names.is_empty())
            else {
                return Err("signal takes services and a signal: signal web HUP".to_owned());
            };
            signal.parse::<Signal>().map_err(|error| error.to_string())?;
            (json!({"command": "signal", "services": names, "signal": signal}), View::Done)
        }
        "wait" => {
            let goal = given.goal.ok_or("wait takes --ready or --exited")?;
            let mut request =
                json!({"command": "wait", "service": only_one(subcommand, words)?, "for": goal});
            if given.timeout.is_some() {
                request["timeout_seconds"] = json!(wait);
            }
            (request, View::Done)
        }
        "logs" => {
            let name = only_one(subcommand, words)?;
            let view = if given.follow { View::Follow } else { View::Text };
            (json!({"command": "logs", "service": name, "follow": given.follow}), view)
        }
        _ if !words.is_empty() => {
            return Err(format!("{subcommand} takes no '{}'", words[0]));
        }
        "status" => (json!({"command": "status"}), or_json(View::Status { watch: *watch })),
        "health" => (json!({"command": "health"}), or_json(View::Health)),
        "reload" => (json!({"command": "reload"}), or_json(View::Changes)),
        "graph" => (json!({"command": "graph"}), or_json(View::Graph)),
        "events" => (json!({"command": "events"}), View::Lines),
        "shutdown" => (json!({"command": "shutdown", "code": given.code.unwrap_or(0)}), View::Done),
        _ => (json!({"command": subcommand}), View::Text),
    };
    Ok(request)
}

fn at_least_one(subcommand: &str, words: &[String]) -> Result<(), String> {
    match words {
        [] => Err(format!("{subcommand} takes the names of services: {subcommand} web")),
        _ => Ok(()),
    }
}

fn only_one<'a>(subcommand: &str, words: &'a [String]) -> Result<&'a str, String> {
    match words {
        [word] => Ok(word),
        _ => Err(format!("{subcommand} takes the name of one service: {subcommand} web")),
    }
}

fn utf8(word: OsString) -> Result<String, String> {
    word.string().map_err(|error| error.to_string())
}
