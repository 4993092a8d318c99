//! Services that have promised to say again and again that they are alive, sd_notify(3).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::supervisor::ServiceId;

/// For each of them how often it says so, and until when it has to.
#[derive(Debug, Default)]
pub(super) struct Watchdogs(BTreeMap<ServiceId, (Duration, Instant)>);

impl Watchdogs {
    /// From now on the service has to say so this often.
    pub(super) fn begin(&mut self, id: ServiceId, span: Duration, now: Instant) {
        self.0.insert(id, (span, now + span));
    }

    /// The service has said so.
    pub(super) fn is_alive(&mut self, id: ServiceId, now: Instant) {
        if let Some((span, until)) = self.0.get_mut(&id) {
            *until = now + *span;
        }
    }

    /// The service has said for how long it may be silent.
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

    /// The services that were silent for too long, and for how long that was; each once.
    pub(super) fn take_silent(&mut self, now: Instant) -> Vec<(ServiceId, Duration)> {
        let is_silent = |(_, (_, until)): &(&ServiceId, &(Duration, Instant))| *until <= now;
        let silent: Vec<(ServiceId, Duration)> =
            self.0.iter().filter(is_silent).map(|(id, (span, _))| (*id, *span)).collect();
        for (id, _) in &silent {
            self.0.remove(id);
        }
        silent
    }

    /// When the next one has been silent for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().map(|(_, until)| *until).min()
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
        assert_eq!(watchdogs.take_silent(begin + second * 3), [(id, second * 2)]);
        assert_eq!(watchdogs.take_silent(begin + second * 9), []);
        assert_eq!(watchdogs.deadline(), None);
        watchdogs.change(id, second, begin);
        assert_eq!(watchdogs.deadline(), None, "only one that has promised is watched");
    }
}
