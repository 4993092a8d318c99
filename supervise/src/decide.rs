//! The operator's decision, carried out: all of it, or nothing of it.
//!
//! The file is changed, the proxy reloads, the reload is seen, and only then the decision is
//! written. Whatever fails before that brings the old file back, and the proposal stays pending.

use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::FlockOperation;

use crate::audit::{Audit, Note};
use crate::change::{new_text, warnings};
use crate::config_file::ConfigFile;
use crate::diff::unified;
use crate::interruption::Interruption;
use crate::proposal::{Decision, Entry, Proposal, Request, Timestamp, Verdict};
use crate::queue::Queue;
use crate::reload;
use crate::settings::Settings;
use crate::text::Justification;

/// What an approval would do, from the files as they are now.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file that would change, as it is.
    file: Option<ConfigFile>,
    /// Its new text, if it has to change.
    text: Option<String>,
    /// What to look at before.
    pub warnings: Vec<String>,
    /// The change, empty if there is none.
    pub diff: String,
}

impl Plan {
    /// Makes it.
    pub fn make(settings: &Settings, request: &Request) -> Result<Self, String> {
        let Some(path) = file_of(settings, request) else {
            let warnings = warnings(request, "");
            return Ok(Plan { file: None, text: None, warnings, diff: String::new() });
        };
        let file = ConfigFile::read(path)?;
        let text = new_text(request, file.text())
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let diff = text
            .as_ref()
            .map(|text| unified(&path.to_string_lossy(), file.text(), text))
            .unwrap_or_default();
        let warnings = warnings(request, file.text());
        Ok(Plan { file: Some(file), text, warnings, diff })
    }

    /// The file that would change.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(ConfigFile::path)
    }
}

fn file_of<'a>(settings: &'a Settings, request: &Request) -> Option<&'a Path> {
    match request {
        Request::EgressRoute { .. } => Some(&settings.routes),
        Request::PipelockHost { .. } => Some(&settings.pipelock_config),
        Request::GitleaksException { .. } => Some(&settings.fingerprints),
        Request::Capability { .. } => None,
    }
}

/// Keeps other operators away while one decides; the lock ends with the process at the latest.
pub fn lock(queue: &Queue) -> Result<File, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", queue.directory().display());
    let directory = File::open(queue.directory()).map_err(wrong)?;
    rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        match error {
            rustix::io::Errno::WOULDBLOCK => {
                "another approve or reject is at work; try again when it is done".to_owned()
            }
            other => wrong(other.into()),
        }
    })?;
    Ok(directory)
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
    if let Err(problem) = carry_out(settings, queue, proposal, plan, &decision).await {
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
    proposal: &Proposal,
    plan: &Plan,
    decision: &Decision,
) -> Result<(), String> {
    if let (Some(file), Some(_)) = (&plan.file, &plan.text) {
        // Before anything is to be brought back: what it says now is not ours to undo.
        file.require_unchanged()?;
    }
    // From here on a signal is no end but a failure, since the file has to be brought back.
    let mut interruption = Interruption::listen()?;
    let changed = match (&plan.file, &plan.text) {
        (Some(file), Some(text)) => Some((file, file.replace(text))),
        _ => None,
    };
    let result = match &changed {
        Some((_, Err(problem))) => Err(problem.clone()),
        _ => tokio::select! {
            result = reload::reload(settings, &proposal.request) => result,
            () = interruption.comes() => Err("interrupted".to_owned()),
        },
    };
    let result = result.and_then(|()| queue.decide(decision));
    let (Err(problem), Some((file, replaced))) = (&result, changed) else { return result };
    if replaced.is_err() && ConfigFile::read(file.path()).is_ok_and(|now| now.text() == file.text())
    {
        return Err(problem.clone());
    }
    Err(undo(settings, proposal, file, problem).await)
}

async fn undo(
    settings: &Settings,
    proposal: &Proposal,
    file: &ConfigFile,
    problem: &str,
) -> String {
    let path = file.path().display();
    if let Err(error) = file.restore() {
        return format!("{problem}; and {path} could not be restored: {error}");
    }
    // The proxy may have read the new file, or may still do so.
    match reload::tell(settings, &proposal.request).await {
        Ok(()) => format!("{problem}; {path} has been restored"),
        Err(error) => format!(
            "{problem}; {path} has been restored, but whether the old state is in force is \
             unknown: {error}"
        ),
    }
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
