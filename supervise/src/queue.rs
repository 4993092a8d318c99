//! The queue: a directory with one file for each proposal, and one for each decision.
//!
//! The server writes `ID.json`, the operator's side `ID.decision.json`, so no file has two
//! writers. What is decided moves to `archive/`, of which the newest are kept. Each file appears
//! whole: it is written under another name and made to last before it gets its own.

mod archive;

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{create_shared, read_wary, sync_directory};
use crate::proposal::{Decision, Entry, Proposal, ProposalId};

/// Larger than any proposal: its text, every character of it escaped, and the rest.
const MAX_FILE: u64 = 256 * 1024;
const DECISION: &str = ".decision.json";
const PROPOSAL: &str = ".json";
const TEMPORARY: &str = ".tmp-";

/// The directory.
#[derive(Clone, Debug)]
pub struct Queue {
    directory: PathBuf,
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
        self.directory.join("archive")
    }

    /// Makes the directories, and clears away what a server that was killed left half written.
    pub fn prepare(&self) -> Result<(), String> {
        let wrong = |error: io::Error| format!("{}: {error}", self.directory.display());
        std::fs::create_dir_all(self.archive()).map_err(wrong)?;
        for name in names(&self.directory).map_err(wrong)? {
            if name.starts_with(TEMPORARY) {
                std::fs::remove_file(self.directory.join(name)).map_err(wrong)?;
            }
        }
        Ok(())
    }

    /// Adds a proposal.
    pub fn add(&self, proposal: &Proposal) -> Result<(), String> {
        self.write(&format!("{}{PROPOSAL}", proposal.id), proposal)
    }

    /// Adds a decision; the first one counts.
    pub fn decide(&self, decision: &Decision) -> Result<(), String> {
        if self.decision(&decision.id)?.is_some() {
            return Err(format!("proposal {} has been decided already", decision.id));
        }
        self.write(&format!("{}{DECISION}", decision.id), decision)
    }

    fn write(&self, name: &str, content: &impl Serialize) -> Result<(), String> {
        let path = self.directory.join(name);
        let temporary = self.directory.join(format!("{TEMPORARY}{}-{name}", std::process::id()));
        let wrong = |error: io::Error| format!("{}: {error}", path.display());
        let mut text = serde_json::to_vec_pretty(content).map_err(|error| wrong(error.into()))?;
        text.push(b'\n');
        let written = create_shared(&temporary, &text)
            // Unlike rename(2), link(2) never replaces what is there.
            .and_then(|()| std::fs::hard_link(&temporary, &path))
            .map_err(wrong);
        // It is gone already if its creation failed.
        let _ = std::fs::remove_file(&temporary);
        written?;
        sync_directory(&self.directory).map_err(wrong)
    }

    /// Everything that is not in the archive.
    pub fn scan(&self) -> Result<Scan, String> {
        self.scan_directory(&self.directory)
    }

    fn scan_directory(&self, directory: &Path) -> Result<Scan, String> {
        let mut scan = Scan::default();
        let wrong = |error: io::Error| format!("{}: {error}", directory.display());
        for name in names(directory).map_err(wrong)? {
            if name.starts_with('.') || name.ends_with(DECISION) || name == "archive" {
                continue;
            }
            match self.entry_of(directory, &name) {
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

    fn entry_of(&self, directory: &Path, name: &str) -> Result<Option<Entry>, String> {
        let path = directory.join(name);
        let id = name.strip_suffix(PROPOSAL).map(str::to_owned).map(ProposalId::try_from);
        let Some(Ok(id)) = id else {
            return Err(format!("{}: this is no file of the queue", path.display()));
        };
        let Some(proposal) = read_json::<Proposal>(&path)? else { return Ok(None) };
        if proposal.id != id {
            return Err(format!("{}: it holds the proposal {}", path.display(), proposal.id));
        }
        let decision = self.decision(&id)?;
        Ok(Some(Entry { proposal, decision }))
    }

    /// The proposal of this id, decided or not.
    pub fn find(&self, id: &ProposalId) -> Result<Option<Entry>, String> {
        let name = format!("{id}{PROPOSAL}");
        match self.entry_of(&self.directory, &name)? {
            Some(entry) => Ok(Some(entry)),
            None => self.entry_of(&self.archive(), &name),
        }
    }

    /// The decision on the proposal of this id. Looked for where it comes first, and then where it
    /// is moved to: so it can't be missed on its way.
    pub fn decision(&self, id: &ProposalId) -> Result<Option<Decision>, String> {
        let name = format!("{id}{DECISION}");
        for directory in [self.directory.clone(), self.archive()] {
            let path = directory.join(&name);
            match read_json::<Decision>(&path)? {
                Some(decision) if decision.id == *id => return Ok(Some(decision)),
                Some(other) => {
                    return Err(format!("{}: it is about {}", path.display(), other.id));
                }
                None => {}
            }
        }
        Ok(None)
    }
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let text = match read_wary(path, MAX_FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
