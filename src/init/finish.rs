//! What is still to be said when all is gone: the rest of the services' output, and why it
//! stopped. Readers are waited for, but not for ever: Docker kills 10 s after `docker stop`.

use std::io;
use std::time::{Duration, Instant};

use mio::Events;
use rustix::io::Errno;
use rustix::process::{WaitOptions, waitpid};

use super::Init;
use super::control::Control;
use super::own_file::OwnFile;
use super::remnants::kill_session;
use super::token::Source;
use crate::error_text::{errno_of, error_text};
use crate::log::Channel;
use crate::record::Record;
use crate::supervisor::Cause;
use crate::sys::fork::fork;
use crate::termination_log;

/// How long readers of our output are waited for that do not read at all. Slow ones have as
/// long as they read, within the shutdown's time.
const STALLED_READER_WAIT: Duration = Duration::from_secs(1);

/// How long the readers are waited for, all in all.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// When it ends in any case.
    end: Instant,
    /// When it ends if they read nothing.
    give_up: Instant,
    /// How much they had read.
    written: u64,
}

impl Patience {
    fn new(written: u64, now: Instant, end: Instant) -> Patience {
        Patience { end, give_up: now + STALLED_READER_WAIT, written }
    }

    /// Nobody ran for so long.
    fn put_off(&mut self, gap: Duration) {
        self.end += gap;
        self.give_up += gap;
    }

    /// How long it lasts from now on, when this much is read; `None`: it is over.
    fn left(&mut self, written: u64, now: Instant) -> Option<Duration> {
        if written > self.written {
            self.written = written;
            self.give_up = now + STALLED_READER_WAIT;
        }
        let left = self.give_up.min(self.end).saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

impl Init {
    /// Passes on what output is left, and says why it stopped.
    pub(super) fn finish(mut self, events: &mut Events) -> u8 {
        if let Some(terminal) = &mut self.terminal {
            terminal.take_back();
        }
        self.say_last_repeats();
        let Some(outcome) = self.supervisor.outcome() else { return crate::exit::INIT_FAILED };
        let code = self.options.remap.apply(outcome.code);
        let now = Instant::now();
        let end = self.supervisor.end_at_the_latest().unwrap_or(now);
        let mut patience = Patience::new(self.logs.written(), now, end);
        self.flush_output(&mut patience, events);
        self.tell_the_rest_upward(events);
        if let Some(append) = self.take_last_events()
            && let Err(error) = self.do_in_child(append, events)
        {
            self.events_are_lost(&error);
        }
        self.tell_of_dropped_events();
        let service = match outcome.cause {
            Cause::Exited(id, _) => Some(id),
            _ => None,
        };
        let service_ran = service.and_then(|id| self.history.last_lifetime(id));
        let reason = match outcome.cause {
            Cause::SpawnFailed(id, _) => self.refusals.remove(&id),
            _ => None,
        };
        let record = Record {
            bundle: (!self.plan.is_one_command).then(|| self.plan.bundle.name.clone()),
            names: self.plan.names(),
            is_one_command: self.plan.is_one_command,
            ran: self.started.elapsed(),
            service_ran,
            reason,
            out_of_memory_kills: 0,
            code,
            outcome,
        };
        self.close(record, &mut patience, events);
        self.remove_sockets(events);
        code
    }

    /// Takes the sockets out of the file system.
    fn remove_sockets(&mut self, events: &mut Events) {
        let own = self.control.as_mut().and_then(Control::take_file);
        let files: Vec<OwnFile> = own.into_iter().chain(self.sockets.take_files()).collect();
        if !files.is_empty() {
            let remove = || files.iter().map(OwnFile::remove).fold(Ok(()), io::Result::and);
            // What stays there is replaced by the next one who listens.
            let _ = self.do_in_child(remove, events);
        }
    }

    fn close(&mut self, mut record: Record, patience: &mut Patience, events: &mut Events) {
        if !record.is_worth_a_line() && self.options.termination_log.is_none() {
            return;
        }
        record.out_of_memory_kills = self.out_of_memory.kills();
        let line = self.logs.voice_record(&record);
        if record.is_worth_a_line() {
            self.logs.say_as_is(&line, self.poll.registry());
            self.flush_words(patience, events);
        }
        // Last, so that whatever happens to the file, the record is out.
        let Some(file) = self.options.termination_log.clone() else { return };
        if let Err(error) = self.do_in_child(|| termination_log::write(&file, &line), events) {
            let error = error_text(&error);
            self.say(&format!("can't write the termination log {}: {error}", file.display()));
            self.flush_words(patience, events);
        }
    }

    /// Has a child do what a file system may not answer to, and waits for it as for a reader.
    pub(super) fn do_in_child(
        &mut self,
        work: impl Fn() -> io::Result<()>,
        events: &mut Events,
    ) -> io::Result<()> {
        // Without a process to be had, to try is better than to leave it.
        let Ok(pid) = fork(&[], || errno_of(work())) else { return work() };
        let give_up = Instant::now() + STALLED_READER_WAIT;
        loop {
            // A SIGCHLD that waits would be in the way of the next one, signal(7).
            let _ = self.signals.read(&mut Vec::new());
            match waitpid(Some(pid), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => {
                    return match status.exit_status() {
                        Some(0) => Ok(()),
                        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                        None => Err(io::ErrorKind::TimedOut.into()),
                    };
                }
                Ok(None) | Err(Errno::INTR) => {}
                // Somebody has set SIGCHLD to be ignored: how it went is not known.
                Err(_) => return Ok(()),
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                kill_session(pid);
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.poll_readers(left, events);
        }
    }

    /// Passes on what the services have left in their pipes.
    fn flush_output(&mut self, patience: &mut Patience, events: &mut Events) {
        loop {
            let more = self.logs.finish(self.poll.registry());
            let is_done = !more && self.logs.is_flushed(&Channel::BOTH);
            if is_done || !self.wait_for_readers(more, patience, events) {
                return;
            }
        }
    }

    /// Passes on what the init itself has said.
    fn flush_words(&mut self, patience: &mut Patience, events: &mut Events) {
        while !self.logs.is_flushed(&[Channel::Stderr])
            && self.wait_for_readers(false, patience, events)
        {}
    }

    /// Whether there was still time to.
    fn wait_for_readers(
        &mut self,
        has_more: bool,
        patience: &mut Patience,
        events: &mut Events,
    ) -> bool {
        let now = Instant::now();
        if let Some(gap) = self.attendance.come_back(now) {
            patience.put_off(gap);
        }
        let Some(left) = patience.left(self.logs.written(), now) else { return false };
        self.attendance.leave(Some(now + left));
        let again = self.poll.deadline().map(|at| at.saturating_duration_since(now));
        let timeout = if has_more { Duration::ZERO } else { again.map_or(left, |at| at.min(left)) };
        self.poll_readers(timeout, events);
        true
    }

    /// Waits for so long at the most, and passes on what readers have room for.
    fn poll_readers(&mut self, timeout: Duration, events: &mut Events) {
        // EINTR: it has not looked at all.
        if self.poll.poll(events, Some(timeout)).is_err()
            && self.poll.poll(events, Some(Duration::ZERO)).is_err()
        {
            events.clear();
        }
        for event in events.iter() {
            if let Source::Sink(channel) = Source::of(event.token()) {
                self.logs.writable(channel, self.poll.registry());
            }
        }
        self.look_at_sinks_again();
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
