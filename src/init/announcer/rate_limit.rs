//! Rate limits for messages that a service or a sender of signals can cause without limit: one message
//! of each kind per period, then their number.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::init::learnt::{MessageKind, Scheduled};

/// The period.
const PERIOD: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Repeat {
    /// The end of the period, until which messages are counted.
    until: Instant,
    count: u64,
    last: String,
}

/// Recently logged messages.
#[derive(Debug, Default)]
pub(in crate::init) struct RateLimit(BTreeMap<MessageKind, Repeat>);

impl RateLimit {
    /// The message, if it may be logged now.
    pub(in crate::init) fn hear(
        &mut self,
        kind: MessageKind,
        text: String,
        now: Instant,
    ) -> Option<String> {
        match self.0.get_mut(&kind) {
            Some(repeat) if repeat.until > now || repeat.count > 0 => {
                repeat.count += 1;
                repeat.last = text;
                None
            }
            _ => {
                let repeat = Repeat { until: now + PERIOD, count: 0, last: String::new() };
                self.0.insert(kind, repeat);
                Some(text)
            }
        }
    }

    /// Messages whose period is over, with their numbers; all, if `now` is `None`.
    pub(in crate::init) fn take(&mut self, now: Option<Instant>) -> Vec<String> {
        let mut messages = Vec::new();
        self.0.retain(|_, repeat| {
            if now.is_some_and(|now| repeat.until > now) {
                return true;
            }
            let is_silent = repeat.count == 0;
            if !is_silent {
                messages.push(match std::mem::take(&mut repeat.count) {
                    1 => std::mem::take(&mut repeat.last),
                    count => format!("{} ({count} times like this)", repeat.last),
                });
            }
            repeat.until += PERIOD;
            !is_silent
        });
        messages
    }
}

impl Scheduled for RateLimit {
    /// When the next period is over.
    fn deadline(&self) -> Option<Instant> {
        let is_held_back = |repeat: &&Repeat| repeat.count > 0;
        self.0.values().filter(is_held_back).map(|repeat| repeat.until).min()
    }

    fn put_off(&mut self, _: Duration, _: Instant) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::ServiceId;

    #[test]
    fn a_flood_is_said_in_a_few_lines_and_counted_to_its_end() {
        let (mut repeats, begin) = (RateLimit::default(), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        let kind = MessageKind::EventDropped;
        assert_eq!(repeats.hear(kind, "0".to_owned(), at(0)).as_deref(), Some("0"));
        for number in 1..1000 {
            assert_eq!(repeats.hear(kind, number.to_string(), at(number)), None);
        }
        let other = MessageKind::MainProcess(ServiceId(1));
        assert!(repeats.hear(other, "other".to_owned(), at(1000)).is_some(), "another kind");
        assert_eq!(repeats.deadline(), Some(at(5000)));
        assert!(repeats.take(Some(at(4999))).is_empty());
        assert_eq!(repeats.take(Some(at(5000))), ["999 (999 times like this)"]);
        assert_eq!(repeats.hear(kind, "one".to_owned(), at(5001)), None, "it goes on");
        assert!(repeats.take(Some(at(6000))).is_empty(), "nothing more of the other kind");
        assert_eq!(repeats.take(None), ["one"], "the last one is not lost");
        assert_eq!(repeats.deadline(), None, "nothing is waited for while nothing comes");
        assert!(repeats.hear(kind, "again".to_owned(), at(20_000)).is_some());
    }
}
