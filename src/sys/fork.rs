//! Forks a copy of the init for work that may block without limit.

use std::ffi::c_int;
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::Pid;

use super::process_ids::positive;
use super::{descriptors, signals};
use crate::exit::INIT_FAILED;

/// Forks a child that leads its own session, does this work, and exits with its result. Of the
/// descriptors from 3 on it keeps only `keep`.
///
/// # Errors
/// The error of the kernel: too many processes, or no memory.
pub(crate) fn fork(keep: Option<RawFd>, work: impl FnOnce() -> u8) -> io::Result<Pid> {
    // SAFETY: the process has one thread, which `Init::run` has checked. So the child's copy of the
    // memory is consistent, no thread that the child lacks holds a lock, and it may do everything that
    // its parent may, fork(2). It ends below without returning.
    let pid = unsafe { libc::fork() };
    if pid != 0 {
        return positive(pid).ok_or_else(io::Error::last_os_error);
    }
    // SAFETY: the work opens all other descriptors itself, and the parent's values are not dropped
    // here.
    unsafe { descriptors::close_all_but(keep.as_slice()) };
    // SAFETY: no arguments.
    unsafe { libc::setsid() };
    // So that a file size limit is an error like others, setrlimit(2). SAFETY: SIG_IGN is a valid
    // disposition.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // No handler can run: all dispositions are the default or this one.
    signals::unblock_all();
    // A panic must not run the parent's code a second time.
    let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(INIT_FAILED);
    // SAFETY: _exit(2) does not run the parent's exit handlers.
    unsafe { libc::_exit(c_int::from(code)) }
}
