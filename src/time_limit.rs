//! Limits on the time that a service may take.
//!
//! The clock also runs while the init and its services are stopped: by SIGSTOP, by the freezer of
//! `docker pause`, or because the machine is overloaded. A pause that ends just before a limit can't be
//! detected from inside. So a service that exceeds a limit gets one short extra period, from the moment
//! in which the init sees that.

use std::time::{Duration, Instant};

/// The extra period has the length of the limit, within these bounds.
const SHORTEST_CONFIRMATION: Duration = Duration::from_millis(200);
const LONGEST_CONFIRMATION: Duration = Duration::from_secs(1);
/// If the init sees the end of the extra period so much too late, it was itself suspended, and the
/// services probably too: the period does not count.
const LATE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    until: Instant,
    confirmation: Duration,
    is_confirming: bool,
}

impl TimeLimit {
    /// A limit of this length from now on.
    pub fn new(span: Duration, now: Instant) -> TimeLimit {
        let confirmation = span.clamp(SHORTEST_CONFIRMATION, LONGEST_CONFIRMATION);
        TimeLimit { until: now + span, confirmation, is_confirming: false }
    }

    /// When to check it next.
    pub fn until(self) -> Instant {
        self.until
    }

    /// Whether the time is finally over; call it when all events before `now` are handled.
    pub fn is_over(&mut self, now: Instant) -> bool {
        if self.until > now {
            return false;
        }
        let is_late = now.saturating_duration_since(self.until) > LATE;
        let is_over = self.is_confirming && !is_late;
        if !is_over {
            self.is_confirming = true;
            self.until = now + self.confirmation;
        }
        is_over
    }

    /// Extends the limit at least to then.
    pub fn extend(&mut self, until: Instant) {
        if until > self.until {
            self.until = until;
            self.is_confirming = false;
        }
    }

    /// Extends the limit by a time in which nothing ran.
    pub fn put_off(&mut self, gap: Duration, now: Instant) {
        self.until += gap;
        if self.is_confirming {
            self.until = self.until.max(now + self.confirmation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_is_over_when_it_was_seen_and_confirmed() {
        let begin = Instant::now();
        let mut limit = TimeLimit::new(millis(500), begin);
        assert!(!limit.is_over(begin + millis(499)));
        assert_eq!(limit.until(), begin + millis(500));
        assert!(!limit.is_over(begin + millis(510)));
        assert_eq!(limit.until(), begin + millis(1010), "from when it was seen");
        assert!(!limit.is_over(begin + millis(1009)));
        assert!(limit.is_over(begin + millis(1010)));
    }

    #[test]
    fn the_confirmation_is_short_and_never_shorter_than_a_scheduler_needs() {
        let begin = Instant::now();
        for (span, confirmation) in [(0, 200), (50, 200), (700, 700), (3_600_000, 1000)] {
            let mut limit = TimeLimit::new(millis(span), begin);
            assert!(!limit.is_over(begin + millis(span)));
            assert_eq!(limit.until(), begin + millis(span + confirmation));
        }
    }

    #[test]
    fn a_confirmation_of_which_the_end_is_seen_late_begins_anew() {
        let begin = Instant::now();
        let mut limit = TimeLimit::new(millis(500), begin);
        assert!(!limit.is_over(begin + millis(500)));
        assert!(!limit.is_over(begin + millis(9000)));
        assert!(limit.is_over(begin + millis(9500)));
    }

    #[test]
    fn what_is_put_off_or_extended_has_its_time() {
        let begin = Instant::now();
        let mut limit = TimeLimit::new(millis(500), begin);
        limit.put_off(millis(9000), begin + millis(9100));
        assert_eq!(limit.until(), begin + millis(9500), "what was left of it");
        assert!(!limit.is_over(begin + millis(9500)));
        limit.put_off(millis(50), begin + millis(9900));
        assert_eq!(limit.until(), begin + millis(10_400), "all of the confirmation");
        limit.extend(begin + millis(10_300));
        assert!(limit.is_over(begin + millis(10_400)), "it is no shorter for it");
        limit.extend(begin + millis(20_000));
        assert!(!limit.is_over(begin + millis(20_000)), "it is to be confirmed again");
    }

    proptest! {
        /// Whatever pauses and extensions there are: at the end the init has seen the begin and the end
        /// of a period.
        #[test]
        fn nobody_is_over_it_without_a_whole_confirmation(
            span in 0u64..5000,
            steps in proptest::collection::vec((1u64..3000, any::<bool>()), 1..60),
        ) {
            let begin = Instant::now();
            let mut limit = TimeLimit::new(millis(span), begin);
            let confirmation = millis(span).clamp(SHORTEST_CONFIRMATION, LONGEST_CONFIRMATION);
            let (mut now, mut seen) = (begin, None);
            for (step, is_gap) in steps {
                now += millis(step);
                if is_gap {
                    limit.put_off(millis(step), now);
                    seen = seen.map(|_| now);
                }
                let before = limit;
                if limit.is_over(now) {
                    let since = seen.expect("it was seen first");
                    prop_assert!(now >= since + confirmation);
                    prop_assert!(now >= begin + millis(span));
                    return Ok(());
                }
                if before != limit {
                    seen = Some(now);
                }
            }
        }
    }
}
