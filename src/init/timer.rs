//! The one timer: expires at the nearest deadline or before it, and is disarmed without one.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use mio::{Interest, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::poll::Registry;

/// A timerfd, created for the first deadline: most of its life an init has none.
///
/// It is never read. The poll is edge-triggered, and setting the timer clears the old expiry
/// (timerfd_create(2)).
#[derive(Debug, Default)]
pub(super) struct Timer {
    fd: Option<OwnedFd>,
    /// The kernel refused to create one: the poll's own timeout is used.
    refused: bool,
    armed_for: Option<Instant>,
}

impl Timer {
    /// Arms it for `deadline`. For a later one than before it stays as it is: it expires early once, and
    /// a deadline that moves with each service that stops costs no system call.
    pub(super) fn set(&mut self, deadline: Option<Instant>, registry: &Registry, token: Token) {
        let armed_for = self.armed_for.filter(|_| !self.refused);
        let is_earlier = armed_for.zip(deadline).is_some_and(|(armed, wanted)| armed <= wanted);
        if deadline == self.armed_for || is_earlier {
            return;
        }
        self.armed_for = deadline;
        if self.fd.is_none() && !self.refused {
            self.fd = open(registry, token).ok();
            self.refused = self.fd.is_none();
        }
        let Some(fd) = &self.fd else { return };
        // Zero would disarm it, so an expired deadline becomes a nanosecond.
        let left = deadline.map(|deadline| {
            deadline.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1))
        });
        let value = timespec(left.unwrap_or_default());
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: value };
        if timerfd_settime(fd, TimerfdTimerFlags::empty(), &once).is_err() {
            self.fd = None;
            self.refused = true;
        }
    }

    /// It has expired.
    pub(super) fn expired(&mut self) {
        self.armed_for = None;
    }

    /// The longest time for the poll; `None` where the timer ends the wait.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let deadline = self.armed_for.filter(|_| self.refused)?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }
}

fn open(registry: &Registry, token: Token) -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    // If the poll can't watch it, it wakes up nothing.
    registry.try_register(&fd, token, Interest::READABLE)?;
    Ok(fd)
}

fn timespec(duration: Duration) -> Timespec {
    let tv_sec = duration.as_secs().try_into().unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() }
}
