//! The kinds of events, with the names for clients of the control socket and `on-event`. Pure.

use crate::words::words;

words! {
    /// A kind of event; `docs/control.md` describes each.
    #[allow(missing_docs)]
    pub enum EventKind {
        Started => "started",
        StartFailed => "start-failed",
        Ready => "ready",
        Exited => "exited",
        Backoff => "backoff",
        GivenUp => "given-up",
        NotReadyInTime => "not-ready-in-time",
        Unhealthy => "unhealthy",
        RequirementGone => "requirement-gone",
        Draining => "draining",
        Stopping => "stopping",
        Overran => "overran",
        Reloaded => "reloaded",
        ReloadFailed => "reload-failed",
        Shutdown => "shutdown",
        GraceOver => "grace-over",
        Forced => "forced",
        SignalDropped => "signal-dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Words;

    #[test]
    fn every_kind_is_documented() {
        let text = include_str!("../docs/control.md");
        let rows = text.split("### Events").nth(1).unwrap().lines();
        let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
        let mut documented: Vec<&str> =
            rows.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`')).collect();
        let mut known = EventKind::all_words();
        documented.sort_unstable();
        known.sort_unstable();
        assert_eq!(documented, known);
    }
}
