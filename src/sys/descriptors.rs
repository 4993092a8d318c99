//! Descriptors that were handed to the init, and are not its own.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, setrlimit};

/// The first descriptor that is not a standard one.
const FIRST: RawFd = 3;
/// How far the slow way goes where the kernel can't close a range and `/proc` does not tell:
/// the usual limit on open files, or the soft limit where that is lower.
const SLOW_WAY_END: RawFd = 65_536;

/// Opens `/dev/null` in place of whichever of 0, 1 and 2 is closed, so that no descriptor of
/// the init's own ends up where a program expects its standard streams.
pub fn open_missing_standard() {
    for fd in 0..FIRST {
        if !is_open(fd) {
            // SAFETY: the path is a NUL-terminated literal. open(2) gives the lowest free
            // number, which is `fd`, since those below it are open by now.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}

/// Puts `/dev/null` in place of 0 and 1, so that whoever has their other ends learns when the
/// command lets go of them. Without a `/dev/null` they stay.
pub(crate) fn empty_input_and_output() {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(null) = rustix::fs::open("/dev/null", flags, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// Every descriptor from 3 on.
///
/// # Safety
/// No value may own or borrow one of them: call it once, before the program has opened any.
pub unsafe fn take_inherited() -> Vec<OwnedFd> {
    let inherited = open_descriptors().into_iter().filter(|fd| is_open(*fd));
    // SAFETY: they are open, and the caller promises that no value owns them.
    inherited.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

/// Closes them.
pub fn close(descriptors: Vec<OwnedFd>) {
    for fd in descriptors.into_iter().map(IntoRawFd::into_raw_fd) {
        // SAFETY: it was owned, and is nobody's now.
        unsafe {
            if libc::syscall(libc::SYS_close_range, fd, fd, 0) != 0 {
                libc::close(fd);
            }
        }
    }
}

/// Sees to it that no child inherits a descriptor from 3 on. Whoever holds them still does.
pub(crate) fn close_on_exec() {
    // SAFETY: flags of descriptors are nobody's memory.
    let done = unsafe {
        libc::syscall(libc::SYS_close_range, FIRST, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    // The same errors, and EINVAL before Linux 5.11.
    if done != 0 {
        for fd in open_descriptors() {
            // SAFETY: as above; a number that isn't open is refused, harmlessly.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

/// Whether this number is a descriptor's.
fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD only reads a flag, and any number is allowed.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Closes every descriptor from 3 on that isn't in `keep`, in a forked child, without an allocation,
/// for `keep` in ascending order. Where the kernel can't close a range they stay open until the exec.
///
/// # Safety
/// The child has copies of the values that own what is closed: it must neither use nor drop them.
pub(super) unsafe fn close_all_but(keep: &[RawFd]) {
    for (first, last) in gaps(keep) {
        // SAFETY: closing descriptors touches no memory, and the caller promises the rest.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

/// The ranges from 3 on between the descriptors in `keep`, which are in ascending order.
fn gaps(keep: &[RawFd]) -> impl Iterator<Item = (RawFd, RawFd)> {
    let above = keep.iter().filter(|fd| **fd >= FIRST);
    let firsts = [FIRST].into_iter().chain(above.clone().map(|fd| fd.saturating_add(1)));
    let lasts = above.map(|fd| fd - 1).chain([RawFd::MAX]);
    firsts.zip(lasts).filter(|(first, last)| first <= last)
}

/// The soft and the hard limit on open files that the process was started with, if it has raised
/// the soft one.
static GIVEN_LIMIT: OnceLock<(u64, u64)> = OnceLock::new();

/// Lets the process have as many open files as it may: a bundle takes three for each service.
/// Children get the limit that we were given (`spawn`), since programs
/// that use select(2) fail with a higher one.
pub(crate) fn raise_limit() {
    let Some(Rlimit { current, maximum }) = limit() else { return };
    let raised = Rlimit { current: maximum, maximum };
    if current != maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        let _ = GIVEN_LIMIT.set((current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX)));
    }
}

/// The limit on open files, if the kernel tells it: a seccomp filter may forbid the question, and
/// then rustix's getrlimit panics.
fn limit() -> Option<Rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one such structure to a place that has room for it.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let some = |value| (value != libc::RLIM_INFINITY).then_some(value);
    (done == 0).then(|| Rlimit { current: some(limit.rlim_cur), maximum: some(limit.rlim_max) })
}

/// How many descriptors may be open; `None`: as many as one likes, or the kernel does not tell.
pub(crate) fn open_files_limit() -> Option<u64> {
    limit()?.current
}

/// The limits that children are to have, if they are not ours.
pub(super) fn given_limit() -> Option<(u64, u64)> {
    GIVEN_LIMIT.get().copied()
}

/// The numbers from 3 on that may be open.
fn open_descriptors() -> Vec<RawFd> {
    let listed = || -> io::Result<Vec<RawFd>> {
        let entries = super::directory::entries(Path::new("/proc/self/fd"))?;
        let names = entries.collect::<io::Result<Vec<_>>>()?;
        Ok(names.iter().filter_map(|(name, _)| name.to_str()?.parse().ok()).collect())
    };
    let numbers = listed().unwrap_or_else(|_| (FIRST..slow_way_end()).collect());
    numbers.into_iter().filter(|fd| *fd >= FIRST).collect()
}

/// How many numbers the kernel's table has room for at the moment, proc(5): far fewer than the limit.
fn table_size() -> Option<RawFd> {
    let status = std::fs::read("/proc/self/status").ok()?;
    let status = String::from_utf8_lossy(&status);
    status.lines().find_map(|line| line.strip_prefix("FDSize:"))?.trim().parse().ok()
}

fn slow_way_end() -> RawFd {
    if let Some(size) = table_size() {
        return size;
    }
    limit()
        .and_then(|limit| limit.current)
        .and_then(|limit| RawFd::try_from(limit).ok())
        .map_or(SLOW_WAY_END, |limit| limit.min(SLOW_WAY_END))
}
