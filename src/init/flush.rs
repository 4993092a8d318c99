//! What is still to be written when all is gone. Its readers are waited for, but not for ever:
//! Docker kills 10 s after `docker stop`.

use std::time::{Duration, Instant};

use mio::Events;

use super::Init;
use super::token::Source;
use crate::log::Channel;

/// How long readers of our output are waited for that do not read at all. Slow ones have as
/// long as they read, within the shutdown's time.
const STALLED_READER_WAIT: Duration = Duration::from_secs(1);

/// How long the readers are waited for, all in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// When it ends in any case.
    end: Instant,
    /// When it ends if they read nothing.
    give_up: Instant,
    /// How much they had read.
    written: u64,
}

impl Patience {
    pub(super) fn new(written: u64, now: Instant, end: Instant) -> Patience {
        Patience { end, give_up: now + STALLED_READER_WAIT, written }
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
    /// Passes on what the services have left in their pipes.
    pub(super) fn flush_output(&mut self, patience: &mut Patience, events: &mut Events) {
        loop {
            let more = self.logs.finish(self.poll.registry());
            let is_done = !more && self.logs.is_flushed(&Channel::BOTH);
            if is_done || !self.wait_for_readers(more, patience, events) {
                return;
            }
        }
    }

    /// Passes on what the init itself has said.
    pub(super) fn flush_words(&mut self, patience: &mut Patience, events: &mut Events) {
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
        let Some(left) = patience.left(self.logs.written(), Instant::now()) else { return false };
        let timeout = if has_more { Duration::ZERO } else { left };
        // EINTR: the next round looks at the clock again.
        if self.poll.poll(events, Some(timeout)).is_err() {
            events.clear();
        }
        for event in events.iter() {
            if let Source::Sink(channel) = Source::of(event.token()) {
                self.logs.writable(channel);
            }
        }
        true
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
        assert_eq!(patience.left(0, at(1000)), None, "nobody reads");
    }
}
