//! The vocabulary of the core: facts in, orders out.

use crate::exit::ExitStatus;
use crate::signal::Signal;

/// A service, by its place in the bundle's start order. Never changes, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub usize);

/// A fact that the reactor has learnt from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The service's program is running.
    Spawned(ServiceId),
    /// It could not be started; the code says why (125, 126 or 127).
    SpawnFailed(ServiceId, u8),
    /// Its main process has ended and was reaped.
    Exited(ServiceId, ExitStatus),
    /// The init received this signal.
    Signaled(Signal),
    /// No process is left below the init.
    TreeEmpty,
}

/// An order to the reactor. Obeying one may fail (the process may just have died); what
/// became of it comes back as an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start this service; answered by `Spawned` or `SpawnFailed`.
    Spawn(ServiceId),
    /// Send the signal to the service.
    Signal(ServiceId, Signal, Target),
    /// Kill the service and all of its process group.
    Kill(ServiceId),
    /// All services are gone: ask whatever else is left of the process tree to end. Answered
    /// by `TreeEmpty` as soon as nothing is left.
    TerminateRest,
    /// Kill every process below the init. Answered by `TreeEmpty` like `TerminateRest`.
    KillAll,
    /// Something an operator wants to read.
    Note(Note),
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

/// A decision worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The shutdown begins.
    ShutdownBegins(Cause),
    /// The service is asked to end by this signal.
    Stopping(ServiceId, Signal),
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
    /// Every service has ended, each with leave to do so; the first that failed, if any did.
    AllExited(Option<(ServiceId, ExitStatus)>),
}
