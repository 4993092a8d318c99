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
use sidecar_init::signal::Signal;
use sidecar_init::source::BundleSource;
use sidecar_init::supervisor::Target;
use sidecar_init::words::Words;

use crate::client::ClientRequest;
use crate::client_arguments::{self, Asked};
use crate::command_line::{Setting, Subcommand};
use crate::options::{Print, alone, dashed, no_subcommand, option_of};

const GRACE_VARIABLE: &str = "SIDECAR_INIT_GRACE";
const REMAP_VARIABLE: &str = "SIDECAR_INIT_REMAP";
const CONFIG_VARIABLE: &str = "SIDECAR_INIT_CONFIG";
const DEFAULT_FILE: &str = "/etc/sidecar-init/bundle.toml";

/// A parsed command line.
pub(crate) enum Request {
    Print(Print),
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
    let mut subcommand = Subcommand::Command;
    let mut given = Given::default();
    let mut first = true;
    loop {
        // Everything after `--` belongs to the command.
        if parser.try_raw_args().is_some_and(|raw| raw.peek().is_some_and(|next| next == "--")) {
            given.command = Some(rest(&mut parser));
            break;
        }
        let name = match parser.next().map_err(|error| error.to_string())? {
            None => break,
            Some(Arg::Value(word)) => {
                let known = word.to_str().and_then(Subcommand::from_word).filter(|_| first);
                first = false;
                match known {
                    Some(known @ (Subcommand::Run | Subcommand::Check)) => subcommand = known,
                    Some(known) => {
                        return Ok(match client_arguments::parse(known, &mut parser)? {
                            Asked::Client(client) => Request::Client(client),
                            Asked::Print(print) => Request::Print(print),
                        });
                    }
                    None => return Err(stray_word(&word.to_string_lossy(), subcommand)),
                }
                continue;
            }
            Some(Arg::Short(letter)) => letter.to_string(),
            Some(Arg::Long(name)) => name.to_owned(),
        };
        match option_of(subcommand, &name)?.0 {
            Setting::Help => {
                return alone(Print::Help(subcommand), &mut parser).map(Request::Print);
            }
            Setting::Version => return alone(Print::Version, &mut parser).map(Request::Print),
            setting => option(setting, &name, &mut given, &mut parser)?,
        }
        first = false;
    }
    request(subcommand, given)
}

fn rest(parser: &mut Parser) -> Vec<OsString> {
    parser.raw_args().map(|raw| raw.skip(1).collect()).unwrap_or_default()
}

fn stray_word(word: &str, subcommand: Subcommand) -> String {
    match subcommand {
        Subcommand::Command if Subcommand::from_word(word).is_some() => {
            format!("'{word}' comes first, and its options after it: sidecar-init {word} ...")
        }
        Subcommand::Command => no_subcommand(word),
        _ => {
            let subcommand = subcommand.form().word();
            format!(
                "unexpected '{word}'; the bundle's file comes after -f: \
                 sidecar-init {subcommand} -f {word}; a main command after --: \
                 sidecar-init {subcommand} -- {word} ..."
            )
        }
    }
}

fn option(
    setting: Setting,
    name: &str,
    given: &mut Given,
    parser: &mut Parser,
) -> Result<(), String> {
    match setting {
        Setting::Quiet => given.common.quiet = true,
        Setting::Group => given.group = true,
        Setting::Json => given.json = true,
        Setting::File => given.file = Some(path(name, parser)?),
        Setting::TerminationLog => given.common.termination_log = Some(path(name, parser)?),
        Setting::ReadyFile => given.ready_file = Some(path(name, parser)?),
        Setting::Only => given.only = Some(text(name, parser)?),
        Setting::Grace => given.grace = Some(grace("--grace", &text(name, parser)?)?),
        Setting::Remap => {
            let rules = text(name, parser)?;
            given.common.remap.add(&rules).map_err(|error| format!("--remap: {error}"))?;
        }
        Setting::Map => map(&text(name, parser)?, &mut given.map)?,
        Setting::ParentDeathSignal => {
            let signal = text(name, parser)?;
            given.parent_death_signal = Some(self::signal("--parent-death-signal", &signal)?);
        }
        // These subcommands have no other option in the table.
        _ => given.log = Some(log_mode(&text(name, parser)?)?),
    }
    Ok(())
}

fn request(subcommand: Subcommand, mut given: Given) -> Result<Request, String> {
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
    if subcommand != Subcommand::Command {
        let Given { common, only, log, ready_file, json, command: main, .. } = given;
        let source = BundleSource { file, only, overrides: Overrides { grace, log }, main };
        return Ok(match subcommand {
            Subcommand::Check => Request::Check(CheckRequest { source, json }),
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

/// A variable of the environment; an empty one counts as unset.
fn variable(name: &str) -> Result<Option<String>, String> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8")),
    }
}
