//! When a service that has ended is restarted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bundle::RestartPolicy;

/// The runs of a service.
#[derive(Debug, Default)]
pub(super) struct RestartHistory {
    /// When the last run began.
    pub(super) began: Option<Instant>,
    /// Most services never restart.
    restarts: Option<Box<Restarts>>,
}

#[derive(Debug, Default)]
struct Restarts {
    /// Those within the policy's window, oldest first; never more than its limit.
    recent: VecDeque<Instant>,
    /// Their number since the last stable run.
    streak: u32,
    /// All so far.
    count: u32,
}

impl RestartHistory {
    /// The delay before the next start; `None`: it stays down. `random` spreads the restarts of many
    /// containers or services.
    pub(super) fn next(
        &mut self,
        policy: &RestartPolicy,
        succeeded: bool,
        now: Instant,
        random: u64,
    ) -> Option<Duration> {
        if !policy.is_wanted_after(succeeded) {
            return None;
        }
        let ran = self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        let Restarts { recent, streak, count } = &mut **self.restarts.get_or_insert_default();
        if ran >= policy.within {
            *streak = 0;
        }
        while recent.front().is_some_and(|at| now.duration_since(*at) >= policy.within) {
            recent.pop_front();
        }
        if recent.len() >= policy.max as usize {
            return None;
        }
        recent.push_back(now);
        let doubled = policy.delay.saturating_mul(1 << (*streak).min(20));
        *streak += 1;
        *count += 1;
        Some(jittered(doubled.min(policy.max_delay), random))
    }

    /// All restarts so far.
    pub(super) fn count(&self) -> u32 {
        self.restarts.as_ref().map_or(0, |restarts| restarts.count)
    }

    /// An operator has handled the failures: the counts start again.
    pub(super) fn forgive(&mut self) {
        if let Some(restarts) = &mut self.restarts {
            restarts.recent.clear();
            restarts.streak = 0;
        }
    }
}

/// Between three quarters of the delay and all of it.
fn jittered(delay: Duration, random: u64) -> Duration {
    let quarter = delay / 4;
    delay - quarter.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

/// The next random number (splitmix64); not for secrets.
pub(super) fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::RestartWhen;

    fn policy(when: RestartWhen) -> RestartPolicy {
        RestartPolicy {
            when,
            max: 3,
            within: Duration::from_secs(60),
            delay: Duration::from_millis(400),
            max_delay: Duration::from_secs(1),
        }
    }

    #[test]
    fn delays_double_up_to_the_longest_and_then_it_is_enough() {
        let (mut history, now) = (RestartHistory::default(), Instant::now());
        let policy = policy(RestartWhen::OnFailure);
        let mut next = |random| history.next(&policy, false, now, random);
        assert_eq!(next(0), Some(Duration::from_millis(400)));
        assert_eq!(next(0), Some(Duration::from_millis(800)));
        let shortest = next(u64::MAX).unwrap();
        assert!(shortest >= Duration::from_millis(750) && shortest < Duration::from_millis(751));
        assert_eq!(next(0), None);
    }

    #[test]
    fn a_stable_run_wipes_the_slate() {
        let (mut history, begin) = (RestartHistory::default(), Instant::now());
        let policy = policy(RestartWhen::Always);
        for _ in 0..3 {
            history.next(&policy, true, begin, 0).unwrap();
        }
        history.began = Some(begin);
        let later = begin + Duration::from_secs(60);
        assert_eq!(history.next(&policy, false, later, 0), Some(Duration::from_millis(400)));
        assert_eq!(history.count(), 4);
    }

    #[test]
    fn the_policy_says_what_starts_again() {
        for (when, after_success, after_failure) in [
            (RestartWhen::Never, false, false),
            (RestartWhen::OnFailure, false, true),
            (RestartWhen::Always, true, true),
        ] {
            let next = |succeeded| {
                RestartHistory::default()
                    .next(&policy(when), succeeded, Instant::now(), 0)
                    .is_some()
            };
            assert_eq!((next(true), next(false)), (after_success, after_failure), "{when:?}");
        }
    }
}
