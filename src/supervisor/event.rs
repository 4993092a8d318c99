//! The interface of the core: events in, actions out.

use std::time::Duration;

use crate::exit::ExitStatus;
use crate::signal::Signal;

/// A service, by its index in the bundle. It never changes while the service exists; a reload may give
/// the id of a removed service to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub usize);

/// A fact that the reactor has learnt: from the kernel, from its checks, or from an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The exec of the service has succeeded.
    Spawned(ServiceId),
    /// It could not be started; the code says why (125, 126 or 127).
    SpawnFailed(ServiceId, u8),
    /// It is ready: its check has succeeded, or it said so.
    Ready(ServiceId),
    /// It is not live: its check has failed, its watchdog was not fed, or it said so.
    Unhealthy(ServiceId),
    /// It requested this much time, from now on, for its start or stop.
    Extended(ServiceId, Duration),
    /// Its main process has ended and was reaped.
    Exited(ServiceId, ExitStatus),
    /// Its stop command could not be run, or failed.
    StopCommandFailed(ServiceId),
    /// The init received this signal.
    Signaled(Signal),
    /// No process is left below the init.
    TreeEmpty,
    /// An operator starts the service.
    Start(ServiceId),
    /// An operator stops it.
    Stop(ServiceId),
    /// An operator restarts it.
    Restart(ServiceId),
    /// An operator shuts the bundle down with this exit code.
    Shutdown(u8),
}

/// An action for the reactor. It may fail (the process may just have died); its result comes back as an
/// [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start this service; answered by `Spawned` or `SpawnFailed`, perhaps much later, or by `Exited`
    /// if it is killed before.
    Spawn(ServiceId),
    /// Cancel the start of this service if it is not forked yet, which is answered by `SpawnFailed`;
    /// otherwise do nothing.
    CancelStart(ServiceId),
    /// Send the signal to the service.
    Signal(ServiceId, Signal, Target),
    /// Run the service's stop command; answered by `StopCommandFailed` if it fails.
    RunStopCommand(ServiceId),
    /// Kill the service and all of its process group.
    Kill(ServiceId),
    /// Send TERM to the rest of the process tree, except running services and the processes that they
    /// have started. Requested once all services are gone, and before that when only slow ones are
    /// left. Answered by `TreeEmpty` as soon as nothing is left.
    TerminateRest,
    /// Kill every process below the init. Answered by `TreeEmpty` like `TerminateRest`.
    KillAll,
    /// Read the bundle's file again; answered by [`reload`](super::Supervisor::reload) if it has
    /// changed.
    Reload,
    /// Run the readiness check of the service until it succeeds; answered by `Ready`.
    CheckReadiness(ServiceId),
    /// Run the liveness check of the service from now on; answered by `Unhealthy`.
    CheckLiveness(ServiceId),
    /// End all checks: the shutdown begins.
    EndChecks,
    /// Cancel a reload: the shutdown begins.
    CancelReload,
    /// Report this to the log, clients and hooks.
    Announce(Announcement),
}

/// The target of a signal for a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Its main process.
    #[default]
    Process,
    /// Every process of its process group.
    Group,
}

/// The differences between a new policy and the old one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New, or in the file again. They may reuse the id of a retired service that is gone.
    pub started: Vec<ServiceId>,
    /// Services with changes.
    pub restarted: Vec<ServiceId>,
    /// No longer in the file; retired in the new policy.
    pub stopped: Vec<ServiceId>,
}

impl Changes {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.started.is_empty() && self.restarted.is_empty() && self.stopped.is_empty()
    }
}

/// Something that has happened to a service or to the bundle. The first four come from the reactor,
/// with details that the core does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// The service was started with this pid.
    Started(ServiceId, i32),
    /// It could not be started: the code, and the reason.
    StartFailed(ServiceId, u8, String),
    /// A new bundle applies.
    Reloaded(Changes),
    /// The new bundle is refused or can't be read, for this reason; the old one applies.
    ReloadFailed(String),
    /// The shutdown begins.
    ShutdownBegins(Cause),
    /// The service gets this stop signal.
    Stopping(ServiceId, Signal),
    /// The service is ready; a oneshot has succeeded.
    Ready(ServiceId),
    /// It counts as ready because it runs: it has no readiness check.
    ReadyAtOnce(ServiceId),
    /// Its main process has ended.
    Exited(ServiceId, ExitStatus),
    /// It was not ready in time, and is stopped.
    Unready(ServiceId),
    /// Its liveness check has failed, and it is stopped.
    Unhealthy(ServiceId),
    /// It is not started, because a required service is gone.
    RequirementGone(ServiceId),
    /// It has ended and restarts after this delay.
    Restarting(ServiceId, Duration),
    /// It has ended more often than its restart policy allows.
    GivenUp(ServiceId),
    /// It did not come up after an operator or a reload started it; the others are not affected.
    FailedAlone(ServiceId),
    /// It counts as not ready, and is stopped after this delay.
    Draining(ServiceId, Duration),
    /// Its stop command is started.
    StopCommand(ServiceId),
    /// The service exceeded its own grace and is killed.
    Overran(ServiceId),
    /// The bundle's grace is over: all processes that still run are killed.
    GraceOver,
    /// A second request came: all processes that still run are killed.
    Forced(Signal),
    /// The signal has no route in this bundle and was dropped.
    Unrouted(Signal),
}

/// Why the bundle ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This signal was received.
    Requested(Signal),
    /// This service exited by itself.
    Exited(ServiceId, ExitStatus),
    /// This service could not be started; the code says why.
    SpawnFailed(ServiceId, u8),
    /// This service was not ready in time.
    Unready(ServiceId),
    /// This service failed its liveness checks.
    Unhealthy(ServiceId),
    /// An operator requested it, with this exit code.
    Commanded(u8),
    /// Every service has ended, each with `on-exit = "ignore"`; the first failure, if any.
    AllExited(Option<(ServiceId, ExitStatus)>),
}

impl Cause {
    /// The service that has failed; `None`: none, or all.
    pub(super) fn service(self) -> Option<ServiceId> {
        match self {
            Cause::Exited(id, _)
            | Cause::SpawnFailed(id, _)
            | Cause::Unready(id)
            | Cause::Unhealthy(id) => Some(id),
            Cause::Requested(_) | Cause::Commanded(_) | Cause::AllExited(_) => None,
        }
    }
}
