//! Parses the command line. Arguments of the command are not changed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use sidecar_init::bundle::LogMode;
use sidecar_init::bundle::toml::Overrides;
use sidecar_init::exit::Remap;
use sidecar_init::internal::duration::{self, LONGEST_GRACE};
use sidecar_init::plan::CommandOptions;
use sidecar_init::protocol::Request as ClientCommand;
use sidecar_init::signal::Signal;
use sidecar_init::source::BundleSource;
use sidecar_init::supervisor::Target;
use sidecar_init::words::Words;
use strict_toml::nearest;

use crate::client::ClientRequest;
use crate::client_arguments;

const GRACE_VARIABLE: &str = "SIDECAR_INIT_GRACE";
const REMAP_VARIABLE: &str = "SIDECAR_INIT_REMAP";
const CONFIG_VARIABLE: &str = "SIDECAR_INIT_CONFIG";
const DEFAULT_FILE: &str = "/etc/sidecar-init/bundle.toml";

/// A parsed command line.
pub(crate) enum Request {
    Help,
    Version,
    Command(CommandRequest),
    Bundle(BundleRequest),
    Check(CheckRequest),
    Client(ClientRequest),
}

/// Options for one command and for bundles.
#[derive(Default)]
pub(crate) struct Common {
    pub(crate) remap: Remap,
    pub(crate) termination_log: Option<PathBuf>,
    pub(crate) quiet: bool,
}

pub(crate) struct CommandRequest {
    pub(crate) common: Common,
    pub(crate) command: Vec<OsString>,
    pub(crate) options: CommandOptions,
}

pub(crate) struct BundleRequest {
    pub(crate) common: Common,
    pub(crate) source: BundleSource,
    pub(crate) ready_file: Option<PathBuf>,
}

pub(crate) struct CheckRequest {
    pub(crate) source: BundleSource,
    pub(crate) json: bool,
}

/// The forms of the command line, which accept different options.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Command,
    Run,
    Check,
}

/// The values of all options of all forms.
#[derive(Default)]
struct Given {
    common: Common,
    grace: Option<Duration>,
    group: bool,
    map: BTreeMap<Signal, Option<Signal>>,
    parent_death_signal: Option<Signal>,
    file: Option<PathBuf>,
    only: Option<String>,
    log: Option<LogMode>,
    ready_file: Option<PathBuf>,
    json: bool,
    command: Option<Vec<OsString>>,
}

/// Parses the arguments, with the program's name first.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Request, String> {
    let mut parser = Parser::from_iter(arguments);
    let mut mode = Mode::Command;
    let mut given = Given::default();
    let mut first = true;
    loop {
        // Everything after `--` belongs to the command.
        if parser.try_raw_args().is_some_and(|raw| raw.peek().is_some_and(|next| next == "--")) {
            given.command = Some(rest(&mut parser));
            break;
        }
        match parser.next().map_err(|error| error.to_string())? {
            None => break,
            Some(Arg::Short('h') | Arg::Long("help")) => return alone(Request::Help, &mut parser),
            Some(Arg::Short('V') | Arg::Long("version")) => {
                return alone(Request::Version, &mut parser);
            }
            Some(Arg::Value(word)) if first && word == "run" => mode = Mode::Run,
            Some(Arg::Value(word)) if first && word == "check" => mode = Mode::Check,
            Some(Arg::Value(word)) => {
                let subcommand =
                    word.to_str().filter(|word| first && ClientCommand::COMMANDS.contains(word));
                return match subcommand {
                    Some(subcommand) => {
                        client_arguments::parse(subcommand, &mut parser).map(Request::Client)
                    }
                    None => Err(stray_word(&word, mode)),
                };
            }
            Some(Arg::Short(letter)) => option(&letter.to_string(), mode, &mut given, &mut parser)?,
            Some(Arg::Long(name)) => {
                let name = name.to_owned();
                option(&name, mode, &mut given, &mut parser)?;
            }
        }
        first = false;
    }
    request(mode, given)
}

/// The request of an option without further arguments.
fn alone(request: Request, parser: &mut Parser) -> Result<Request, String> {
    match parser.optional_value() {
        None => Ok(request),
        Some(value) => Err(format!("unexpected '{}'", value.to_string_lossy())),
    }
}

fn rest(parser: &mut Parser) -> Vec<OsString> {
    parser.raw_args().map(|raw| raw.skip(1).collect()).unwrap_or_default()
}

fn stray_word(word: &OsString, mode: Mode) -> String {
    let word = word.to_string_lossy();
    let is_subcommand =
        ["run", "check"].contains(&&*word) || ClientCommand::COMMANDS.contains(&&*word);
    match mode {
        Mode::Command if is_subcommand => {
            format!("'{word}' comes first, and its options after it: sidecar-init {word} ...")
        }
        Mode::Command => {
            let known: Vec<&str> = ["run", "check"]
                .into_iter()
                .chain(ClientCommand::COMMANDS.iter().copied())
                .collect();
            match nearest(&word, &known) {
                Some(near) => format!("'{word}' is not a subcommand; did you mean '{near}'?"),
                None => {
                    format!("'{word}' is not a subcommand; to run it: sidecar-init -- {word} ...")
                }
            }
        }
        Mode::Run | Mode::Check => {
            let subcommand = if mode == Mode::Run { "run" } else { "check" };
            format!(
                "unexpected '{word}'; the bundle's file comes after -f: \
                 sidecar-init {subcommand} -f {word}; a main command after --: \
                 sidecar-init {subcommand} -- {word} ..."
            )
        }
    }
}

fn option(name: &str, mode: Mode, given: &mut Given, parser: &mut Parser) -> Result<(), String> {
    use Mode::{Check, Command, Run};
    let fits = match name {
        "grace" => true,
        "remap" | "termination-log" | "q" | "quiet" => mode != Check,
        "g" | "group" | "map" | "parent-death-signal" => mode == Command,
        "f" | "file" | "only" | "log" => mode != Command,
        "ready-file" => mode == Run,
        "json" => mode == Check,
        _ => return Err(format!("unknown option {}", dashed(name))),
    };
    if !fits {
        return Err(format!("{} {}", dashed(name), misplaced(name)));
    }
    match name {
        "q" | "quiet" => given.common.quiet = true,
        "g" | "group" => given.group = true,
        "json" => given.json = true,
        "f" | "file" => given.file = Some(path(name, parser)?),
        "termination-log" => given.common.termination_log = Some(path(name, parser)?),
        "ready-file" => given.ready_file = Some(path(name, parser)?),
        "only" => given.only = Some(text(name, parser)?),
        "grace" => given.grace = Some(grace("--grace", &text(name, parser)?)?),
        "remap" => {
            let rules = text(name, parser)?;
            given.common.remap.add(&rules).map_err(|error| format!("--remap: {error}"))?;
        }
        "map" => map(&text(name, parser)?, &mut given.map)?,
        "parent-death-signal" => {
            let signal = text(name, parser)?;
            given.parent_death_signal = Some(self::signal("--parent-death-signal", &signal)?);
        }
        _ => given.log = Some(log_mode(&text(name, parser)?)?),
    }
    Ok(())
}

fn misplaced(name: &str) -> &'static str {
    match name {
        "g" | "group" => "is for one command only",
        "map" => "is for one command only; in a bundle, [signals] of its file routes signals",
        "parent-death-signal" => "is for one command only; a service has the key of this name",
        "f" | "file" | "only" | "log" => "goes with run or check: sidecar-init run -f FILE",
        "ready-file" => "goes with run: sidecar-init run --ready-file FILE",
        "json" => "goes with check: sidecar-init check --json",
        _ => "does not go with check, which runs nothing",
    }
}

fn request(mode: Mode, mut given: Given) -> Result<Request, String> {
    let empty = given
        .command
        .as_ref()
        .is_some_and(|command| command.first().is_none_or(|program| program.is_empty()));
    if empty {
        return Err("there is no command after --".to_owned());
    }
    let file = match (given.file.take(), std::env::var_os(CONFIG_VARIABLE)) {
        (Some(file), _) => file,
        (None, Some(file)) if !file.is_empty() => absolute(CONFIG_VARIABLE, file)?,
        (None, _) => PathBuf::from(DEFAULT_FILE),
    };
    if given.common.remap == Remap::default() {
        let rules = variable(REMAP_VARIABLE)?.unwrap_or_default();
        given.common.remap.add(&rules).map_err(|error| format!("{REMAP_VARIABLE}: {error}"))?;
    }
    let grace = match given.grace {
        Some(grace) => Some(grace),
        None => {
            variable(GRACE_VARIABLE)?.map(|text| self::grace(GRACE_VARIABLE, &text)).transpose()?
        }
    };
    if mode != Mode::Command {
        let Given { common, only, log, ready_file, json, command: main, .. } = given;
        let source = BundleSource { file, only, overrides: Overrides { grace, log }, main };
        return Ok(match mode {
            Mode::Check => Request::Check(CheckRequest { source, json }),
            _ => Request::Bundle(BundleRequest { common, source, ready_file }),
        });
    }
    let command = given
        .command
        .ok_or("nothing to run: give a command after --, or use `sidecar-init run` for a bundle")?;
    let mut options = CommandOptions::default();
    options.grace = grace.unwrap_or(options.grace);
    options.target = if given.group { Target::Group } else { Target::Process };
    options.map = given.map;
    options.parent_death_signal = given.parent_death_signal;
    Ok(Request::Command(CommandRequest { common: given.common, command, options }))
}

fn map(rule: &str, map: &mut BTreeMap<Signal, Option<Signal>>) -> Result<(), String> {
    let (from, to) = rule.split_once('=').ok_or_else(|| {
        format!("--map: \"{rule}\" is not a rule; write TERM=QUIT, or HUP= to drop HUP")
    })?;
    let from = signal("--map", from)?;
    if matches!(from, Signal::KILL | Signal::STOP | Signal::CHLD) {
        return Err(format!(
            "--map: {from} never reaches a command through its init, so it can't be mapped"
        ));
    }
    let to = if to.is_empty() { None } else { Some(signal("--map", to)?) };
    map.insert(from, to);
    Ok(())
}

fn signal(option: &str, text: &str) -> Result<Signal, String> {
    text.parse().map_err(|error| format!("{option}: {error}"))
}

fn grace(source: &str, text: &str) -> Result<Duration, String> {
    duration::parse(text, LONGEST_GRACE).map_err(|error| format!("{source}: {error}"))
}

fn log_mode(text: &str) -> Result<LogMode, String> {
    let wrong = || format!("--log: \"{text}\" is not a mode; write {}", LogMode::one_of());
    LogMode::from_word(text).ok_or_else(wrong)
}

fn value(name: &str, parser: &mut Parser) -> Result<OsString, String> {
    let missing = || format!("{} needs a value", dashed(name));
    // Everything after `--` belongs to the command.
    if parser.try_raw_args().is_some_and(|raw| raw.peek().is_some_and(|next| next == "--")) {
        return Err(missing());
    }
    parser.value().map_err(|_| missing())
}

fn path(name: &str, parser: &mut Parser) -> Result<PathBuf, String> {
    absolute(&dashed(name), value(name, parser)?)
}

/// An absolute path, because the init changes its working directory.
fn absolute(source: &str, path: OsString) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{source}: {error}"))
}

fn text(name: &str, parser: &mut Parser) -> Result<String, String> {
    value(name, parser)?.string().map_err(|error| format!("{}: {error}", dashed(name)))
}

fn dashed(name: &str) -> String {
    if name.chars().count() == 1 { format!("-{name}") } else { format!("--{name}") }
}

/// A variable of the environment; an empty one counts as unset.
fn variable(name: &str) -> Result<Option<String>, String> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8")),
    }
}
