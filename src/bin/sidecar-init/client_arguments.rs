//! The arguments of the subcommands for a running init.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use sidecar_init::bundle::NO_SOCKET;
use sidecar_init::client::{Client, Error};
use sidecar_init::internal::duration::{self, LONGEST};
use sidecar_init::protocol::{Goal, Metrics, SOCKET_VARIABLE, Timeline};
use sidecar_init::signal::Signal;

use crate::client::{
    Action, ClientRequest, changes, done, events, follow, graph, health, show, status, watch,
};
use crate::command_line::{Setting, Subcommand};
use crate::options::{Print, alone, dashed, no_subcommand, option_of};

/// The default time to wait for services.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);

/// The meaning of the arguments.
pub(crate) enum Asked {
    Client(ClientRequest),
    Print(Print),
}

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
pub(crate) fn parse(subcommand: Subcommand, parser: &mut Parser) -> Result<Asked, String> {
    let mut given = Given::default();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let name = match argument {
            Arg::Value(word) => {
                given.words.push(utf8(word)?);
                continue;
            }
            Arg::Short(letter) => letter.to_string(),
            Arg::Long(name) => name.to_owned(),
        };
        match option_of(subcommand, &name)?.0 {
            Setting::Help => return alone(Print::Help(subcommand), parser).map(Asked::Print),
            Setting::Version => return alone(Print::Version, parser).map(Asked::Print),
            setting => option(setting, &name, &mut given, parser)?,
        }
    }
    if subcommand == Subcommand::Help {
        return help(given.words).map(Asked::Print);
    }
    let in_environment = std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty());
    let socket = given.socket.take().or_else(|| in_environment.map(PathBuf::from));
    if socket.as_ref().is_some_and(|socket| socket.as_os_str() == NO_SOCKET) {
        return Err(format!("{SOCKET_VARIABLE} says that there is no control socket"));
    }
    let mut client = socket.map_or_else(Client::default_socket, Client::at);
    let waits = match subcommand {
        Subcommand::Start | Subcommand::Stop | Subcommand::Restart => !given.no_wait,
        _ => subcommand == Subcommand::Wait,
    };
    if let Some(limit) = given.timeout.filter(|_| !waits) {
        client = client.answer_within(limit);
    }
    let action = action(subcommand, given)?;
    let is_health_check = subcommand == Subcommand::Health;
    Ok(Asked::Client(ClientRequest { client, action, is_health_check }))
}

fn help(words: Vec<String>) -> Result<Print, String> {
    let Some(word) = words.first() else { return Ok(Print::Help(Subcommand::Command)) };
    match Subcommand::from_word(word) {
        Some(subcommand) if words.len() == 1 => Ok(Print::Help(subcommand)),
        Some(_) => Err(format!("help takes one subcommand: help {word}")),
        None => Err(no_subcommand(word)),
    }
}

fn option(
    setting: Setting,
    name: &str,
    given: &mut Given,
    parser: &mut Parser,
) -> Result<(), String> {
    let mut value = || parser.value().map_err(|_| format!("{} needs a value", dashed(name)));
    match setting {
        Setting::Socket => given.socket = Some(value()?.into()),
        Setting::Json => given.json = true,
        Setting::Watch => given.watch = true,
        Setting::NoWait => given.no_wait = true,
        Setting::Follow => given.follow = true,
        Setting::Ready => given.goal = Some(Goal::Ready),
        Setting::Exited => given.goal = Some(Goal::Exited),
        Setting::Timeout => {
            let span = duration::parse(&utf8(value()?)?, LONGEST);
            given.timeout = Some(span.map_err(|error| format!("--timeout: {error}"))?);
        }
        // These subcommands have no other option in the table.
        _ => {
            let text = utf8(value()?)?;
            let wrong = || format!("--code: \"{text}\" is not a number from 0 to 255");
            given.code = Some(text.parse().map_err(|_| wrong())?);
        }
    }
    Ok(())
}

fn action(subcommand: Subcommand, given: Given) -> Result<Action, String> {
    let word = subcommand.form().word();
    let Given { words, json, .. } = given;
    let wait = given.timeout.unwrap_or(DEFAULT_WAIT);
    let wait = (!given.no_wait).then_some(wait);
    Ok(match subcommand {
        Subcommand::Start | Subcommand::Stop | Subcommand::Restart if words.is_empty() => {
            return Err(format!("{word} takes the names of services: {word} web"));
        }
        Subcommand::Start => Box::new(move |client| client.start(words, wait).map(done)),
        Subcommand::Stop => Box::new(move |client| client.stop(words, wait).map(done)),
        Subcommand::Restart => Box::new(move |client| client.restart(words, wait).map(done)),
        Subcommand::Signal => {
            let mut names = words;
            let Some(signal) = names.pop().filter(|_| !names.is_empty()) else {
                return Err("signal takes services and a signal: signal web HUP".to_owned());
            };
            let signal = signal.parse::<Signal>().map_err(|error| error.to_string())?;
            Box::new(move |client| client.signal(names, signal).map(done))
        }
        Subcommand::Wait => {
            let goal = given.goal.ok_or("wait takes --ready or --exited")?;
            let name = only_one(word, words)?;
            Box::new(move |client| client.wait(&name, goal, given.timeout).map(done))
        }
        Subcommand::Logs => {
            let name = only_one(word, words)?;
            match given.follow {
                true => Box::new(move |client| follow(client, &name)),
                false => Box::new(move |client| client.logs(&name).map(|text| show(&text))),
            }
        }
        _ if !words.is_empty() => {
            return Err(format!("{word} takes no '{}'", words[0]));
        }
        Subcommand::Status if given.watch && !json => Box::new(watch),
        Subcommand::Status => asking(Client::status, json, status),
        Subcommand::Health => Box::new(move |client| health(client, json)),
        Subcommand::Reload => asking(Client::reload, json, changes),
        Subcommand::Graph => asking(Client::graph, json, graph),
        Subcommand::Events => Box::new(events),
        Subcommand::Timeline => asking(Client::timeline, false, Timeline::to_svg),
        Subcommand::Metrics => asking(Client::metrics, false, Metrics::to_prometheus),
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

fn only_one(word: &str, words: Vec<String>) -> Result<String, String> {
    match <[String; 1]>::try_from(words) {
        Ok([word]) => Ok(word),
        Err(_) => Err(format!("{word} takes the name of one service: {word} web")),
    }
}

fn utf8(word: OsString) -> Result<String, String> {
    word.string().map_err(|error| error.to_string())
}
