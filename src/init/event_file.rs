//! Appends events to the file of `on-event`. A child does it, one at a time: a file system may not
//! answer, and then the init does not wait, and remembers no more than it must.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::Init;
use super::remnants::kill_session;
use crate::error_text::{errno_of, error_text};
use crate::exit::ExitStatus;
use crate::sys::fork::fork;

/// How many events wait to be written; more are dropped, and counted.
const MOST_WAITING: usize = 256;
/// How long a child may take.
const LONGEST_WRITE: Duration = Duration::from_secs(10);
/// How long after a child could not be made it is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// How long it may still take when nothing else is left to wait for.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// A file that is larger than this makes place for a new one.
const LARGEST_FILE: u64 = 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct EventFile {
    waiting: Vec<String>,
    /// Who writes, and until when it may.
    writer: Option<(Pid, Instant)>,
    /// What it writes.
    in_hand: String,
    dropped: u64,
    /// When it is tried again to make a child, after the kernel has refused one.
    retry_at: Option<Instant>,
    /// Whether a failure was said; it is said again only after it has worked.
    has_complained: bool,
    /// No more children are made: the rest is written at the very end.
    is_paused: bool,
}

impl EventFile {
    pub(super) fn is_writer(&self, pid: i32) -> bool {
        self.writer.is_some_and(|(writer, _)| writer.as_raw_nonzero().get() == pid)
    }

    /// Whether a child is to be made that writes.
    pub(super) fn is_due(&self) -> bool {
        let is_held_up = self.writer.is_some() || self.retry_at.is_some() || self.is_paused;
        !self.waiting.is_empty() && !is_held_up
    }

    /// The end is near: what is not written yet is written when all else is gone.
    pub(super) fn pause(&mut self, now: Instant) {
        self.is_paused = true;
        let until = now + LAST_WRITE;
        self.writer = self.writer.map(|(pid, limit)| (pid, limit.min(until)));
    }

    /// When the child has taken too long, or is made after all.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.writer.map(|(_, until)| until).into_iter().chain(self.retry_at).min()
    }

    /// Nobody ran for so long.
    pub(super) fn put_off(&mut self, gap: Duration) {
        self.writer = self.writer.map(|(pid, until)| (pid, until + gap));
    }

    /// What is to be written, a line for each event.
    pub(super) fn take_lines(&mut self) -> String {
        std::mem::take(&mut self.waiting).concat()
    }
}

impl Init {
    /// Has the event written when it is its turn.
    pub(super) fn append_event(&mut self, event: &str) {
        match self.event_file.waiting.len() < MOST_WAITING {
            true => self.event_file.waiting.push(format!("{event}\n")),
            false => self.event_file.dropped += 1,
        }
    }

    /// Has a child write what waits, and ends one that takes too long.
    pub(super) fn write_events(&mut self, now: Instant) {
        if let Some((pid, until)) = &mut self.event_file.writer
            && *until <= now
        {
            let pid = *pid;
            // It is reaped soon, if KILL can end it.
            *until = now + LONGEST_WRITE;
            kill_session(pid);
        }
        self.event_file.retry_at = self.event_file.retry_at.filter(|at| *at > now);
        let Some(file) = self.plan.bundle.on_event.file.clone() else {
            self.event_file.waiting.clear();
            return;
        };
        if self.event_file.is_due() {
            let lines = self.event_file.waiting.concat();
            match fork(&[], || errno_of(append(&file, &lines))) {
                Ok(pid) => {
                    self.event_file.waiting.clear();
                    self.event_file.writer = Some((pid, now + LONGEST_WRITE));
                    self.event_file.in_hand = lines;
                }
                // Processes or memory lack at the moment, fork(2).
                Err(error) => {
                    self.complain_of_events(&format!("{}; trying again", error_text(&error)));
                    self.event_file.retry_at = Some(now + RETRY);
                    // At the end nobody waits for it.
                    self.unfinished.reaping = true;
                }
            }
        }
    }

    /// Whether it was the child that writes events that was just reaped.
    pub(super) fn event_writer_ended(&mut self, pid: Pid, status: ExitStatus) -> bool {
        if self.event_file.writer.is_none_or(|(writer, _)| writer != pid) {
            return false;
        }
        self.event_file.writer = None;
        let in_hand = std::mem::take(&mut self.event_file.in_hand);
        match status {
            ExitStatus::Code(0) => {
                self.event_file.has_complained = false;
                self.tell_of_dropped_events();
            }
            ExitStatus::Code(number) => {
                self.events_are_lost(&io::Error::from_raw_os_error(number.into()));
            }
            // Killed with all others. Rather twice than not at all.
            ExitStatus::Signal(_) if self.event_file.is_paused => {
                self.event_file.waiting.insert(0, in_hand);
            }
            ExitStatus::Signal(_) => self.events_are_lost(&ErrorKind::TimedOut.into()),
        }
        true
    }

    /// The last ones, which came while everything was killed; there are no processes any more.
    pub(super) fn take_last_events(&mut self) -> Option<impl Fn() -> io::Result<()> + use<>> {
        let file = self.plan.bundle.on_event.file.clone()?;
        let lines = Some(self.event_file.take_lines()).filter(|lines| !lines.is_empty())?;
        Some(move || append(&file, &lines))
    }

    pub(super) fn events_are_lost(&mut self, error: &io::Error) {
        let reason = match error.kind() {
            ErrorKind::TimedOut => "no answer".to_owned(),
            _ => error_text(error),
        };
        self.complain_of_events(&reason);
        // It may have been the last that was waited for.
        self.unfinished.reaping = true;
    }

    fn complain_of_events(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.event_file.has_complained, true) {
            let file = self.plan.bundle.on_event.file.clone().unwrap_or_default();
            self.say(&format!("can't append to {} (`on-event`): {reason}", file.display()));
        }
    }

    pub(super) fn tell_of_dropped_events(&mut self) {
        let dropped = std::mem::take(&mut self.event_file.dropped);
        if dropped > 0 {
            self.say(&format!("{dropped} events dropped: the file of `on-event` is too slow"));
        }
    }
}

fn append(path: &Path, lines: &str) -> io::Result<()> {
    // A FIFO that nobody reads refuses to be opened in this way, open(2), and one that is full to
    // be written: the event is for whoever reads now.
    let mut file = File::options()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let before = file.metadata()?;
    if let Err(error) = file.write_all(lines.as_bytes()) {
        // The disk is full, and half a line would spoil the next one.
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
