//! The states of a service and of the bundle.

use std::time::Instant;

use crate::time_limit::TimeLimit;
use crate::words::words;

/// The state of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It waits for its start.
    #[default]
    Waiting,
    /// The action to start it was given; its exec is not confirmed.
    Spawning {
        /// When the start timeout is over.
        late_at: Option<TimeLimit>,
    },
    /// Its main process runs.
    Running {
        /// Whether dependent services may start. A oneshot is ready when it is done.
        ready: bool,
        /// When the start timeout is over, if it is not ready.
        late_at: Option<TimeLimit>,
    },
    /// It will be stopped; until then it is no longer ready, so that a load balancer can remove it.
    Draining {
        /// When it is stopped.
        until: Instant,
    },
    /// It got its stop signal, and is killed at this time if that is before the deadline.
    Stopping {
        /// The end of its own grace.
        kill_at: Option<Instant>,
        /// When it gets CONT, if it has a stop signal that it may not see before.
        continue_at: Option<Instant>,
    },
    /// It was sent KILL.
    Killed,
    /// It ended by itself, and restarts at this time.
    Backoff {
        /// When it restarts.
        until: Instant,
    },
    /// It has no process, and does not start without a request.
    Gone(End),
}

words! {
    /// The states for clients of the control socket.
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

/// How it ended.
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

/// Why a live service is being stopped; determines what its exit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// An operator wants it down.
    Stop,
    /// It restarts at once.
    Restart,
    /// A required service has ended.
    Requirement,
    /// It was not ready in time.
    Unready,
    /// It failed its checks.
    Unhealthy,
    /// The bundle shuts down.
    Shutdown,
}

impl State {
    /// The state for clients.
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

    /// The deadline of the state.
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            State::Spawning { late_at } | State::Running { ready: false, late_at } => {
                late_at.map(TimeLimit::until)
            }
            State::Stopping { kill_at, continue_at } => match (kill_at, continue_at) {
                (Some(kill_at), Some(continue_at)) => Some(kill_at.min(continue_at)),
                (kill_at, continue_at) => kill_at.or(continue_at),
            },
            State::Draining { until } | State::Backoff { until } => Some(until),
            State::Waiting
            | State::Running { ready: true, .. }
            | State::Killed
            | State::Gone(_) => None,
        }
    }

    /// Whether it has a process, or is about to have one.
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

    /// Whether it has not got its stop signal.
    pub(super) fn is_unasked(self) -> bool {
        matches!(self, State::Spawning { .. } | State::Running { .. })
    }

    /// Whether its exec is still to come.
    pub(super) fn is_starting(self) -> bool {
        matches!(self, State::Spawning { .. })
    }
}

/// The phase of the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Up,
    Stopping { deadline: Instant, stage: Stage, advance_at: Instant },
    Sweeping { deadline: Instant },
    Killing { give_up: Instant },
    Down,
}

/// The progress of the stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No stage yet.
    Begun,
    /// This stage and those before are stopped.
    Number(usize),
    /// The rest of the process tree got TERM, while this many services are still stopping.
    Rest { alive: usize },
}

impl Phase {
    /// The deadline of the shutdown.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Phase::Up | Phase::Down => None,
            Phase::Stopping { deadline, .. } | Phase::Sweeping { deadline } => Some(deadline),
            Phase::Killing { give_up } => Some(give_up),
        }
    }

    /// When the phase ends by itself.
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
