//! `supervise list`: what waits for the operator, and what went wrong with the sidecars.

use serde_json::json;
use supervise::event_file::tail;
use supervise::init_event::{Filter, InitEvent};
use supervise::paint::Paint;
use supervise::proposal::Entry;
use supervise::queue::Queue;
use supervise::settings::Settings;
use supervise::text::one_line;

use super::{entry_json, paint, say, short, status};

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
        return say(&format!("{object}\n"));
    }
    say(&text(&scan.entries, &failures, &scan.problems, paint()))
}

fn failures(settings: &Settings) -> (Vec<InitEvent>, Option<String>) {
    let filter = Filter { limit: FAILURES, ..Filter::default() };
    match tail(&settings.events) {
        Ok(text) => (filter.select(&text), None),
        Err(problem) => (Vec::new(), Some(problem)),
    }
}

fn text(entries: &[Entry], failures: &[InitEvent], problems: &[String], paint: Paint) -> String {
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
        text.push_str(&format!("  {}\n", paint.red(&one_line(&event.to_string()))));
    }
    if !problems.is_empty() {
        text.push_str(&format!("\n{}\n", paint.bold("skipped")));
    }
    for problem in problems {
        text.push_str(&format!("  {}\n", paint.red(&one_line(problem))));
    }
    text
}

/// One proposal on one line.
pub(super) fn line(entry: &Entry, paint: Paint) -> String {
    let proposal = &entry.proposal;
    let padding = " ".repeat(8usize.saturating_sub(entry.status().len()));
    let request =
        short(&format!("{}: {}", proposal.request.kind(), proposal.request), REQUEST_WIDTH);
    format!(
        "{}  {}{padding}  {}  {:15}  {request}\n",
        paint.bold(proposal.id.as_str()),
        status(entry, paint),
        proposal.time,
        short(&proposal.from, 39),
    )
}
