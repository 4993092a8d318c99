//! `supervise list`: what waits for the operator, and what went wrong with the sidecars.

use std::io::IsTerminal;

use serde_json::json;
use supervise::event_file::tail;
use supervise::init_event::{Filter, InitEvent};
use supervise::paint::Paint;
use supervise::proposal::{Entry, Request};
use supervise::queue::Queue;
use supervise::settings::Settings;
use supervise::text::{fold, one_line};

use super::{entry_json, fold_for_a_person, paint, say, say_json, short, status, width};

const FAILURES: usize = 5;
const REQUEST_WIDTH: usize = 100;

pub(crate) fn run(settings: &Settings, json: bool, all: bool) -> Result<(), String> {
    let queue = Queue::new(settings.queue.clone());
    let mut scan = queue.scan()?;
    if all {
        let archived = queue.scan_archive()?;
        scan.problems.extend(archived.problems);
        scan.entries.splice(0..0, archived.entries);
    } else {
        scan.entries.retain(|entry| entry.decision.is_none());
    }
    let (failures, unread) = failures(settings);
    scan.problems.extend(unread);
    if json {
        let entries: Vec<_> = scan.entries.iter().map(entry_json).collect();
        let events: Vec<_> = failures.iter().map(InitEvent::json).collect();
        let object = json!({"proposals": entries, "failures": events, "problems": scan.problems});
        return say_json(&object);
    }
    say(&text(&scan.entries, &failures, &scan.problems, paint(), width()))
}

fn failures(settings: &Settings) -> (Vec<InitEvent>, Option<String>) {
    let filter = Filter { limit: FAILURES, ..Filter::default() };
    match tail(&settings.events) {
        Ok(text) => (filter.select(&text), None),
        Err(problem) => (Vec::new(), Some(problem)),
    }
}

fn text(
    entries: &[Entry],
    failures: &[InitEvent],
    problems: &[String],
    paint: Paint,
    width: usize,
) -> String {
    let mut text = String::new();
    if entries.is_empty() {
        text.push_str("nothing waits for you\n");
    } else {
        let head = "ID        STATUS    TIME                  FROM             REQUEST";
        text.push_str(&paint.bold(head));
        text.push('\n');
    }
    for entry in entries {
        text.push_str(&line(entry, paint));
    }
    if !failures.is_empty() {
        text.push_str(&format!("\n{}\n", paint.bold("lately went wrong")));
    }
    for event in failures {
        text.push_str(&format!(
            "  {}\n",
            paint.red(&fold_for_a_person(&one_line(&event.to_string()), 2))
        ));
    }
    if !problems.is_empty() {
        text.push_str(&format!("\n{}\n", paint.bold("skipped")));
    }
    for problem in problems {
        text.push_str(&format!("  {}\n", paint.red(&fold(&one_line(problem), 2, width))));
    }
    text
}

/// One proposal: on one line, unless a terminal is too narrow.
pub(super) fn line(entry: &Entry, paint: Paint) -> String {
    let proposal = &entry.proposal;
    let padding = " ".repeat(8usize.saturating_sub(entry.status().len()));
    let place = format!("{padding}  {}  {:15}  ", proposal.time, short(&proposal.from, 39));
    let used = proposal.id.as_str().len() + 2 + entry.status().len() + place.chars().count();
    // Where that may be wrapped, text with blanks in it would pass for other words than the agent's.
    let columns = match &proposal.request {
        Request::EgressRoute { .. } | Request::PipelockHost { .. } => REQUEST_WIDTH,
        _ if std::io::stdout().is_terminal() => REQUEST_WIDTH,
        _ => width().saturating_sub(used),
    };
    let request = format!("{}: {}", proposal.request.kind(), proposal.request);
    format!(
        "{}  {}{place}{}\n",
        paint.bold(proposal.id.as_str()),
        status(entry, paint),
        fold_for_a_person(&short(&request, columns), used),
    )
}
