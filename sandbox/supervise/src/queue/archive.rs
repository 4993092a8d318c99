//! What becomes of the decided: kept for those who ask, the newest of them.

use std::io;

use super::{DECISION, Open, PROPOSAL, Queue, scan};
use crate::directory::Directory;
use crate::proposal::ProposalId;

impl Queue {
    /// Moves what is decided to the archive, and keeps only so many there.
    ///
    /// Decision and proposal are moved one after the other; if that is interrupted, both are still
    /// found, and the next call goes on.
    pub fn tidy(&self, keep: usize) -> Result<(), String> {
        let wrong = |error: io::Error| format!("{}: {error}", self.directory().display());
        let open = self.open()?;
        let found = scan(&open, &open.queue)?;
        let decided: Vec<&ProposalId> = found
            .entries
            .iter()
            .filter(|entry| entry.decision.is_some())
            .map(|entry| &entry.proposal.id)
            .collect();
        if decided.is_empty() {
            return Ok(());
        }
        let Some(archive) = &open.archive else {
            return Err(wrong(io::ErrorKind::NotFound.into()));
        };
        for id in &decided {
            for suffix in [DECISION, PROPOSAL] {
                let name = format!("{id}{suffix}");
                match open.queue.move_to(archive, &name) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(wrong(error));
                    }
                    _ => {}
                }
            }
        }
        archive.sync().map_err(wrong)?;
        open.queue.sync().map_err(wrong)?;
        trim(&open, archive, keep)
    }
}

fn trim(open: &Open, archive: &Directory, keep: usize) -> Result<(), String> {
    let archived = scan(open, archive)?.entries;
    let surplus = archived.len().saturating_sub(keep);
    for entry in archived.iter().take(surplus) {
        // The proposal first: without it a decision is found by nobody.
        for suffix in [PROPOSAL, DECISION] {
            let name = format!("{}{suffix}", entry.proposal.id);
            archive
                .remove(&name)
                .map_err(|error| format!("{}: {error}", archive.path(&name).display()))?;
        }
    }
    Ok(())
}
