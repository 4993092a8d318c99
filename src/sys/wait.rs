//! Looks at a child that has ended, without reaping it.

use std::mem::MaybeUninit;

use rustix::process::Pid;

use super::process_ids::positive;

/// The child that would be reaped next; `None` if there is none, or waitid(2) is forbidden.
pub fn ended_child() -> Option<Pid> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel writes at most one siginfo_t into a live variable of that type.
    let done = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) };
    if done != 0 {
        return None;
    }
    // SAFETY: all zeroes are a valid siginfo_t, and so is what the kernel has written; its pid
    // is 0 if no child has ended, waitid(2).
    positive(unsafe { info.assume_init_ref().si_pid() })
}
