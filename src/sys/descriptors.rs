//! Descriptors that were handed to the init, and are not its own.

use std::io;
use std::os::fd::RawFd;
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
        // SAFETY: F_GETFD only reads a flag, and any number is allowed.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
            // SAFETY: the path is a NUL-terminated literal. open(2) gives the lowest free
            // number, which is `fd`, since those below it are open by now.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}

/// Puts `/dev/null` in place of 0 and 1, so that whoever has their other ends learns when the
/// command lets go of them. Without a `/dev/null` they stay.
pub fn empty_input_and_output() {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(null) = rustix::fs::open("/dev/null", flags, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// Closes every descriptor from 3 on that isn't in `keep`.
///
/// What the init was handed it must not hold: a pipe's reader would wait for it forever
/// (<https://github.com/openSUSE/catatonit/issues/12>).
pub fn close_inherited(keep: &mut [RawFd]) {
    keep.sort_unstable();
    for (first, last) in gaps(keep) {
        close_range(first, last);
    }
}

/// The same in a forked child, without an allocation, for `keep` in ascending order. Where the
/// kernel can't close a range they stay open until the exec.
pub(super) fn close_all_but(keep: &[RawFd]) {
    for (first, last) in gaps(keep) {
        // SAFETY: as below; the child has none of the values that own them.
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
/// Children get the limit that we were given ([`spawn`](super::spawn::spawn)), since programs
/// that use select(2) fail with a higher one.
pub fn raise_limit() {
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

/// The limits that children are to have, if they are not ours.
pub(super) fn given_limit() -> Option<(u64, u64)> {
    GIVEN_LIMIT.get().copied()
}

fn close_range(first: RawFd, last: RawFd) {
    // SAFETY: closing descriptors touches no memory. That nobody uses those closed is what the
    // callers ask for: they are inherited ones, which no value here owns.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    // ENOSYS before Linux 5.9, EPERM under old seccomp profiles
    // (<https://github.com/containers/podman/issues/10130>).
    if done != 0 {
        close_one_by_one(first, last);
    }
}

fn close_one_by_one(first: RawFd, last: RawFd) {
    let open = open_descriptors().unwrap_or_else(|_| (FIRST..slow_way_end()).collect());
    for fd in open.into_iter().filter(|fd| (first..=last).contains(fd)) {
        // SAFETY: as for close_range(2); a number that isn't open is refused, harmlessly.
        unsafe { libc::close(fd) };
    }
}

fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let entries = super::directory::entries(Path::new("/proc/self/fd"))?;
    Ok(entries.filter_map(|entry| entry.ok()?.0.to_str()?.parse().ok()).collect())
}

fn slow_way_end() -> RawFd {
    limit()
        .and_then(|limit| limit.current)
        .and_then(|limit| RawFd::try_from(limit).ok())
        .map_or(SLOW_WAY_END, |limit| limit.min(SLOW_WAY_END))
}
