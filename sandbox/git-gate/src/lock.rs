//! What only one may do at a time. To change the refs of a mirror: a fetch from upstream, or a push
//! on its way to upstream until receive-pack has moved the refs. And, in all mirrors, to unpack a
//! push, and to scan one: each may take much memory.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{PidfdFlags, getppid, pidfd_open};

use crate::config::{Gate, Upstream};
use crate::process::ends_by;

/// How often it is tried. flock(2) has no deadline of its own.
const PERIOD: Duration = Duration::from_millis(20);
/// receive-pack moves its refs in less.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// The lock; it is free again when this and its copies are closed.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// What takes much memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Unpack,
    Scan,
}

/// Waits for the lock of this mirror.
///
/// # Errors
/// If others have it until the deadline.
pub(crate) fn acquire(gate: &Gate, upstream: &Upstream, deadline: Instant) -> Result<Lock, String> {
    let path = gate.own().join(format!("{}.lock", upstream.name));
    locked(&path, deadline, "others are using the mirror; try again")
}

/// Waits until nobody else does this.
///
/// # Errors
/// If others do until the deadline.
pub(crate) fn turn(gate: &Gate, work: Work, deadline: Instant) -> Result<Lock, String> {
    // No upstream has such a name: it would begin with a letter or a digit.
    let name = match work {
        Work::Unpack => "-unpack.lock",
        Work::Scan => "-scan.lock",
    };
    locked(&gate.own().join(name), deadline, "other pushes take too long; try again")
}

fn locked(path: &Path, deadline: Instant, late: &str) -> Result<Lock, String> {
    let failed = |error: io::Error| format!("a lock can't be had: {error}");
    let file = File::options().create(true).append(true).open(path).map_err(failed)?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Lock(file)),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        if Instant::now() >= deadline {
            return Err(late.to_owned());
        }
        thread::sleep(PERIOD);
    }
}

impl Lock {
    /// Keeps the lock until receive-pack, our parent, has moved the refs and ended: otherwise a
    /// fetch could move them first, and receive-pack would call a push failed that upstream has.
    ///
    /// A process of its own does that. The lock is its stdin, and a pidfd of our parent its stdout.
    pub(crate) fn keep_until_parent_ends(self) -> io::Result<()> {
        let parent = getppid().ok_or_else(|| io::Error::other("receive-pack is gone"))?;
        let parent = pidfd_open(parent, PidfdFlags::empty())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("hold-lock").env_clear().stdin(self.0).stdout(parent).stderr(Stdio::null());
        command.spawn().map(drop)
    }
}

/// What that process does.
pub(crate) fn hold() -> io::Result<()> {
    let parent = io::stdout();
    ends_by(&parent.as_fd(), Instant::now() + LONGEST_HOLD).map(drop)
}
