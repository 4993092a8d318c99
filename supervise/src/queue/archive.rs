//! What becomes of the decided: kept for those who ask, the newest of them.

use std::io;

use super::{DECISION, PROPOSAL, Queue, Scan};
use crate::files::sync_directory;
use crate::proposal::ProposalId;

impl Queue {
    /// Moves what is decided to the archive, and keeps only so many there.
    ///
    /// Decision and proposal are moved one after the other; if that is interrupted, both are still
    /// found, and the next call goes on.
    pub fn tidy(&self, keep: usize) -> Result<(), String> {
        let wrong = |error: io::Error| format!("{}: {error}", self.directory().display());
        let scan = self.scan()?;
        let decided: Vec<&ProposalId> = scan
            .entries
            .iter()
            .filter(|entry| entry.decision.is_some())
            .map(|entry| &entry.proposal.id)
            .collect();
        if decided.is_empty() {
            return Ok(());
        }
        for id in &decided {
            for suffix in [DECISION, PROPOSAL] {
                let name = format!("{id}{suffix}");
                let moved =
                    std::fs::rename(self.directory().join(&name), self.archive().join(&name));
                match moved {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(wrong(error));
                    }
                    _ => {}
                }
            }
        }
        sync_directory(&self.archive()).map_err(wrong)?;
        sync_directory(self.directory()).map_err(wrong)?;
        self.trim(keep)
    }

    /// The decided ones, the oldest first.
    pub fn scan_archive(&self) -> Result<Scan, String> {
        self.scan_directory(&self.archive())
    }

    fn trim(&self, keep: usize) -> Result<(), String> {
        let archived = self.scan_archive()?.entries;
        let surplus = archived.len().saturating_sub(keep);
        for entry in archived.iter().take(surplus) {
            // The proposal first: without it a decision is found by nobody.
            for suffix in [PROPOSAL, DECISION] {
                let path = self.archive().join(format!("{}{suffix}", entry.proposal.id));
                std::fs::remove_file(&path)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        Ok(())
    }
}
