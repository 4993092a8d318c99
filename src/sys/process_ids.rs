//! Process groups and sessions. Their leaders may be outside of our PID namespace; then the
//! kernel says 0 (pid_namespaces(7)), which rustix's own functions don't expect.

use rustix::process::Pid;

/// The process group of a process, or of the caller; `None` if it has no number here.
pub fn group_of(pid: Option<Pid>) -> Option<Pid> {
    // SAFETY: plain numbers.
    positive(unsafe { libc::getpgid(Pid::as_raw(pid)) })
}

/// The session of a process, or of the caller; `None` if it has no number here.
pub fn session_of(pid: Option<Pid>) -> Option<Pid> {
    // SAFETY: plain numbers.
    positive(unsafe { libc::getsid(Pid::as_raw(pid)) })
}

/// What a call returned, if it is a process: 0 stands for none, -1 for an error.
pub(super) fn positive(returned: i32) -> Option<Pid> {
    if returned > 0 { Pid::from_raw(returned) } else { None }
}
