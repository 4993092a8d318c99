//! How long somebody may take for something before that counts as their failure.
//!
//! The clock also goes on while the init and all that is below it stand still: SIGSTOP, the freezer
//! of `docker pause`, a machine that has no time for us. A pause that ends just before a limit can't
//! be seen from inside. So whoever is over the limit has one short time more, from the moment in
//! which the init has seen it, to do what they would have done in time.

use std::time::{Duration, Instant};

/// The time more is as long as the limit, but within these.
const SHORTEST_CONFIRMATION: Duration = Duration::from_millis(200);
const LONGEST_CONFIRMATION: Duration = Duration::from_secs(1);
/// Whoever sees the end of that so much too late did not run for a while, and the others may not
/// have run either: it counts for nothing.
const LATE: Duration = Duration::from_millis(100);

/// A limit, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    until: Instant,
    confirmation: Duration,
    is_confirming: bool,
}

impl TimeLimit {
    /// So long from now on.
    pub fn new(span: Duration, now: Instant) -> TimeLimit {
        let confirmation = span.clamp(SHORTEST_CONFIRMATION, LONGEST_CONFIRMATION);
        TimeLimit { until: now + span, confirmation, is_confirming: false }
    }

    /// When it is to be looked at next.
    pub fn until(self) -> Instant {
        self.until
    }

    /// Whether it is over for good; to be asked when all that happened before `now` is known.
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

    /// There is time until then at least.
    pub fn extend(&mut self, until: Instant) {
        if until > self.until {
            self.until = until;
            self.is_confirming = false;
        }
    }

    /// Nobody ran for so long until now: that is no time that was taken.
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
        /// However long nobody looks, and whatever is put off: at the end there was a time in which
        /// somebody looked at its beginning and at its end.
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
