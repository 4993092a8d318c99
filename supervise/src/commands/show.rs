//! `supervise show`: one proposal, and exactly what would change.

use serde_json::json;
use supervise::diff::coloured;
use supervise::paint::Paint;
use supervise::plan::{Change, Plan};
use supervise::proposal::{Entry, Request};
use supervise::queue::Queue;
use supervise::settings::Settings;
use supervise::text::{many_lines, one_line};

use super::{entry_json, find, paint, say, status};

pub(crate) fn run(settings: &Settings, id: &str, json: bool) -> Result<(), String> {
    let entry = find(&Queue::new(settings.queue.clone()), id)?;
    let plan = match entry.decision {
        None => Some(Plan::make(settings, &entry.proposal.request)),
        Some(_) => None,
    };
    if json {
        return say(&format!("{}\n", object(&entry, plan.as_ref())));
    }
    let paint = paint();
    let mut text = description(&entry, paint);
    match &plan {
        Some(Ok(plan)) => text.push_str(&plan_text(plan, paint)),
        Some(Err(problem)) => {
            text.push_str(&format!("\n{} {}\n", paint.red("can't be done:"), one_line(problem)));
        }
        None => {}
    }
    say(&text)
}

fn object(entry: &Entry, plan: Option<&Result<Plan, String>>) -> serde_json::Value {
    let mut object = entry_json(entry);
    match plan {
        Some(Ok(plan)) => {
            object["warnings"] = json!(plan.warnings);
            object["changes"] = plan.changes.iter().map(change_json).collect();
        }
        Some(Err(problem)) => object["problem"] = json!(problem),
        None => {}
    }
    object
}

fn change_json(change: &Change) -> serde_json::Value {
    json!({"file": change.file.path(), "diff": change.diff})
}

/// What is known of the proposal. The agent's own words stand behind a bar, so that no line of
/// them can pass for one of ours.
pub(super) fn description(entry: &Entry, paint: Paint) -> String {
    let proposal = &entry.proposal;
    let mut text = format!(
        "{} {}: {}\n",
        paint.bold(&format!("proposal {}", proposal.id)),
        status(entry, paint),
        proposal.request.kind(),
    );
    let mut field = |name: &str, value: &str| {
        text.push_str(&format!("  {name:9} {}\n", one_line(value)));
    };
    if !matches!(proposal.request, Request::Capability { .. }) {
        field("wanted", &proposal.request.to_string());
    }
    field("proposed", &format!("{} by {}", proposal.time, proposal.from));
    if let Some(decision) = &entry.decision {
        field("decided", &format!("{} by {}", decision.time, decision.by));
        if let Some(note) = &decision.note {
            field("note", note.as_str());
        }
    }
    text.push_str("  why\n");
    text.push_str(&quotation(proposal.justification.as_str(), paint));
    if let Request::Capability { change } = &proposal.request {
        text.push_str("  change to the Dockerfile\n");
        text.push_str(&quotation(change.as_str(), paint));
    }
    text
}

fn quotation(text: &str, paint: Paint) -> String {
    let bar = paint.cyan("|");
    many_lines(text).lines().map(|line| format!("    {bar} {line}\n")).collect()
}

/// What would change, and what to look at before.
pub(super) fn plan_text(plan: &Plan, paint: Paint) -> String {
    let mut text = String::new();
    for warning in &plan.warnings {
        text.push_str(&format!("  {} {}\n", paint.yellow("note:"), one_line(warning)));
    }
    for change in &plan.changes {
        if change.diff.is_empty() {
            let path = change.file.path().to_string_lossy();
            text.push_str(&format!("\n{} says so already\n", one_line(&path)));
        } else {
            text.push_str(&format!("\n{}", coloured(&change.diff, paint)));
        }
    }
    text
}
