//! Detects that the init itself did not run.

use std::time::{Duration, Instant};

/// On a busy machine a deadline may be handled this late; more is a suspension of the init, and most
/// likely of its services.
const LATE: Duration = Duration::from_secs(1);

/// When the init read the clock, and when it is due to read it again.
#[derive(Debug)]
pub(super) struct SuspensionDetector {
    last: Instant,
    due: Option<Instant>,
}

impl SuspensionDetector {
    pub(super) fn new(now: Instant) -> SuspensionDetector {
        SuspensionDetector { last: now, due: None }
    }

    /// The latest time for the next wake-up.
    pub(super) fn leave(&mut self, due: Option<Instant>) {
        self.due = due;
    }

    /// The init reads the clock. If that is far too late, returns the longest possible suspension: the
    /// time since the clock was read last.
    pub(super) fn come_back(&mut self, now: Instant) -> Option<Duration> {
        let last = std::mem::replace(&mut self.last, now);
        let due = self.due.take()?.max(last);
        let is_late = now.saturating_duration_since(due) > LATE;
        is_late.then(|| now.saturating_duration_since(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_is_seen_far_too_late_tells_of_a_gap() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut suspension = SuspensionDetector::new(begin);
        assert_eq!(suspension.come_back(at(5)), None, "nothing was due");
        suspension.leave(Some(at(7)));
        assert_eq!(suspension.come_back(at(8)), None, "such is life");
        suspension.leave(Some(at(12)));
        assert_eq!(suspension.come_back(at(14)), Some(Duration::from_secs(6)));
        suspension.leave(Some(begin));
        assert_eq!(suspension.come_back(at(15)), None, "what was due at once is not late yet");
    }
}
