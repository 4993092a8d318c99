//! Where a service is in its life, and where the bundle is.

use std::time::Instant;

use crate::time_limit::TimeLimit;
use crate::words::words;

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Its turn to start has not come.
    #[default]
    Waiting,
    /// The order to start it is out; its program does not run yet.
    Spawning {
        /// When it has taken too long.
        late_at: Option<TimeLimit>,
    },
    /// Its main process lives.
    Running {
        /// Whether those that come after it may start. A oneshot is ready when it is done.
        ready: bool,
        /// When it has failed if it is not ready.
        late_at: Option<TimeLimit>,
    },
    /// It is to end, and has until this time to be taken out of a load balancer.
    Draining {
        /// When it is asked to end.
        until: Instant,
    },
    /// It was asked to end, and will be killed at this time if that is before the deadline.
    Stopping {
        /// The end of its own grace.
        kill_at: Option<Instant>,
    },
    /// It was sent KILL.
    Killed,
    /// It ended by itself, and starts again at this time.
    Backoff {
        /// When it starts again.
        until: Instant,
    },
    /// It has no process, and gets none unless an operator asks for it.
    Gone(End),
}

words! {
    /// The same, as clients of the control socket are told it.
    #[allow(missing_docs)]
    pub enum StateKind {
        Waiting => "waiting",
        Starting => "starting",
        Ready => "ready",
        Draining => "draining",
        Stopping => "stopping",
        Killed => "killed",
        Backoff => "backoff",
        Done => "done",
        Failed => "failed",
        Stopped => "stopped",
        NeverStarted => "never started",
    }
}

/// How it came to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was never started.
    Never,
    /// It ended with success, or because another one did.
    Done,
    /// It failed.
    Failed,
    /// An operator stopped it.
    Stopped,
}

/// Why a service that lives is to end, which says what its exit will mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// An operator wants it down.
    Stop,
    /// It is to start again at once.
    Restart,
    /// One that it requires has ended.
    Requirement,
    /// It did not become ready in time.
    Unready,
    /// It failed its checks.
    Unhealthy,
    /// The bundle comes down.
    Shutdown,
}

impl State {
    /// What clients are told of it.
    pub fn kind(self) -> StateKind {
        match self {
            State::Waiting => StateKind::Waiting,
            State::Spawning { .. } | State::Running { ready: false, .. } => StateKind::Starting,
            State::Running { ready: true, .. } => StateKind::Ready,
            State::Draining { .. } => StateKind::Draining,
            State::Stopping { .. } => StateKind::Stopping,
            State::Killed => StateKind::Killed,
            State::Backoff { .. } => StateKind::Backoff,
            State::Gone(End::Never) => StateKind::NeverStarted,
            State::Gone(End::Done) => StateKind::Done,
            State::Gone(End::Failed) => StateKind::Failed,
            State::Gone(End::Stopped) => StateKind::Stopped,
        }
    }

    /// When it ends by itself.
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            State::Spawning { late_at } | State::Running { ready: false, late_at } => {
                late_at.map(TimeLimit::until)
            }
            State::Stopping { kill_at } => kill_at,
            State::Draining { until } | State::Backoff { until } => Some(until),
            State::Waiting
            | State::Running { ready: true, .. }
            | State::Killed
            | State::Gone(_) => None,
        }
    }

    /// Whether it has a process, or is about to.
    pub fn is_alive(self) -> bool {
        match self {
            State::Spawning { .. }
            | State::Running { .. }
            | State::Draining { .. }
            | State::Stopping { .. }
            | State::Killed => true,
            State::Waiting | State::Backoff { .. } | State::Gone(_) => false,
        }
    }

    /// Whether it has not been asked to end.
    pub(super) fn is_unasked(self) -> bool {
        matches!(self, State::Spawning { .. } | State::Running { .. })
    }

    /// Whether its program does not run yet, but is to.
    pub(super) fn is_starting(self) -> bool {
        matches!(self, State::Spawning { .. })
    }
}

/// Where the bundle is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Up,
    Stopping { deadline: Instant, stage: Stage, advance_at: Instant },
    Sweeping { deadline: Instant },
    Killing { give_up: Instant },
    Down,
}

/// Whose turn to end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody's yet.
    Begun,
    /// All of this stage and those before were asked.
    Number(usize),
    /// The strays were asked too, while this many services are still ending.
    Rest { alive: usize },
}

impl Phase {
    /// Until when the shutdown may go on.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Phase::Up | Phase::Down => None,
            Phase::Stopping { deadline, .. } | Phase::Sweeping { deadline } => Some(deadline),
            Phase::Killing { give_up } => Some(give_up),
        }
    }

    /// When it goes on by itself.
    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Phase::Stopping { deadline, advance_at, .. } => Some(advance_at.min(deadline)),
            other => other.deadline(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Words;

    #[test]
    fn the_documentation_has_every_state() {
        let text = include_str!("../../docs/control.md");
        let begin = text.find("`waiting`, `starting`").unwrap();
        let sentence = text[begin..].split('.').next().unwrap();
        let documented: Vec<&str> = sentence.split('`').skip(1).step_by(2).collect();
        assert_eq!(documented, StateKind::all_words());
    }
}
