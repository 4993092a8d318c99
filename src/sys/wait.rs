//! Looks at a child that has ended, without reaping it.

use std::mem::MaybeUninit;

use rustix::process::{Pid, WaitStatus};

use super::process_ids::positive;
use crate::exit::ExitStatus;
use crate::signal::Signal;

/// The result for all children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// This child has ended, and is the next to be reaped.
    Ended(Pid),
    /// All children live.
    NoneEnded,
    /// There are no children.
    NoChild,
    /// waitid(2) is forbidden.
    Nothing,
}

/// Looks for a child that has ended.
pub fn ended_child() -> Seen {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel writes at most one siginfo_t into a live variable of that type.
    let done = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) };
    if done != 0 {
        let error = std::io::Error::last_os_error().raw_os_error();
        return if error == Some(libc::ECHILD) { Seen::NoChild } else { Seen::Nothing };
    }
    // SAFETY: all zeroes are a valid siginfo_t, and so is what the kernel has written; its pid
    // is 0 if no child has ended, waitid(2).
    positive(unsafe { info.assume_init_ref().si_pid() }).map_or(Seen::NoneEnded, Seen::Ended)
}

/// The exit status of a reaped child.
pub(crate) fn exit_status(status: WaitStatus) -> ExitStatus {
    let signal = status.terminating_signal().and_then(Signal::from_number);
    match signal {
        Some(signal) => ExitStatus::Signal(signal),
        // wait(2) returns the low eight bits of the exit code.
        None => ExitStatus::Code(status.exit_status().unwrap_or(0) as u8),
    }
}
