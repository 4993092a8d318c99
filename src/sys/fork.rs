//! A copy of the init that does one thing which may take for ever, so that the init does not.

use std::ffi::c_int;
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::Pid;

use super::process_ids::positive;
use super::{descriptors, signals};
use crate::exit::INIT_FAILED;

/// Makes a child that does this work, leads a session of its own, and exits with what the work
/// returns. Of the descriptors from 3 on it has the one that the work uses.
///
/// # Errors
/// What the kernel says: too many processes, or no memory.
pub(crate) fn fork(keep: Option<RawFd>, work: impl FnOnce() -> u8) -> io::Result<Pid> {
    // SAFETY: the init runs in a process with one thread, which `Init::run` has made sure of. So the
    // child's copy of the memory is whole, no lock in it is held by a thread that it does not have,
    // and it may do all that its parent may, fork(2). It ends below without returning.
    let pid = unsafe { libc::fork() };
    if pid != 0 {
        return positive(pid).ok_or_else(io::Error::last_os_error);
    }
    // SAFETY: the work opens what else it uses, and what the parent owns is not dropped here.
    unsafe { descriptors::close_all_but(keep.as_slice()) };
    // SAFETY: no arguments.
    unsafe { libc::setsid() };
    // A file that may not grow any further is an error like others, setrlimit(2).
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // No handler can run: every disposition is the default, or this one.
    signals::unblock_all();
    // Whatever happens, nothing of the parent's is done twice.
    let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(INIT_FAILED);
    // SAFETY: _exit(2) runs no exit handlers, which belong to the parent.
    unsafe { libc::_exit(c_int::from(code)) }
}
