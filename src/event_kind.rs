//! What can happen, by the names that clients of the control socket and `on-event` know. Pure.

use crate::words::Words;

/// A kind of event; `docs/control.md` says what each one means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum EventKind {
    Started,
    StartFailed,
    Ready,
    Exited,
    Backoff,
    GivenUp,
    NotReadyInTime,
    Unhealthy,
    RequirementGone,
    Draining,
    Stopping,
    Overran,
    Reloaded,
    Shutdown,
    GraceOver,
    Forced,
    SignalDropped,
}

impl Words for EventKind {
    const TABLE: &'static [(EventKind, &'static str)] = &[
        (EventKind::Started, "started"),
        (EventKind::StartFailed, "start-failed"),
        (EventKind::Ready, "ready"),
        (EventKind::Exited, "exited"),
        (EventKind::Backoff, "backoff"),
        (EventKind::GivenUp, "given-up"),
        (EventKind::NotReadyInTime, "not-ready-in-time"),
        (EventKind::Unhealthy, "unhealthy"),
        (EventKind::RequirementGone, "requirement-gone"),
        (EventKind::Draining, "draining"),
        (EventKind::Stopping, "stopping"),
        (EventKind::Overran, "overran"),
        (EventKind::Reloaded, "reloaded"),
        (EventKind::Shutdown, "shutdown"),
        (EventKind::GraceOver, "grace-over"),
        (EventKind::Forced, "forced"),
        (EventKind::SignalDropped, "signal-dropped"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_the_table_and_documented() {
        let text = include_str!("../docs/control.md");
        let rows = text.split("### Events").nth(1).unwrap().lines();
        let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
        let mut documented: Vec<&str> =
            rows.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`')).collect();
        let mut known = EventKind::all_words();
        assert_eq!(known.len(), EventKind::SignalDropped as usize + 1);
        documented.sort_unstable();
        known.sort_unstable();
        assert_eq!(documented, known);
    }
}
