//! The signal mask, the dispositions, and the signalfd that receives every signal.

use std::ffi::c_int;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::signal::Signal;

/// The size of the kernel's `sigset_t`. libc's functions leave 32 and 33 out of every set, so a program
/// could neither block nor forward these signals.
const SET_BYTES: usize = size_of::<u64>();
/// The kernel's `struct sigaction`: handler, flags, restorer, mask. All zeroes are `SIG_DFL`.
const DEFAULT_ACTION: [u64; 4] = [0; 4];
const EVERY_SIGNAL: u64 = u64::MAX;
/// The most signals that one read(2) takes.
const BATCH: usize = 16;

/// Blocks every signal, so that each stays pending for [`Signals::read`]. (KILL and STOP can't be
/// blocked, sigprocmask(2).) Returns whether it has worked: a seccomp filter may forbid it.
pub fn block_all() -> bool {
    set_mask(EVERY_SIGNAL)
}

/// Sets every signal to its default disposition.
///
/// Children inherit ignored signals through execve(2). With an inherited `SIG_IGN` on SIGCHLD the
/// kernel reaps children itself, and their exit codes are lost (wait(2)). The init itself is not
/// affected: a blocked signal is queued whatever its disposition.
pub(crate) fn reset_dispositions() {
    for signal in Signal::all() {
        // SAFETY: the kernel reads 32 bytes from a live array of that size and writes nothing, because
        // the pointer for the old action is null. The calls for KILL and STOP fail without effect.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal.number(),
                DEFAULT_ACTION.as_ptr(),
                ptr::null_mut::<u64>(),
                SET_BYTES,
            );
        }
    }
}

/// Unblocks every signal, in a child just before its exec.
pub(crate) fn unblock_all() {
    set_mask(0);
}

/// Lets TERM and other signals end the process as usual, for a program that does not become an init.
/// PID 1 needs handlers for that, pid_namespaces(7).
pub fn end_by_signals() {
    if std::process::id() == 1 {
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
            let handler = end_by_signal as extern "C" fn(c_int);
            // SAFETY: the handler only calls async-signal-safe functions, and does not return.
            unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        }
    }
    unblock_all();
}

/// Exits with the code that a shell reports for the signal.
extern "C" fn end_by_signal(signal: c_int) {
    // SAFETY: _exit(2) is async-signal-safe, takes any number and does not return.
    unsafe { libc::_exit(128 + signal) }
}

fn set_mask(mask: u64) -> bool {
    // SAFETY: the kernel reads 8 bytes from a live variable of that size and writes nothing.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            ptr::null_mut::<u64>(),
            SET_BYTES,
        )
    };
    returned == 0
}

/// A signal and who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The signal.
    pub signal: Signal,
    /// The sender's process id in our namespace; 0 if it has none here or is the kernel.
    pub sender: u32,
}

/// The descriptor of signalfd(2) for every signal.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// The signals must be blocked, or the kernel delivers them by their dispositions.
    pub fn open() -> io::Result<Signals> {
        let mask = EVERY_SIGNAL;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the kernel reads 8 bytes from a live variable of that size.
        let fd =
            unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const mask, SET_BYTES, flags) };
        let fd = match owned(fd) {
            Ok(fd) => fd,
            Err(error) => open_without_flags(mask).map_err(|_| error)?,
        };
        Ok(Signals(fd))
    }

    /// Reads one pending signal, the lowest number first.
    pub(crate) fn next(&self) -> io::Result<Option<Received>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        // SAFETY: the kernel writes at most the size of the variable into it.
        let length =
            unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size_of_val(&info)) };
        if length <= 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
        // SAFETY: the kernel wrote a whole record, signalfd(2).
        Ok(received(unsafe { info.assume_init_ref() }))
    }

    /// Reads pending signals, at most one batch. Returns whether more may be pending.
    pub fn read(&self, into: &mut Vec<Received>) -> io::Result<bool> {
        let mut batch = [const { MaybeUninit::<libc::signalfd_siginfo>::uninit() }; BATCH];
        // SAFETY: the kernel writes at most the size of the array into it.
        let length = unsafe {
            libc::read(self.0.as_raw_fd(), batch.as_mut_ptr().cast(), size_of_val(&batch))
        };
        let Ok(length) = usize::try_from(length) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(false),
                io::ErrorKind::Interrupted => Ok(true),
                _ => Err(error),
            };
        };
        let count = length / size_of::<libc::signalfd_siginfo>();
        for info in &batch[..count] {
            // SAFETY: the kernel wrote `count` whole records, signalfd(2).
            let info = unsafe { info.assume_init_ref() };
            into.extend(received(info));
        }
        Ok(count == BATCH)
    }
}

fn received(info: &libc::signalfd_siginfo) -> Option<Received> {
    let number = i32::try_from(info.ssi_signo).unwrap_or(0);
    Some(Received { signal: Signal::from_number(number)?, sender: info.ssi_pid })
}

/// Owns the descriptor that a system call has returned.
fn owned(returned: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(returned).ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just created this descriptor, so no value owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The older call, in case the newer one is missing or forbidden (signalfd(2), NOTES).
#[cfg(target_arch = "x86_64")]
fn open_without_flags(mask: u64) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads 8 bytes from a live variable of that size.
    let fd = owned(unsafe { libc::syscall(libc::SYS_signalfd, -1, &raw const mask, SET_BYTES) })?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&fd, rustix::fs::OFlags::NONBLOCK)?;
    Ok(fd)
}

/// Newer architectures do not have the older call.
#[cfg(not(target_arch = "x86_64"))]
fn open_without_flags(_mask: u64) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// kill(2): signals a process; with a negative number a process group; with -1 every process that we
/// may signal, except ourselves and PID 1.
pub(crate) fn kill(pid: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: plain numbers.
    done(libc::c_long::from(unsafe { libc::kill(pid, signal.number()) }))
}

/// pidfd_send_signal(2). rustix has it, but not for real-time signals.
pub(crate) fn pidfd_send(pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    let no_info = ptr::null::<libc::siginfo_t>();
    // SAFETY: plain numbers; with a null siginfo the kernel fills in its own.
    done(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal.number(), no_info, 0)
    })
}

fn done(returned: libc::c_long) -> io::Result<()> {
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
