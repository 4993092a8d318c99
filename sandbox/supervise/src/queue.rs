//! The queue: a directory with one file for each proposal, and one for each decision.
//!
//! The server writes `ID.json`, the operator's side `ID.decision.json`, so no file has two
//! writers. What is decided moves to `archive/`, of which the newest are kept. Each file appears
//! whole: it is written under another name and made to last before it gets its own.
//!
//! Each call opens the directories anew and follows no link that is in their place: the operator's
//! side is root, and the directories are the server's.

mod archive;

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use visible::visible_json;

use crate::directory::Directory;
use crate::proposal::{Decision, Entry, Proposal, ProposalId};

/// Larger than any proposal: its text, every character of it escaped, and the rest.
const MAX_FILE: u64 = 256 * 1024;
/// Several times what the limits of settings and archive leave there. Whoever writes more has taken the
/// server over; the operator's commands are not to read it all.
const MAX_FILES: usize = 4096;
const DECISION: &str = ".decision.json";
const PROPOSAL: &str = ".json";
const TEMPORARY: &str = ".tmp-";
const ARCHIVE: &str = "archive";

/// The directory.
#[derive(Clone, Debug)]
pub struct Queue {
    directory: PathBuf,
}

/// Both directories, for the length of one call.
struct Open {
    queue: Directory,
    /// Missing until a server has run.
    archive: Option<Directory>,
}

impl Open {
    /// Where a file can be: first where it comes, then where it is moved to. In this order it can't
    /// be missed on its way.
    fn each(&self) -> impl Iterator<Item = &Directory> {
        std::iter::once(&self.queue).chain(&self.archive)
    }
}

/// What is in it.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The proposals, the oldest first.
    pub entries: Vec<Entry>,
    /// Files that could not be read, and why.
    pub problems: Vec<String>,
}

impl Scan {
    /// Those that wait for a decision.
    pub fn pending(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.decision.is_none())
    }
}

impl Queue {
    /// The queue in this directory, which may be missing still.
    pub fn new(directory: PathBuf) -> Self {
        Queue { directory }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the decided ones are.
    pub fn archive(&self) -> PathBuf {
        self.directory.join(ARCHIVE)
    }

    /// Makes the directories, and clears away what a server that was killed left half written.
    pub fn prepare(&self) -> Result<(), String> {
        let wrong = |error: io::Error| format!("{}: {error}", self.directory.display());
        std::fs::create_dir_all(self.archive()).map_err(wrong)?;
        let Open { queue, .. } = self.open()?;
        for name in queue.names(MAX_FILES).map_err(wrong)? {
            if name.starts_with(TEMPORARY) {
                queue.remove(&name).map_err(wrong)?;
            }
        }
        Ok(())
    }

    fn open(&self) -> Result<Open, String> {
        let wrong = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
        let queue = Directory::open(&self.directory).map_err(|e| wrong(&self.directory, e))?;
        let archive = match queue.below(ARCHIVE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(|error| wrong(&self.archive(), error))?),
        };
        Ok(Open { queue, archive })
    }

    /// Adds a proposal.
    pub fn add(&self, proposal: &Proposal) -> Result<(), String> {
        write(&self.open()?.queue, &format!("{}{PROPOSAL}", proposal.id), proposal)
    }

    /// Adds a decision; the first one counts.
    pub fn decide(&self, decision: &Decision) -> Result<(), String> {
        let open = self.open()?;
        if decision_in(&open, &decision.id)?.is_some() {
            return Err(format!("proposal {} has been decided already", decision.id));
        }
        write(&open.queue, &format!("{}{DECISION}", decision.id), decision)
    }

    /// Everything that is not in the archive.
    pub fn scan(&self) -> Result<Scan, String> {
        let open = self.open()?;
        scan(&open, &open.queue)
    }

    /// The decided ones, the oldest first.
    pub fn scan_archive(&self) -> Result<Scan, String> {
        let open = self.open()?;
        open.archive.as_ref().map_or_else(|| Ok(Scan::default()), |archive| scan(&open, archive))
    }

    /// The proposal of this id, decided or not.
    pub fn find(&self, id: &ProposalId) -> Result<Option<Entry>, String> {
        let open = self.open()?;
        for directory in open.each() {
            if let Some(entry) = entry_of(&open, directory, &format!("{id}{PROPOSAL}"))? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The decision on the proposal of this id.
    pub fn decision(&self, id: &ProposalId) -> Result<Option<Decision>, String> {
        decision_in(&self.open()?, id)
    }
}

fn write(directory: &Directory, name: &str, content: &impl Serialize) -> Result<(), String> {
    let temporary = format!("{TEMPORARY}{}-{name}", std::process::id());
    let wrong = |error: io::Error| format!("{}: {error}", directory.path(name).display());
    let text = serde_json::to_string_pretty(content).map_err(|error| wrong(error.into()))?;
    let text = visible_json(&text) + "\n";
    let written = directory
        .create(&temporary, text.as_bytes())
        // Unlike rename(2), link(2) never replaces what is there.
        .and_then(|()| directory.link(&temporary, name))
        .map_err(wrong);
    // It is gone already if its creation failed.
    let _ = directory.remove(&temporary);
    written?;
    directory.sync().map_err(wrong)
}

fn scan(open: &Open, directory: &Directory) -> Result<Scan, String> {
    let mut scan = Scan::default();
    let wrong = |error: io::Error| format!("{}: {error}", directory.path("").display());
    for name in directory.names(MAX_FILES).map_err(wrong)? {
        if name.starts_with('.') || name.ends_with(DECISION) || name == ARCHIVE {
            continue;
        }
        match entry_of(open, directory, &name) {
            Ok(Some(entry)) => scan.entries.push(entry),
            // Archived while we looked.
            Ok(None) => {}
            Err(problem) => scan.problems.push(problem),
        }
    }
    scan.entries.sort_by(|one, other| {
        let key = |entry: &Entry| (entry.proposal.time, entry.proposal.id.clone());
        key(one).cmp(&key(other))
    });
    scan.problems.sort();
    Ok(scan)
}

fn entry_of(open: &Open, directory: &Directory, name: &str) -> Result<Option<Entry>, String> {
    let path = directory.path(name);
    let id = name.strip_suffix(PROPOSAL).map(str::to_owned).map(ProposalId::try_from);
    let Some(Ok(id)) = id else {
        return Err(format!("{}: this is no file of the queue", path.display()));
    };
    let Some(proposal) = read_json::<Proposal>(directory, name)? else { return Ok(None) };
    if proposal.id != id {
        return Err(format!("{}: it holds the proposal {}", path.display(), proposal.id));
    }
    let decision = decision_in(open, &id)?;
    Ok(Some(Entry { proposal, decision }))
}

fn decision_in(open: &Open, id: &ProposalId) -> Result<Option<Decision>, String> {
    let name = format!("{id}{DECISION}");
    for directory in open.each() {
        match read_json::<Decision>(directory, &name)? {
            Some(decision) if decision.id == *id => return Ok(Some(decision)),
            Some(other) => {
                let path = directory.path(&name);
                return Err(format!("{}: it is about {}", path.display(), other.id));
            }
            None => {}
        }
    }
    Ok(None)
}

fn read_json<T: DeserializeOwned>(directory: &Directory, name: &str) -> Result<Option<T>, String> {
    let wrong = |problem: &dyn Display| format!("{}: {problem}", directory.path(name).display());
    let text = match directory.read(name, MAX_FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&error)),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests;
