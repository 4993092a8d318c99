//! `supervise show`: one proposal, and exactly what would change.

use serde_json::json;
use supervise::diff::coloured;
use supervise::paint::Paint;
use supervise::plan::{Change, Plan};
use supervise::proposal::{Entry, Request};
use supervise::queue::Queue;
use supervise::settings::Settings;
use supervise::text::{BAR, fold, many_lines, one_line};

use super::{entry_json, find, fold_for_a_person, paint, say, say_json, status, width};

pub(crate) fn run(settings: &Settings, id: &str, json: bool) -> Result<(), String> {
    let entry = find(&Queue::new(settings.queue.clone()), id)?;
    let plan = match entry.decision {
        None => Some(Plan::make(settings, &entry.proposal.request)),
        Some(_) => None,
    };
    if json {
        return say_json(&object(&entry, plan.as_ref()));
    }
    let page = Page { paint: paint(), width: width() };
    let digest = plan.as_ref().and_then(|plan| Some(plan.as_ref().ok()?.digest(&entry.proposal)));
    let mut text = page.description(&entry, digest.as_deref());
    match &plan {
        Some(Ok(plan)) => text.push_str(&page.plan(plan)),
        Some(Err(problem)) => {
            text.push_str(&page.line("\n", "can't be done:", Paint::red, problem))
        }
        None => {}
    }
    say(&text)
}

fn object(entry: &Entry, plan: Option<&Result<Plan, String>>) -> serde_json::Value {
    let mut object = entry_json(entry);
    match plan {
        Some(Ok(plan)) => {
            object["digest"] = json!(plan.digest(&entry.proposal));
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

/// How it is shown: the agent's own words stand behind a bar, so that no line of them can pass for
/// one of ours, and no row of a line, either.
pub(super) struct Page {
    pub(super) paint: Paint,
    pub(super) width: usize,
}

impl Page {
    /// What is known of the proposal, and the digest by which `approve` knows what was shown.
    pub(super) fn description(&self, entry: &Entry, digest: Option<&str>) -> String {
        let (proposal, paint) = (&entry.proposal, self.paint);
        let mut text = format!(
            "{} {}: {}\n",
            paint.bold(&format!("proposal {}", proposal.id)),
            status(entry, paint),
            proposal.request.kind(),
        );
        let mut field = |name: &str, value: &str| {
            let head = format!("  {name:9} ");
            let value = fold(&one_line(value), head.len(), self.width);
            text.push_str(&format!("{head}{value}\n"));
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
        if let Some(digest) = digest {
            field("digest", digest);
        }
        text.push_str("  why\n");
        text.push_str(&self.quotation(proposal.justification.as_str()));
        if let Request::Capability { change } = &proposal.request {
            text.push_str("  change to the Dockerfile\n");
            text.push_str(&self.quotation(change.as_str()));
        }
        text
    }

    fn quotation(&self, text: &str) -> String {
        let mut quoted = String::new();
        for line in many_lines(text).lines() {
            for row in format!("{BAR}{}", fold(line, BAR.len(), self.width)).lines() {
                let said = row.strip_prefix(BAR).unwrap_or(row);
                quoted.push_str(&format!("{}{said}\n", self.paint.cyan(BAR)));
            }
        }
        quoted
    }

    /// What would change, and what to look at before.
    pub(super) fn plan(&self, plan: &Plan) -> String {
        let mut text = String::new();
        for warning in &plan.warnings {
            text.push_str(&self.line("  ", "note:", Paint::yellow, warning));
        }
        for change in &plan.changes {
            if change.diff.is_empty() {
                let path = change.file.path().to_string_lossy();
                text.push_str(&format!("\n{} has this already\n", one_line(&path)));
            } else {
                text.push_str(&format!("\n{}", coloured(&change.diff, self.paint, self.width)));
            }
        }
        text
    }

    /// A line that begins with words of ours.
    fn line(
        &self,
        before: &str,
        head: &str,
        colour: impl Fn(Paint, &str) -> String,
        said: &str,
    ) -> String {
        let used = before.trim_start_matches('\n').len() + head.len() + 1;
        let said = fold_for_a_person(&one_line(said), used);
        format!("{before}{} {said}\n", colour(self.paint, head))
    }
}
