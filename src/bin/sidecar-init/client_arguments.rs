//! The arguments of the subcommands for a running init.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use sidecar_init::bundle::NO_SOCKET;
use sidecar_init::client::{Client, Error};
use sidecar_init::internal::duration::{self, LONGEST};
use sidecar_init::protocol::{Goal, Metrics, Request, SOCKET_VARIABLE, Timeline};
use sidecar_init::signal::Signal;
use sidecar_init::words::Words;

use crate::client::{
    Action, ClientRequest, changes, done, events, follow, graph, health, show, status, watch,
};

/// The default time to wait for services.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Given {
    words: Vec<String>,
    socket: Option<PathBuf>,
    json: bool,
    watch: bool,
    no_wait: bool,
    follow: bool,
    goal: Option<Goal>,
    timeout: Option<Duration>,
    code: Option<u8>,
}

/// Parses the arguments after the subcommand.
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
    let mut client = socket.map_or_else(Client::default_socket, Client::at);
    let waits = match subcommand {
        "start" | "stop" | "restart" => !given.no_wait,
        _ => subcommand == "wait",
    };
    if let Some(limit) = given.timeout.filter(|_| !waits) {
        client = client.answer_within(limit);
    }
    let action = action(subcommand, given)?;
    Ok(ClientRequest { client, action, is_health_check: subcommand == "health" })
}

fn option(
    subcommand: &str,
    name: &str,
    given: &mut Given,
    parser: &mut Parser,
) -> Result<(), String> {
    let goes_with: &[&str] = match name {
        "socket" | "timeout" => Request::COMMANDS,
        "json" => &["status", "health", "graph", "reload"],
        "w" | "watch" => &["status"],
        "no-wait" => &["start", "stop", "restart"],
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
        "ready" | "exited" => given.goal = Goal::from_word(name),
        "timeout" => {
            let span = duration::parse(&utf8(value()?)?, LONGEST);
            given.timeout = Some(span.map_err(|error| format!("--timeout: {error}"))?);
        }
        _ => {
            let text = utf8(value()?)?;
            let wrong = || format!("--code: \"{text}\" is not a number from 0 to 255");
            given.code = Some(text.parse().map_err(|_| wrong())?);
        }
    }
    Ok(())
}

fn action(subcommand: &str, given: Given) -> Result<Action, String> {
    let Given { words, json, .. } = given;
    let wait = given.timeout.unwrap_or(DEFAULT_WAIT);
    let wait = (!given.no_wait).then_some(wait);
    Ok(match subcommand {
        "start" | "stop" | "restart" if words.is_empty() => {
            return Err(format!("{subcommand} takes the names of services: {subcommand} web"));
        }
        "start" => Box::new(move |client| client.start(words, wait).map(done)),
        "stop" => Box::new(move |client| client.stop(words, wait).map(done)),
        "restart" => Box::new(move |client| client.restart(words, wait).map(done)),
        "signal" => {
            let mut names = words;
            let Some(signal) = names.pop().filter(|_| !names.is_empty()) else {
                return Err("signal takes services and a signal: signal web HUP".to_owned());
            };
            let signal = signal.parse::<Signal>().map_err(|error| error.to_string())?;
            Box::new(move |client| client.signal(names, signal).map(done))
        }
        "wait" => {
            let goal = given.goal.ok_or("wait takes --ready or --exited")?;
            let name = only_one(subcommand, words)?;
            Box::new(move |client| client.wait(&name, goal, given.timeout).map(done))
        }
        "logs" => {
            let name = only_one(subcommand, words)?;
            match given.follow {
                true => Box::new(move |client| follow(client, &name)),
                false => Box::new(move |client| client.logs(&name).map(|text| show(&text))),
            }
        }
        _ if !words.is_empty() => {
            return Err(format!("{subcommand} takes no '{}'", words[0]));
        }
        "status" if given.watch && !json => Box::new(watch),
        "status" => asking(Client::status, json, status),
        "health" => Box::new(move |client| health(client, json)),
        "reload" => asking(Client::reload, json, changes),
        "graph" => asking(Client::graph, json, graph),
        "events" => Box::new(events),
        "timeline" => asking(Client::timeline, false, Timeline::to_svg),
        "metrics" => asking(Client::metrics, false, Metrics::to_prometheus),
        _ => Box::new(move |client| client.shutdown(given.code.unwrap_or(0)).map(done)),
    })
}

/// Makes a request, and prints the answer as text or as JSON.
fn asking<T: Display + 'static>(
    ask: fn(&Client) -> Result<T, Error>,
    json: bool,
    text: fn(&T) -> String,
) -> Action {
    Box::new(move |client| {
        let answer = ask(client)?;
        Ok(show(&if json { format!("{answer:#}\n") } else { text(&answer) }))
    })
}

fn only_one(subcommand: &str, words: Vec<String>) -> Result<String, String> {
    match <[String; 1]>::try_from(words) {
        Ok([word]) => Ok(word),
        Err(_) => Err(format!("{subcommand} takes the name of one service: {subcommand} web")),
    }
}

fn utf8(word: OsString) -> Result<String, String> {
    word.string().map_err(|error| error.to_string())
}
