//! Appends events to the `on-event` file, in one child at a time: a file system may not answer. The
//! init does not block, and its queue is limited.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::error_text::{errno_of, error_text};
use crate::exit::ExitStatus;
use crate::init::children::{Children, Role, kill_session};
use crate::init::learnt::{Learnt, Scheduled};

/// The most queued events; further ones are dropped and counted.
const MOST_WAITING: usize = 256;
/// The time limit of a child.
const LONGEST_WRITE: Duration = Duration::from_secs(10);
/// The delay after a failed fork.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// The time limit of a child when nothing else is left.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// A larger file is renamed.
const LARGEST_FILE: u64 = 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct EventFile {
    waiting: Vec<String>,
    /// The child that writes, and its time limit.
    writer: Option<(Pid, Instant)>,
    /// The events that it writes.
    in_hand: String,
    dropped: u64,
    /// When to retry a failed fork.
    retry_at: Option<Instant>,
    /// Whether a failure was logged; it is logged again only after a success.
    has_complained: bool,
    /// No more children are started: the rest is written at the end.
    is_paused: bool,
}

impl EventFile {
    /// Whether a child is to be started.
    pub(super) fn is_due(&self) -> bool {
        let is_held_up = self.writer.is_some() || self.retry_at.is_some() || self.is_paused;
        !self.waiting.is_empty() && !is_held_up
    }

    /// The shutdown is almost over: events that are not written yet are written when everything else is
    /// gone.
    pub(super) fn pause(&mut self, now: Instant) {
        self.is_paused = true;
        let until = now + LAST_WRITE;
        self.writer = self.writer.map(|(pid, limit)| (pid, limit.min(until)));
    }

    /// Queues the event.
    pub(super) fn push(&mut self, event: &str) {
        match self.waiting.len() < MOST_WAITING {
            true => self.waiting.push(format!("{event}\n")),
            false => self.dropped += 1,
        }
    }

    /// Starts a child for the queued events, and kills one over its time limit.
    pub(super) fn run(
        &mut self,
        file: Option<&Path>,
        children: &mut Children,
        now: Instant,
        learnt: &mut Learnt,
    ) {
        if let Some((pid, until)) = &mut self.writer
            && *until <= now
        {
            // It is reaped soon, if KILL can end it.
            *until = now + LONGEST_WRITE;
            kill_session(*pid);
        }
        self.retry_at = self.retry_at.filter(|at| *at > now);
        // A reload may have removed it from the configuration.
        let Some(file) = file else { return self.waiting.clear() };
        if !self.is_due() {
            return;
        }
        let lines = self.waiting.concat();
        let write = || errno_of(append(file, &lines));
        match children.fork_helper(Role::EventWriter, None, write) {
            Ok(pid) => {
                self.waiting.clear();
                self.writer = Some((pid, now + LONGEST_WRITE));
                self.in_hand = lines;
            }
            // No processes or memory at the moment, fork(2).
            Err(error) => {
                self.complain(file, &format!("{}; trying again", error_text(&error)), learnt);
                self.retry_at = Some(now + RETRY);
                learnt.may_be_the_end = true;
            }
        }
    }

    /// The child that writes was reaped.
    pub(super) fn ended(&mut self, file: &Path, status: ExitStatus, learnt: &mut Learnt) {
        self.writer = None;
        let in_hand = std::mem::take(&mut self.in_hand);
        match status {
            ExitStatus::Code(0) => {
                self.has_complained = false;
                self.tell_of_dropped(learnt);
            }
            ExitStatus::Code(number) => {
                self.dropped += in_hand.lines().count() as u64;
                self.are_lost(file, &io::Error::from_raw_os_error(number.into()), learnt);
            }
            // Killed with all others. Write its events again: a duplicate is better than a loss.
            ExitStatus::Signal(_) if self.is_paused => self.waiting.insert(0, in_hand),
            ExitStatus::Signal(_) => {
                self.dropped += in_hand.lines().count() as u64;
                self.are_lost(file, &ErrorKind::TimedOut.into(), learnt);
            }
        }
    }

    /// How to write the rest when no processes are left.
    pub(super) fn take_rest(&mut self, file: &Path) -> Option<impl Fn() -> io::Result<()> + use<>> {
        let lines = std::mem::take(&mut self.waiting).concat();
        let file = file.to_owned();
        (!lines.is_empty()).then_some(move || append(&file, &lines))
    }

    /// These events could not be written.
    pub(super) fn are_lost(&mut self, file: &Path, error: &io::Error, learnt: &mut Learnt) {
        let reason = match error.kind() {
            ErrorKind::TimedOut => "no answer".to_owned(),
            _ => error_text(error),
        };
        self.complain(file, &reason, learnt);
        learnt.may_be_the_end = true;
    }

    fn complain(&mut self, file: &Path, reason: &str, learnt: &mut Learnt) {
        if !std::mem::replace(&mut self.has_complained, true) {
            let file = file.display();
            learnt.remark(format!("can't append to {file} (`on-event`): {reason}"));
        }
    }

    /// Logs how many were dropped.
    pub(super) fn tell_of_dropped(&mut self, learnt: &mut Learnt) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            learnt.remark(format!("{dropped} events are missing in the file of `on-event`"));
        }
    }
}

impl Scheduled for EventFile {
    /// The time limit of the child, or the time of the next retry.
    fn deadline(&self) -> Option<Instant> {
        self.writer.map(|(_, until)| until).into_iter().chain(self.retry_at).min()
    }

    fn put_off(&mut self, gap: Duration, _: Instant) {
        self.writer = self.writer.map(|(pid, until)| (pid, until + gap));
    }
}

fn append(path: &Path, lines: &str) -> io::Result<()> {
    // Opening a FIFO without a reader fails with this flag, open(2), and so does writing to a full one:
    // the event is for current readers.
    let mut file = File::options()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let before = file.metadata()?;
    if let Err(error) = file.write_all(lines.as_bytes()) {
        // The disk is full, and a partial line would damage the next one.
        if before.is_file() {
            let _ = file.set_len(before.len());
        }
        return Err(error);
    }
    let stat = file.metadata()?;
    if stat.is_file() && stat.len() > LARGEST_FILE {
        let mut old = path.as_os_str().to_owned();
        old.push(".old");
        std::fs::rename(path, old)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_grows_up_to_a_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        let line = "x".repeat(LARGEST_FILE as usize / 2) + "\n";
        for _ in 0..5 {
            append(&path, &line).unwrap();
        }
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert_eq!(size(&path), LARGEST_FILE / 2 + 1);
        assert_eq!(size(&path.with_extension("old")), 2 * (LARGEST_FILE / 2 + 1));
    }

    #[test]
    fn a_fifo_without_a_reader_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(append(&path, "x\n").unwrap_err().raw_os_error(), Some(libc::ENXIO));
    }
}
