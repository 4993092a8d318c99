//! What the init changes of its own process.

use std::io;

use rustix::process::{chdir, getpid, set_child_subreaper};

/// Becomes the reaper of orphans. PID 1 is that anyway. Linux never refuses this, but gVisor and qemu's
/// user mode do not know it; then the kernel's list of our children still contains all services.
///
/// # Errors
/// The kernel does not know it.
pub(crate) fn become_reaper() -> io::Result<()> {
    let own = getpid();
    if own.as_raw_nonzero().get() == 1 {
        return Ok(());
    }
    Ok(set_child_subreaper(Some(own))?)
}

/// Goes to the root directory, so that no file system is kept busy. A failure has no effect.
pub(crate) fn leave_directory() {
    let _ = chdir("/");
}
