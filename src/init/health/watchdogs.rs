//! Watchdogs: services that must send `WATCHDOG=1` periodically, sd_notify(3).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::supervisor::ServiceId;
use crate::time_limit::TimeLimit;

/// The interval and the limit of each.
#[derive(Debug, Default)]
pub(super) struct Watchdogs(BTreeMap<ServiceId, (Duration, TimeLimit)>);

impl Watchdogs {
    /// Starts a watchdog with this interval.
    pub(super) fn begin(&mut self, id: ServiceId, span: Duration, now: Instant) {
        self.0.insert(id, (span, TimeLimit::new(span, now)));
    }

    /// The service has sent `WATCHDOG=1`.
    pub(super) fn is_alive(&mut self, id: ServiceId, now: Instant) {
        if let Some((span, limit)) = self.0.get_mut(&id) {
            *limit = TimeLimit::new(*span, now);
        }
    }

    /// The service has changed its interval.
    pub(super) fn change(&mut self, id: ServiceId, span: Duration, now: Instant) {
        if self.0.contains_key(&id) {
            self.begin(id, span, now);
        }
    }

    pub(super) fn end(&mut self, id: ServiceId) {
        self.0.remove(&id);
    }

    pub(super) fn end_all(&mut self) {
        self.0.clear();
    }

    /// The services over their limit, with their intervals; each once.
    pub(super) fn take_silent(&mut self, now: Instant) -> Vec<(ServiceId, Duration)> {
        let mut silent = Vec::new();
        self.0.retain(|id, (span, limit)| {
            let is_silent = limit.is_over(now);
            if is_silent {
                silent.push((*id, *span));
            }
            !is_silent
        });
        silent
    }

    /// Extends the limits by a suspension.
    pub(super) fn put_off(&mut self, gap: Duration, now: Instant) {
        self.0.values_mut().for_each(|(_, limit)| limit.put_off(gap, now));
    }

    /// The next limit.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().map(|(_, limit)| limit.until()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_noticed_once() {
        let (mut watchdogs, begin) = (Watchdogs::default(), Instant::now());
        let (id, second) = (ServiceId(3), Duration::from_secs(1));
        watchdogs.begin(id, second, begin);
        assert_eq!(watchdogs.deadline(), Some(begin + second));
        watchdogs.is_alive(id, begin + second / 2);
        assert_eq!(watchdogs.take_silent(begin + second), []);
        watchdogs.change(id, second * 2, begin + second);
        assert_eq!(watchdogs.take_silent(begin + second * 3), [], "it is to be confirmed");
        assert_eq!(watchdogs.deadline(), Some(begin + second * 4));
        assert_eq!(watchdogs.take_silent(begin + second * 4), [(id, second * 2)]);
        assert_eq!(watchdogs.take_silent(begin + second * 9), []);
        assert_eq!(watchdogs.deadline(), None);
        watchdogs.change(id, second, begin);
        assert_eq!(watchdogs.deadline(), None, "only one that has promised is watched");
    }

    #[test]
    fn who_speaks_when_all_go_on_is_not_silent() {
        let (mut watchdogs, begin) = (Watchdogs::default(), Instant::now());
        let (early, late, second) = (ServiceId(1), ServiceId(2), Duration::from_secs(1));
        watchdogs.begin(early, second, begin);
        watchdogs.begin(late, second * 30, begin);
        let now = begin + second * 29;
        watchdogs.put_off(second * 29, now);
        assert_eq!(watchdogs.take_silent(now), []);
        assert_eq!(watchdogs.take_silent(now + second), []);
        watchdogs.is_alive(early, now + second * 3 / 2);
        assert_eq!(watchdogs.take_silent(now + second * 2), []);
        watchdogs.end(early);
        assert_eq!(watchdogs.deadline(), Some(begin + second * 59));
    }
}
