//! Descriptors that the init has inherited.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, setrlimit};

/// The first descriptor after the standard streams.
const FIRST: RawFd = 3;
/// The last descriptor that the slow way tries, where the kernel can't close a range and there is no
/// `/proc`: the usual limit on open files, or the soft limit if that is lower.
const SLOW_WAY_END: RawFd = 65_536;

/// Opens `/dev/null` for each of 0, 1 and 2 that is closed, so that no descriptor of the init gets a
/// number that programs use for their standard streams.
pub fn open_missing_standard() {
    for fd in 0..FIRST {
        if !is_open(fd) {
            // SAFETY: the path is a NUL-terminated literal. open(2) returns the lowest free number,
            // which is `fd`, because those below it are open by now.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}

/// Replaces 0 and 1 by `/dev/null`, so that processes at their other ends see end of file when the
/// command closes its copies. Without `/dev/null` they stay open.
pub(crate) fn empty_input_and_output() {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(null) = rustix::fs::open("/dev/null", flags, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// The inherited descriptors from 3 on. They survived an execve(2), so none of them is close-on-exec;
/// all that the process has opened since is.
#[derive(Debug)]
pub struct Inherited(());

impl Inherited {
    /// Those of this process.
    ///
    /// # Safety
    /// Call it once. No value may own one of these descriptors. Before [`take`](Inherited::take) the
    /// program may open only close-on-exec descriptors, and when it calls [`close`](Inherited::close)
    /// it must own none from 3 on but those that it passes.
    pub unsafe fn of_process() -> Inherited {
        Inherited(())
    }

    /// Takes all of them.
    pub fn take(self) -> Vec<OwnedFd> {
        let is_inherited = |fd: &RawFd| {
            // SAFETY: F_GETFD only reads a flag, and any number is allowed.
            let flags = unsafe { libc::fcntl(*fd, libc::F_GETFD) };
            flags != -1 && flags & libc::FD_CLOEXEC == 0
        };
        let inherited = open_descriptors().into_iter().filter(is_inherited);
        // SAFETY: they are open, and `of_process` requires that no value owns them.
        inherited.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
    }

    /// Closes all of them. `own` are the descriptors that the process has opened, in ascending order.
    ///
    /// # Errors
    /// The kernel can't close a range: some are still open.
    pub(crate) fn close(self, own: &[BorrowedFd]) -> Result<(), Inherited> {
        let own: Vec<RawFd> = own.iter().map(AsRawFd::as_raw_fd).collect();
        for (first, last) in gaps(&own) {
            // SAFETY: `of_process` requires that no value owns another one than those in `own`.
            if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
                return Err(self);
            }
        }
        Ok(())
    }
}

/// Closes them.
pub fn close(descriptors: Vec<OwnedFd>) {
    for fd in descriptors.into_iter().map(IntoRawFd::into_raw_fd) {
        // SAFETY: it was owned, and no value owns it now.
        unsafe {
            if libc::syscall(libc::SYS_close_range, fd, fd, 0) != 0 {
                libc::close(fd);
            }
        }
    }
}

/// Sets close-on-exec on every descriptor from 3 on. They stay open in this process.
pub(crate) fn close_on_exec() {
    // SAFETY: descriptor flags do not affect memory.
    let done = unsafe {
        libc::syscall(libc::SYS_close_range, FIRST, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    // The same errors, and EINVAL before Linux 5.11.
    if done != 0 {
        for fd in open_descriptors() {
            // SAFETY: as above; a number that is not open is an error without effect.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD only reads a flag, and any number is allowed.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Closes every descriptor from 3 on that is not in `keep`, in a forked child, without an allocation;
/// `keep` is in ascending order. Where the kernel can't close a range they stay open until exec.
///
/// # Safety
/// The child has copies of the values that own these descriptors: it must neither use nor drop them.
pub(super) unsafe fn close_all_but(keep: &[RawFd]) {
    for (first, last) in gaps(keep) {
        // SAFETY: closing descriptors touches no memory, and the caller guarantees the rest.
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

/// The soft and the hard limit on open files at the start of the process, if it has raised the soft
/// one.
static GIVEN_LIMIT: OnceLock<(u64, u64)> = OnceLock::new();

/// Raises the soft limit on open files to the hard one: a bundle uses three per service. Children get
/// the original limit (`spawn`), because programs that use select(2) fail with a higher one.
pub(crate) fn raise_limit() {
    let Some(Rlimit { current, maximum }) = limit() else { return };
    let raised = Rlimit { current: maximum, maximum };
    if current != maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        let _ = GIVEN_LIMIT.set((current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX)));
    }
}

/// The limit on open files, if it can be read: a seccomp filter may forbid the call, and then rustix's
/// getrlimit panics.
fn limit() -> Option<Rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one structure into a live variable of that type.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let some = |value| (value != libc::RLIM_INFINITY).then_some(value);
    (done == 0).then(|| Rlimit { current: some(limit.rlim_cur), maximum: some(limit.rlim_max) })
}

/// The limit on open files; `None`: unlimited or unknown.
pub(crate) fn open_files_limit() -> Option<u64> {
    limit()?.current
}

/// The limits for children, if they differ from the init's.
pub(super) fn given_limit() -> Option<(u64, u64)> {
    GIVEN_LIMIT.get().copied()
}

/// The open descriptors from 3 on, or more.
fn open_descriptors() -> Vec<RawFd> {
    let listed = || -> io::Result<Vec<RawFd>> {
        let entries = super::directory::entries(Path::new("/proc/self/fd"))?;
        let names = entries.collect::<io::Result<Vec<_>>>()?;
        Ok(names.iter().filter_map(|(name, _)| name.to_str()?.parse().ok()).collect())
    };
    let numbers = listed().unwrap_or_else(|_| (FIRST..slow_way_end()).collect());
    numbers.into_iter().filter(|fd| *fd >= FIRST).collect()
}

/// The current size of the descriptor table, proc(5): much smaller than the limit.
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
