//! The text of `--help`.

use std::fmt::Write;

use crate::command_line::{Entry, FORMS, Form, GROUPS, REQUESTS, Subcommand};

/// The column at which descriptions begin, and the last column.
const EXPLANATION: usize = 28;
const WIDTH: usize = 86;

const INTRODUCTION: &str = "\
sidecar-init: PID 1 for containers. Runs one command or a bundle of services,
reaps, forwards signals, stops everything in order, and prints why it stopped.

Usage:
  sidecar-init [OPTIONS] -- COMMAND [ARG]...
  sidecar-init SUBCOMMAND [OPTIONS] [ARGUMENTS]

Subcommands:
";

const SIGNALS: &str = "
TERM and INT begin the shutdown; a second one kills at once. With one command every
other signal is forwarded to it; in a bundle [signals] routes it.
";

const CODES: &str = "
Exit codes: that of the command, or of the first service that failed (128+n for
signal n); 0 if a bundle was shut down on request; 64 wrong usage; 65 no service
selected, or one that a selected service requires is not; 78 errors in the bundle
file; 124 a service not ready in time or not live; 125 sidecar-init itself failed; 126
not executable; 127 not found.
";

const CODES_OF_REQUESTS: &str = "
Exit codes of requests to a running bundle: 0; 1 if the init refuses or is not
healthy; 64 wrong usage; 69 if no init answers.
";

/// The help text of a subcommand; for one command, the whole help.
pub(crate) fn text(subcommand: Subcommand) -> String {
    match subcommand {
        Subcommand::Command => of_all(),
        _ => of_one(subcommand),
    }
}

fn of_all() -> String {
    let mut text = INTRODUCTION.to_owned();
    for Form(_, written, about) in &FORMS[1..] {
        row(&mut text, written, about);
    }
    for group in GROUPS {
        let _ = writeln!(text, "\n{}:", group.title);
        for Entry(_, written, of, about) in group.entries {
            match *of == group.of {
                true => row(&mut text, written, about),
                false => row(&mut text, written, &format!("{about} ({})", names(of))),
            }
        }
    }
    text + SIGNALS + CODES + CODES_OF_REQUESTS
}

fn of_one(subcommand: Subcommand) -> String {
    let Form(_, written, about) = subcommand.form();
    let (word, arguments) = written.split_once(' ').unwrap_or((written, ""));
    let mut text =
        format!("Usage: sidecar-init {word} [OPTIONS] {arguments}").trim_end().to_owned();
    text.push_str("\n\n");
    fill(&mut text, 0, about);
    text.push_str("\nOptions:\n");
    for Entry(_, written, _, about) in subcommand.entries() {
        row(&mut text, written, about);
    }
    text + match subcommand {
        Subcommand::Help => "",
        _ if REQUESTS.contains(&subcommand) => CODES_OF_REQUESTS,
        _ => CODES,
    }
}

pub(crate) fn names(of: &[Subcommand]) -> String {
    let name = |subcommand: &Subcommand| match subcommand {
        Subcommand::Command => "one command",
        _ => subcommand.form().word(),
    };
    of.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// A row with two columns.
#[inline(never)] // So that it is in the binary once.
fn row(text: &mut String, written: &str, about: &str) {
    // Options without a letter line up with the others.
    let indent = if written.starts_with("--") { 6 } else { 2 };
    let _ = write!(text, "{:indent$}{written}", "");
    let end = indent + written.len();
    if end + 2 > EXPLANATION {
        let _ = write!(text, "\n{:EXPLANATION$}", "");
    } else {
        let _ = write!(text, "{:1$}", "", EXPLANATION - end);
    }
    fill(text, EXPLANATION, about);
}

/// Adds words in lines that begin at this column; the first line is filled up to it already.
fn fill(text: &mut String, column: usize, words: &str) {
    let mut length = column;
    for word in words.split(' ') {
        if length > column && length + 1 + word.len() > WIDTH {
            let _ = write!(text, "\n{:column$}", "");
            length = column;
        } else if length > column {
            text.push(' ');
            length += 1;
        }
        text.push_str(word);
        length += word.len();
    }
    text.push('\n');
}
