//! Times in which the init does not run, for a simulation: when it finds that out, and for what
//! nobody may be blamed then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sidecar_init::supervisor::ServiceId;

/// As `src/init/attendance.rs` and `src/time_limit.rs` have it.
const LATE: Duration = Duration::from_secs(1);
const CONFIRMATIONS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// What somebody has time for.
struct Limit {
    /// When it is over, if nobody takes more time than the clock shows.
    until: Instant,
    confirmation: Duration,
    /// When the init was last known to be back.
    back_at: Option<Instant>,
}

pub struct Pauses {
    last: Instant,
    starts: BTreeMap<ServiceId, Limit>,
    /// When the shutdown began, and how much longer everything took since then.
    shutdown: Option<(Instant, Duration)>,
    /// How late the init was this time, and all in all.
    late: Duration,
    all_late: Duration,
}

impl Pauses {
    pub fn new(now: Instant) -> Pauses {
        let (starts, none) = (BTreeMap::new(), Duration::ZERO);
        Pauses { last: now, starts, shutdown: None, late: none, all_late: none }
    }

    /// The service has this long to start.
    pub fn starts(&mut self, id: ServiceId, span: Option<Duration>, now: Instant) {
        self.starts.remove(&id);
        if let Some(span) = span {
            let confirmation = span.clamp(CONFIRMATIONS[0], CONFIRMATIONS[1]);
            self.starts.insert(id, Limit { until: now + span, confirmation, back_at: None });
        }
    }

    pub fn shutdown_begins(&mut self, now: Instant) {
        self.shutdown.get_or_insert((now, Duration::ZERO));
    }

    /// The init runs, and wanted to at this time; how long it was away, if it can tell.
    pub fn come_back(&mut self, due: Option<Instant>, now: Instant) -> Option<Duration> {
        let last = std::mem::replace(&mut self.last, now);
        self.late = due.map_or(Duration::ZERO, |due| now.saturating_duration_since(due.max(last)));
        self.all_late += self.late;
        if self.late <= LATE {
            return None;
        }
        let gap = now - last;
        for limit in self.starts.values_mut() {
            limit.until += gap;
            limit.back_at = Some(now);
        }
        self.shutdown.iter_mut().for_each(|(_, gaps)| *gaps += gap);
        Some(gap)
    }

    /// Whether it has come too late for something. If that is the end of the shutdown, there is still
    /// to be an answer to whether anything is left.
    pub fn is_late(&self) -> bool {
        self.late > Duration::ZERO
    }

    /// Nobody is late for a time in which the init did not run, nor without having had a moment
    /// since it was back.
    pub fn may_be_blamed(&self, id: ServiceId, now: Instant) {
        let limit = self.starts.get(&id).expect("it has a limit");
        assert!(now >= limit.until + limit.confirmation, "{id:?} had not all of its time");
        let had_a_moment = limit.back_at.is_none_or(|back| now >= back + limit.confirmation);
        assert!(had_a_moment, "{id:?} is blamed as soon as the init is back");
    }

    /// The shutdown takes the time that the clock shows and that of the gaps, but never more than
    /// twice the first.
    pub fn check_shutdown(&self, grace: Duration, is_killed: bool, kill_wait: Duration) {
        let Some((at, gaps)) = self.shutdown else { return };
        let end = at + grace + gaps.min(grace);
        assert!(
            self.last < end || self.is_late() || is_killed,
            "not everything was killed in time"
        );
        let latest = end + kill_wait + gaps.min(2 * kill_wait) + self.all_late;
        assert!(self.last <= latest, "it came down too late");
    }
}
