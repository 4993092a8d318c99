//! The operator's commands, and what they have in common.

pub(crate) mod decide;
pub(crate) mod list;
pub(crate) mod pipelock_config;
pub(crate) mod show;
pub(crate) mod watch;

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use serde_json::{Value, json};
use supervise::paint::Paint;
use supervise::proposal::Entry;
use supervise::queue::Queue;
use supervise::text::{cut, fold, one_line};
use visible::visible_json;

/// Writes to stdout. That the reader has gone away ends the command, but is not worth a word.
pub(crate) fn say(text: &str) -> Result<(), String> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => String::new(),
            _ => format!("stdout: {error}"),
        }
    })
}

/// Writes a line of JSON to stdout, which may be a terminal all the same.
pub(crate) fn say_json(value: &Value) -> Result<(), String> {
    say(&format!("{}\n", visible_json(&value.to_string())))
}

/// The columns of stdout: where it is no terminal, those that most have.
pub(crate) fn width() -> usize {
    columns_of(std::io::stdout()).unwrap_or(80)
}

/// Folded at a terminal. Elsewhere a program may look for a line.
pub(crate) fn fold_for_a_person(line: &str, used: usize) -> String {
    columns_of(std::io::stdout()).map_or_else(|| line.to_owned(), |width| fold(line, used, width))
}

/// None if it is no terminal, or one that nobody has told its size.
fn columns_of(output: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(output).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Writes a line to stderr. Nobody is told if that fails.
pub(crate) fn warn(text: &str) {
    const NAME: &str = "supervise: ";
    let mut line = one_line(text);
    // A program reads it line by line.
    if let Some(width) = columns_of(std::io::stderr()) {
        line = fold(&line, NAME.len(), width);
    }
    let _ = writeln!(std::io::stderr(), "{NAME}{line}");
}

pub(crate) fn paint() -> Paint {
    let variable = |name| std::env::var_os(name);
    let (no_color, term) = (variable("NO_COLOR"), variable("TERM"));
    Paint::for_output(std::io::stdout().is_terminal(), no_color.as_deref(), term.as_deref())
}

/// The proposal whose id begins so.
pub(crate) fn find(queue: &Queue, beginning: &str) -> Result<Entry, String> {
    let scan = queue.scan()?;
    let archived = queue.scan_archive()?;
    let all = scan.entries.into_iter().chain(archived.entries);
    let fits =
        |entry: &Entry| !beginning.is_empty() && entry.proposal.id.as_str().starts_with(beginning);
    let mut found: Vec<Entry> = all.filter(fits).collect();
    // It may have been archived in between.
    found.dedup_by(|one, other| one.proposal.id == other.proposal.id);
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(format!("there is no proposal {}; see supervise list", one_line(beginning))),
        many => {
            Err(format!("{many} proposals begin with {}; give more of it", one_line(beginning)))
        }
    }
}

/// One proposal for a program.
pub(crate) fn entry_json(entry: &Entry) -> Value {
    let mut object = json!(entry.proposal);
    object["status"] = json!(entry.status());
    object["decision"] = json!(entry.decision);
    object
}

/// The colour of a state.
pub(crate) fn status(entry: &Entry, paint: Paint) -> String {
    match entry.status() {
        "approved" => paint.green("approved"),
        "rejected" => paint.red("rejected"),
        other => paint.yellow(other),
    }
}

/// A text for one line of a table.
pub(crate) fn short(text: &str, width: usize) -> String {
    cut(&one_line(text), width)
}
