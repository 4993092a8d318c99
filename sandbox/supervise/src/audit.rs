//! The audit log: JSON lines that are only ever added to. One write(2) a line, so that the lines
//! of the server and of the operator's side do not mix.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};
use visible::visible_json;

use crate::files::open_log;
use crate::proposal::{Proposal, Timestamp};

/// The log.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

/// What is noted.
#[derive(Clone, Debug)]
pub enum Note<'a> {
    /// An agent has proposed something.
    Proposed(&'a Proposal),
    /// The operator begins to carry it out.
    Approving(&'a Proposal, &'a str),
    /// It is done.
    Approved(&'a Proposal, &'a str),
    /// It could not be done.
    ApprovalFailed(&'a Proposal, &'a str, &'a str),
    /// The operator does not want it.
    Rejected(&'a Proposal, &'a str, Option<&'a str>),
}

impl Audit {
    /// The log in this file.
    pub fn new(path: &Path) -> Self {
        Audit { path: path.to_owned() }
    }

    /// Whether it can be written to.
    pub fn check(&self) -> Result<(), String> {
        open_log(&self.path).map(|_| ()).map_err(|error| self.wrong(&error))
    }

    /// Adds a line. What can't be noted must not happen.
    pub fn add(&self, note: &Note<'_>) -> Result<(), String> {
        let mut line = visible_json(&line(note, Timestamp(SystemTime::now())).to_string());
        line.push('\n');
        let mut file = open_log(&self.path).map_err(|error| self.wrong(&error))?;
        file.write_all(line.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, error: &std::io::Error) -> String {
        format!("audit log {}: {error}", self.path.display())
    }
}

fn line(note: &Note<'_>, time: Timestamp) -> Value {
    let decided = |event: &str, proposal: &Proposal, by: &str| {
        json!({"time": time, "event": event, "by": by, "id": proposal.id,
               "request": proposal.request})
    };
    match note {
        Note::Proposed(proposal) => {
            let mut line = decided("proposed", proposal, &proposal.from);
            line["justification"] = json!(proposal.justification);
            line
        }
        Note::Approving(proposal, by) => decided("approving", proposal, by),
        Note::Approved(proposal, by) => decided("approved", proposal, by),
        Note::ApprovalFailed(proposal, by, why) => {
            let mut line = decided("approval-failed", proposal, by);
            line["why"] = json!(why);
            line
        }
        Note::Rejected(proposal, by, why) => {
            let mut line = decided("rejected", proposal, by);
            line["why"] = json!(why);
            line
        }
    }
}
