//! The operator's decision, carried out: all of it, or nothing of it.
//!
//! The files are changed, the proxies reload, the reloads are seen, and only then the decision is
//! written. Whatever fails before that brings the old files back, and the proposal stays pending.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use rustix::fs::FlockOperation;

use crate::audit::{Audit, Note};
use crate::files::open_lock;
use crate::interruption::Interruption;
use crate::plan::Plan;
use crate::proposal::{Decision, Entry, Proposal, Timestamp, Verdict};
use crate::queue::Queue;
use crate::reload;
use crate::settings::Settings;
use crate::text::Justification;

/// Keeps other operators away while one decides; the lock ends with the process at the latest.
///
/// Whoever can open a file can flock(2) it, for as long as he likes. So it is none of the server's
/// user's, which could keep the operator out by it, but one that nobody but the operator can open.
pub fn lock(settings: &Settings) -> Result<File, String> {
    let path = &settings.lock;
    let wrong = |problem: &dyn std::fmt::Display| {
        format!(
            "lock {}: {problem}; SUPERVISE_LOCK_FILE names a file in a directory that only you can \
             write to",
            path.display()
        )
    };
    let file = open_lock(path).map_err(|error| wrong(&error))?;
    let metadata = file.metadata().map_err(|error| wrong(&error))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(wrong(&"others can open it, and could keep you out"));
    }
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(
        |error| match error {
            rustix::io::Errno::WOULDBLOCK => {
                "another approve or reject is at work; try again when it is done".to_owned()
            }
            other => wrong(&std::io::Error::from(other)),
        },
    )?;
    Ok(file)
}

/// Carries out the plan and writes the decision.
pub async fn approve(
    settings: &Settings,
    queue: &Queue,
    proposal: &Proposal,
    plan: &Plan,
    note: Option<Justification>,
) -> Result<(), String> {
    let audit = Audit::new(&settings.audit);
    let by = operator();
    require_pending(queue, proposal)?;
    audit.add(&Note::Approving(proposal, &by))?;
    let decision = decision(proposal, Verdict::Approved, &by, note);
    if let Err(problem) = carry_out(settings, queue, plan, &decision).await {
        let noted = audit.add(&Note::ApprovalFailed(proposal, &by, &problem));
        let unnoted = noted.err().map(|error| format!("; {error}")).unwrap_or_default();
        return Err(format!("{problem}; the proposal stays pending{unnoted}"));
    }
    audit.add(&Note::Approved(proposal, &by)).map_err(|error| {
        format!("{} is approved and in force, but that could not be noted: {error}", proposal.id)
    })
}

async fn carry_out(
    settings: &Settings,
    queue: &Queue,
    plan: &Plan,
    decision: &Decision,
) -> Result<(), String> {
    // Before anything is to be brought back: what a file says now is not ours to undo.
    plan.changes.iter().try_for_each(|change| change.file.require_unchanged())?;
    // From here on a signal is no end but a failure, since the files have to be brought back.
    let mut interruption = Interruption::listen()?;
    let result = match replace(plan) {
        Ok(()) => tokio::select! {
            result = reload(settings, plan) => result,
            () = interruption.comes() => Err("interrupted".to_owned()),
        },
        Err(problem) => Err(problem),
    };
    match result.and_then(|()| queue.decide(decision)) {
        Ok(()) => Ok(()),
        Err(problem) => Err(undo(settings, plan, problem).await),
    }
}

fn replace(plan: &Plan) -> Result<(), String> {
    plan.changes.iter().try_for_each(|change| match &change.text {
        Some(text) => change.file.replace(text).map_err(|problem| change.failure(&problem)),
        None => Ok(()),
    })
}

async fn reload(settings: &Settings, plan: &Plan) -> Result<(), String> {
    for change in &plan.changes {
        let reloaded = reload::reload(settings, &change.request).await;
        reloaded.map_err(|problem| change.failure(&problem))?;
    }
    Ok(())
}

/// Brings the files back, has them read again, and tells what became of it. The door that opens
/// last closes first.
async fn undo(settings: &Settings, plan: &Plan, problem: String) -> String {
    let mut told = problem;
    let mut restored = Vec::new();
    for change in plan.changes.iter().rev().filter(|change| change.text.is_some()) {
        match change.file.restore() {
            Ok(true) => restored.push(change),
            Ok(false) => {}
            Err(error) => {
                let path = change.file.path().display();
                told.push_str(&format!("; and {path} could not be restored: {error}"));
            }
        }
    }
    let paths: Vec<_> =
        restored.iter().map(|change| change.file.path().to_string_lossy()).collect();
    match paths.len() {
        0 => return told,
        1 => told.push_str(&format!("; {} has been restored", paths[0])),
        _ => told.push_str(&format!("; {} have been restored", paths.join(" and "))),
    }
    // The proxies may have read the new files, or may still do so.
    let mut unsure = Vec::new();
    for change in restored {
        unsure.extend(reload::tell(settings, &change.request).await.err());
    }
    if !unsure.is_empty() {
        let problems = unsure.join("; ");
        told.push_str(", but whether the old state is in force is unknown: ");
        told.push_str(&problems);
    }
    told
}

/// Writes the decision against it.
pub fn reject(
    settings: &Settings,
    queue: &Queue,
    proposal: &Proposal,
    note: Option<Justification>,
) -> Result<(), String> {
    let by = operator();
    require_pending(queue, proposal)?;
    let said = note.as_ref().map(|note| note.as_str().to_owned());
    let decision = decision(proposal, Verdict::Rejected, &by, note);
    Audit::new(&settings.audit).add(&Note::Rejected(proposal, &by, said.as_deref()))?;
    queue.decide(&decision)
}

fn require_pending(queue: &Queue, proposal: &Proposal) -> Result<(), String> {
    match queue.find(&proposal.id)? {
        Some(Entry { decision: None, .. }) => Ok(()),
        Some(entry) => Err(format!("proposal {} has been {} already", proposal.id, entry.status())),
        None => Err(format!("there is no proposal {} any more", proposal.id)),
    }
}

fn decision(
    proposal: &Proposal,
    verdict: Verdict,
    by: &str,
    note: Option<Justification>,
) -> Decision {
    let time = Timestamp(SystemTime::now());
    Decision { id: proposal.id.clone(), verdict, time, by: by.to_owned(), note }
}

/// Who decides: in a container a number is all that is known of them.
fn operator() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}
