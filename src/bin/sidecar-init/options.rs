//! Finds options and subcommands in the tables, with suggestions for unknown ones.

use lexopt::Parser;
use strict_toml::nearest;

use crate::command_line::{Entry, FORMS, Form, REQUESTS, RUNNERS, Setting, Subcommand, entries};

/// What is printed instead of running anything.
pub(crate) enum Print {
    Help(Subcommand),
    Version,
}

/// The request of an option without further arguments.
pub(crate) fn alone(print: Print, parser: &mut Parser) -> Result<Print, String> {
    match parser.optional_value() {
        None => Ok(print),
        Some(value) => Err(format!("unexpected '{}'", value.to_string_lossy())),
    }
}

/// The error for an unknown subcommand.
pub(crate) fn no_subcommand(word: &str) -> String {
    let known: Vec<&str> = FORMS[1..].iter().map(Form::word).collect();
    match nearest(word, &known) {
        Some(near) => format!("'{word}' is not a subcommand; did you mean '{near}'?"),
        None => format!("'{word}' is not a subcommand; to run it: sidecar-init -- {word} ..."),
    }
}

/// The option with this letter or name.
pub(crate) fn option_of(subcommand: Subcommand, name: &str) -> Result<&'static Entry, String> {
    let dashed = dashed(name);
    let own = subcommand.entries();
    if let Some(entry) = own.iter().find(|entry| entry.is(name)) {
        return Ok(entry);
    }
    let all = entries();
    let Some(Entry(setting, written, of, _)) = all.iter().find(|entry| entry.is(name)) else {
        let known: Vec<&str> = own.iter().map(|entry| entry.long()).collect();
        let hint = nearest(name, &known).map(|near| format!("; did you mean --{near}?"));
        return Err(format!("unknown option {dashed}{}", hint.unwrap_or_default()));
    };
    let word = subcommand.form().word();
    let reason = match setting {
        _ if !RUNNERS.contains(&subcommand) => {
            return Err(format!("{word} takes no option {dashed}"));
        }
        Setting::Group => "is for one command only".to_owned(),
        Setting::Map => {
            "is for one command only; in a bundle, [signals] of its file routes signals".to_owned()
        }
        Setting::ParentDeathSignal => {
            "is for one command only; a service has the key of this name".to_owned()
        }
        _ if of.contains(&Subcommand::Command) => {
            "does not go with check, which runs nothing".to_owned()
        }
        _ => {
            let words: Vec<&str> = of.iter().map(|one| one.form().word()).collect();
            let whose = match of == &REQUESTS {
                true => "requests to a running bundle".to_owned(),
                false => words.join(" or "),
            };
            let whole = written.split_once(", ").map_or(*written, |(_, whole)| whole);
            format!("goes with {whose}: sidecar-init {} {whole}", words[0])
        }
    };
    Err(format!("{dashed} {reason}"))
}

/// An option with its dashes.
pub(crate) fn dashed(name: &str) -> String {
    if name.chars().count() == 1 { format!("-{name}") } else { format!("--{name}") }
}
