//! The last output, when all processes are gone: the rest of the services' output, and the closing
//! record. Waits for readers, but not without limit: Docker kills 10 s after `docker stop`.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use mio::Events;

use super::children::{fork_last, kill_session, reap_last};
use super::event_loop::EventLoop;
use super::own_file::OwnFile;
use super::token::Source;
use crate::error_text::{errno_of, error_text};
use crate::log::{Channel, Logs};
use crate::record::Record;
use crate::termination_log;

/// How long to wait for readers that do not read at all. Slow ones have until the end of the shutdown's
/// time.
const STALLED_READER_WAIT: Duration = Duration::from_secs(1);

/// How long to wait for readers.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// The latest end.
    end: Instant,
    /// The end if they read nothing.
    give_up: Instant,
    /// How many bytes they had read.
    written: u64,
}

impl Patience {
    fn new(written: u64, now: Instant, end: Instant) -> Patience {
        Patience { end, give_up: now + STALLED_READER_WAIT, written }
    }

    /// Nothing ran for this time.
    fn put_off(&mut self, gap: Duration) {
        self.end += gap;
        self.give_up += gap;
    }

    /// The remaining time, after this many bytes; `None`: it is over.
    fn left(&mut self, written: u64, now: Instant) -> Option<Duration> {
        if written > self.written {
            self.written = written;
            self.give_up = now + STALLED_READER_WAIT;
        }
        let left = self.give_up.min(self.end).saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

/// The output of an init without other work.
pub(super) struct LastOutput<'init> {
    event_loop: &'init mut EventLoop,
    logs: &'init mut Logs,
    events: Events,
    patience: Patience,
}

impl LastOutput<'_> {
    /// Waits for readers until `end` at the latest.
    pub(super) fn new<'init>(
        event_loop: &'init mut EventLoop,
        logs: &'init mut Logs,
        end: Instant,
    ) -> LastOutput<'init> {
        let patience = Patience::new(logs.sinks.written(), Instant::now(), end);
        LastOutput { event_loop, logs, events: EventLoop::room(), patience }
    }

    pub(super) fn say(&mut self, text: &str) {
        let registry = self.event_loop.registry();
        self.logs.sinks.say(text, registry);
        self.logs.sinks.flush(registry);
    }

    /// Writes the closing record to stderr and to the termination log.
    pub(super) fn write_record(&mut self, record: &Record, termination_log: Option<&Path>) {
        let line = self.logs.sinks.format_record(record);
        if record.is_worth_a_line() {
            self.logs.sinks.say_as_is(&line, self.event_loop.registry());
            self.flush_words();
        }
        // Last, so that a problem with the file does not affect stderr.
        if let Some(file) = termination_log
            && let Err(error) = self.do_in_child(|| termination_log::write(file, &line))
        {
            let (file, error) = (file.display(), error_text(&error));
            self.say(&format!("can't write the termination log {file}: {error}"));
            self.flush_words();
        }
    }

    /// Removes these files.
    pub(super) fn remove(&mut self, files: Vec<OwnFile>) {
        if !files.is_empty() {
            let remove = || files.iter().map(OwnFile::remove).fold(Ok(()), io::Result::and);
            // A file that stays is replaced by the next listener.
            let _ = self.do_in_child(remove);
        }
    }

    /// Work on a file system that may not answer: a child does it, with the time limit of readers.
    pub(super) fn do_in_child(&mut self, work: impl Fn() -> io::Result<()>) -> io::Result<()> {
        // If there is no process for it, the init does it itself.
        let Ok(pid) = fork_last(|| errno_of(work())) else { return work() };
        let give_up = Instant::now() + STALLED_READER_WAIT;
        loop {
            // A pending SIGCHLD would hide the next one, signal(7).
            self.event_loop.read_signals();
            if let Some(done) = reap_last(pid) {
                return done;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                kill_session(pid);
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.poll_readers(left);
        }
    }

    /// Writes what is left in the services' pipes.
    pub(super) fn flush(&mut self) {
        loop {
            let more = self.logs.finish(self.event_loop.registry());
            let is_done = !more && self.logs.sinks.is_flushed(&Channel::BOTH);
            if is_done || !self.wait_for_readers(more) {
                return;
            }
        }
    }

    /// Writes the init's own messages.
    fn flush_words(&mut self) {
        self.logs.sinks.flush(self.event_loop.registry());
        while !self.logs.sinks.is_flushed(&[Channel::Stderr]) && self.wait_for_readers(false) {}
    }

    /// Whether there was time left.
    fn wait_for_readers(&mut self, has_more: bool) -> bool {
        let now = Instant::now();
        if let Some(gap) = self.event_loop.gap(now) {
            self.patience.put_off(gap);
        }
        let Some(left) = self.patience.left(self.logs.sinks.written(), now) else { return false };
        self.event_loop.expect(now + left);
        let again = self.event_loop.poll.deadline().map(|at| at.saturating_duration_since(now));
        let timeout = if has_more { Duration::ZERO } else { again.map_or(left, |at| at.min(left)) };
        self.poll_readers(timeout);
        true
    }

    /// Waits for at most this time, and writes what readers have space for.
    fn poll_readers(&mut self, timeout: Duration) {
        self.event_loop.wait_for(timeout, &mut self.events);
        let registry = self.event_loop.registry();
        for event in &self.events {
            if let Source::Sink(channel) = Source::of(event.token()) {
                self.logs.sinks.writable(channel, registry);
            }
        }
        // Descriptors that the kernel could not watch are tried without a report.
        for token in self.event_loop.poll.take_due(Instant::now()) {
            if let Source::Sink(channel) = Source::of(token) {
                if let Some(fd) = self.logs.sinks.descriptor(channel) {
                    Source::Sink(channel).register(&fd, registry);
                }
                self.logs.sinks.writable(channel, registry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_as_long_as_they_read_and_never_beyond_its_end() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let left = |millis| Some(Duration::from_millis(millis));
        let mut patience = Patience::new(5, begin, at(2500));
        assert_eq!(patience.left(5, at(400)), left(600), "what was read before does not count");
        assert_eq!(patience.left(6, at(900)), left(1000));
        assert_eq!(patience.left(7, at(1800)), left(700), "the end is near");
        assert_eq!(patience.left(8, at(2500)), None);

        let mut patience = Patience::new(0, begin, at(2500));
        patience.put_off(Duration::from_millis(9000));
        assert_eq!(patience.left(0, at(9900)), left(100), "a gap is not its time");
        assert_eq!(patience.left(0, at(10_000)), None, "nobody reads");
    }
}
