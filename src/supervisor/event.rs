//! The vocabulary of the core: facts in, actions out.

use std::time::Duration;

use crate::exit::ExitStatus;
use crate::signal::Signal;

/// A service, by its place in the bundle's start order. Never changes, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub usize);

/// What the reactor has learnt: from the kernel, from its checks, or from an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The service's program is running.
    Spawned(ServiceId),
    /// It could not be started; the code says why (125, 126 or 127).
    SpawnFailed(ServiceId, u8),
    /// It is ready to serve: its readiness check has succeeded.
    Ready(ServiceId),
    /// Its liveness check has failed as often as it may.
    Unhealthy(ServiceId),
    /// It asked for this much time, from now on, for what it is doing.
    Extended(ServiceId, Duration),
    /// Its main process has ended and was reaped.
    Exited(ServiceId, ExitStatus),
    /// Its stop command could not be run, or failed.
    StopCommandFailed(ServiceId),
    /// The init received this signal.
    Signaled(Signal),
    /// No process is left below the init.
    TreeEmpty,
    /// An operator wants the service to run.
    Start(ServiceId),
    /// An operator wants it down.
    Stop(ServiceId),
    /// An operator wants it to end, and to start again.
    Restart(ServiceId),
    /// An operator wants the bundle to end with this code.
    Shutdown(u8),
}

/// An order to the reactor. Executing one may fail (the process may just have died); what
/// became of it comes back as an [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start this service; answered by `Spawned` or `SpawnFailed`, perhaps much later, or by
    /// `Exited` if it is killed before.
    Spawn(ServiceId),
    /// Do not start this service if its process is not made yet, which is answered by
    /// `SpawnFailed`. Nothing otherwise.
    CancelStart(ServiceId),
    /// Send the signal to the service.
    Signal(ServiceId, Signal, Target),
    /// Run the service's stop command; answered by `StopCommandFailed` if it fails.
    RunStopCommand(ServiceId),
    /// Kill the service and all of its process group.
    Kill(ServiceId),
    /// Ask whatever is left of the process tree to end, apart from services that run and what
    /// they have started. Given once all services are gone, and before that when only slow ones
    /// are left. Answered by `TreeEmpty` as soon as nothing is left.
    TerminateRest,
    /// Kill every process below the init. Answered by `TreeEmpty` like `TerminateRest`.
    KillAll,
    /// Read the bundle again; answered by [`reload`](super::Supervisor::reload) if it has
    /// changed.
    Reload,
    /// Ask the service again and again whether it is ready, until it is; answered by `Ready`.
    CheckReadiness(ServiceId),
    /// From now on see to it that the service stays well; answered by `Unhealthy`.
    CheckLiveness(ServiceId),
    /// Nobody is asked any more how they are: the shutdown begins.
    EndChecks,
    /// Give up a reload that is under way: the shutdown begins.
    CancelReload,
    /// Tell everybody who wants to know.
    Announce(Announcement),
}

/// Who gets a signal that is meant for a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Its main process.
    #[default]
    Process,
    /// Every process of its process group.
    Group,
}

/// Where a new policy differs from the old one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New, or in the file again. They may have the id of a service that is retired and gone.
    pub started: Vec<ServiceId>,
    /// Something about them is different.
    pub restarted: Vec<ServiceId>,
    /// No longer in the file; retired in the new policy.
    pub stopped: Vec<ServiceId>,
}

impl Changes {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.started.is_empty() && self.restarted.is_empty() && self.stopped.is_empty()
    }
}

/// Something that has happened to a service or to the bundle. The first three are the reactor's:
/// they say what the core does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// The service's program runs as this process.
    Started(ServiceId, i32),
    /// It could not be started: the code, and the reason.
    StartFailed(ServiceId, u8, String),
    /// Another bundle is in force.
    Reloaded(Changes),
    /// The shutdown begins.
    ShutdownBegins(Cause),
    /// The service is asked to end by this signal.
    Stopping(ServiceId, Signal),
    /// The service is ready; a oneshot has succeeded.
    Ready(ServiceId),
    /// It counts as ready because it runs: nothing is known by which to tell.
    ReadyAtOnce(ServiceId),
    /// Its main process has ended.
    Exited(ServiceId, ExitStatus),
    /// It did not become ready in time, and is asked to end.
    Unready(ServiceId),
    /// Its liveness check has failed, and it is asked to end.
    Unhealthy(ServiceId),
    /// It is not started, for one that it requires is gone.
    RequirementGone(ServiceId),
    /// It has ended and starts again after this delay.
    Restarting(ServiceId, Duration),
    /// It has ended once more than its restart policy allows.
    GivenUp(ServiceId),
    /// It did not come up as an operator or a reload wanted it to; the others go on.
    FailedAlone(ServiceId),
    /// It counts as not ready, and is asked to end after this delay.
    Draining(ServiceId, Duration),
    /// It is asked to end by its stop command.
    StopCommand(ServiceId),
    /// The service did not end within its own grace and is killed.
    Overran(ServiceId),
    /// The bundle's grace is over: all that is left is killed.
    GraceOver,
    /// A second request to end came: all that is left is killed.
    Forced(Signal),
    /// The signal has no route in this bundle and was dropped.
    Unrouted(Signal),
}

/// What ended the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This signal asked for it.
    Requested(Signal),
    /// This service ended without being asked to.
    Exited(ServiceId, ExitStatus),
    /// This service could not be started; the code says why.
    SpawnFailed(ServiceId, u8),
    /// This service did not become ready in time.
    Unready(ServiceId),
    /// This service failed its liveness checks.
    Unhealthy(ServiceId),
    /// An operator asked for it, with this code.
    Commanded(u8),
    /// Every service has ended, each with leave to do so; the first that failed, if any did.
    AllExited(Option<(ServiceId, ExitStatus)>),
}

impl Cause {
    /// The service by whose failure it is; `None`: nobody's, or that of all.
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
