//! How many proposals may come and wait. Time is an argument.

use std::time::{Duration, SystemTime};

/// The span of the rate.
pub const HOUR: Duration = Duration::from_secs(3600);

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// New proposals within an hour.
    pub per_hour: usize,
    /// Proposals that wait for a decision.
    pub pending: usize,
}

impl Limits {
    /// Whether one more proposal may come now; otherwise why not.
    pub fn check(
        &self,
        now: SystemTime,
        times: &[SystemTime],
        pending: usize,
    ) -> Result<(), String> {
        if pending >= self.pending {
            return Err(format!(
                "{pending} proposals wait for the operator, which is the limit; ask for their \
                 status with proposal_status instead of proposing more"
            ));
        }
        let mut recent: Vec<SystemTime> =
            times.iter().copied().filter(|time| is_recent(now, *time)).collect();
        if recent.len() < self.per_hour {
            return Ok(());
        }
        recent.sort();
        // The next place is free when so many of the oldest have left the hour.
        let leaving = recent.get(recent.len() - self.per_hour).copied().unwrap_or(now);
        let wait = (leaving + HOUR).duration_since(now).unwrap_or_default();
        Err(format!(
            "{} proposals came within the last hour, which is the limit; the next one can come \
             in {} seconds",
            recent.len(),
            wait.as_secs() + 1
        ))
    }
}

/// A time in the future, after the clock was set back, counts as recent: fail closed.
fn is_recent(now: SystemTime, time: SystemTime) -> bool {
    now.duration_since(time).map_or(true, |age| age < HOUR)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn says_when_the_next_one_can_come() {
        let limits = Limits { per_hour: 2, pending: 5 };
        assert!(limits.check(at(100), &[at(0)], 1).is_ok());
        let error = limits.check(at(100), &[at(50), at(0)], 2).unwrap_err();
        assert!(error.contains("in 3501 seconds"), "{error}");
        assert!(limits.check(at(3601), &[at(50), at(0)], 2).is_ok());
        assert!(limits.check(at(0), &[], 5).unwrap_err().contains("5 proposals wait"));
        assert!(limits.check(at(0), &[at(9000), at(9000)], 0).is_err());
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_in_any_hour(
            gaps in proptest::collection::vec(0u64..2000, 1..60),
            per_hour in 1usize..6,
        ) {
            let limits = Limits { per_hour, pending: usize::MAX };
            let (mut now, mut taken) = (10_000, Vec::new());
            for gap in gaps {
                now += gap;
                if limits.check(at(now), &taken, 0).is_ok() {
                    taken.push(at(now));
                }
            }
            for first in &taken {
                let within = |time: &&SystemTime| **time >= *first && **time < *first + HOUR;
                prop_assert!(taken.iter().filter(within).count() <= per_hour);
            }
        }
    }
}
