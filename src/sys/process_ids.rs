//! Process groups and sessions. If their leader is outside of our PID namespace the kernel returns 0
//! (pid_namespaces(7)), which rustix's functions do not expect.

use rustix::process::Pid;

/// The process group of a process, or of the caller; `None` if the group has no number in our
/// namespace.
pub fn group_of(pid: Option<Pid>) -> Option<Pid> {
    // SAFETY: plain numbers.
    positive(unsafe { libc::getpgid(Pid::as_raw(pid)) })
}

/// The session of a process, or of the caller; `None` if the session has no number in our namespace.
pub fn session_of(pid: Option<Pid>) -> Option<Pid> {
    // SAFETY: plain numbers.
    positive(unsafe { libc::getsid(Pid::as_raw(pid)) })
}

/// The process that a call returned: 0 is none, -1 an error.
pub(super) fn positive(returned: i32) -> Option<Pid> {
    if returned > 0 { Pid::from_raw(returned) } else { None }
}
