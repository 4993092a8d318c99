//! `supervise approve` and `supervise reject`.

use std::io::{BufRead, IsTerminal};

use serde_json::json;
use supervise::decide;
use supervise::plan::Plan;
use supervise::proposal::{Entry, Request};
use supervise::queue::Queue;
use supervise::settings::Settings;
use supervise::text::Justification;

use super::show::Page;
use super::{find, paint, say, say_json, width};
use crate::arguments::Choice;

/// Refuses an approval that nobody could be asked about and that nobody has said yes to: without `-t`
/// docker exec gives no terminal, and what would open must have been read.
pub(crate) fn require_consent(choice: &Choice) -> Result<(), &'static str> {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if choice.yes {
        Ok(())
    } else if choice.json {
        Err("nothing was done: --json does not ask; give --yes")
    } else if !is_terminal {
        Err(
            "nothing was done: there is no terminal for a confirmation; use docker exec -it, or --yes",
        )
    } else {
        Ok(())
    }
}

pub(crate) async fn approve(settings: &Settings, choice: &Choice) -> Result<(), String> {
    let queue = Queue::new(settings.queue.clone());
    let note = note(choice)?;
    let _lock = decide::lock(settings)?;
    let entry = find_pending(&queue, choice)?;
    let plan = Plan::make(settings, &entry.proposal.request)?;
    let digest = plan.digest(&entry.proposal);
    require_expected(choice, &entry, &digest)?;
    if !choice.json {
        let page = Page { paint: paint(), width: width() };
        say(&page.description(&entry, Some(&digest)))?;
        say(&page.plan(&plan))?;
        if !choice.yes && !confirmed()? {
            return Err("nothing was done".to_owned());
        }
    }
    decide::approve(settings, &queue, &entry.proposal, &plan, note).await?;
    done(
        &entry,
        choice,
        "approved",
        match &entry.proposal.request {
            Request::EgressRoute { .. } if plan.changes.len() > 1 => {
                "in force, as egress and pipelock say"
            }
            Request::EgressRoute { .. } => "in force, as egress says",
            Request::PipelockHost { .. } => "in force, as pipelock says",
            Request::GitleaksException { .. } => "in force from the next push on",
            Request::Capability { .. } => "rebuild the agent's image with this change",
        },
    )
}

pub(crate) fn reject(settings: &Settings, choice: &Choice) -> Result<(), String> {
    let queue = Queue::new(settings.queue.clone());
    let note = note(choice)?;
    let _lock = decide::lock(settings)?;
    let entry = find_pending(&queue, choice)?;
    decide::reject(settings, &queue, &entry.proposal, note)?;
    done(&entry, choice, "rejected", "nothing was changed")
}

fn note(choice: &Choice) -> Result<Option<Justification>, String> {
    let note = choice.note.clone().map(Justification::try_from).transpose();
    note.map_err(|problem| format!("--note: it {problem}"))
}

fn find_pending(queue: &Queue, choice: &Choice) -> Result<Entry, String> {
    let entry = find(queue, &choice.id)?;
    if entry.decision.is_some() {
        let (id, status) = (&entry.proposal.id, entry.status());
        return Err(format!("proposal {id} has been {status} already"));
    }
    Ok(entry)
}

/// Between `show` and `approve` the server's user may have put another proposal there, or somebody
/// have changed a file.
fn require_expected(choice: &Choice, entry: &Entry, digest: &str) -> Result<(), String> {
    match &choice.expect {
        Some(expected) if !expected.eq_ignore_ascii_case(digest) => Err(format!(
            "nothing was done: proposal {0}, or a file that it would change, is no longer as it was \
             shown with the digest {expected}; look again with supervise show {0}",
            entry.proposal.id
        )),
        _ => Ok(()),
    }
}

fn confirmed() -> Result<bool, String> {
    say("\napprove? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| format!("stdin: {error}"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn done(entry: &Entry, choice: &Choice, status: &str, more: &str) -> Result<(), String> {
    let id = &entry.proposal.id;
    if choice.json {
        return say_json(&json!({"id": id, "status": status}));
    }
    say(&format!("\n{} {status}: {more}\n", paint().bold(&format!("proposal {id}"))))
}
