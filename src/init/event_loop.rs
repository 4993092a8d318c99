//! Waits: for what the kernel reports, and for the time of what is due. Nothing else in the init
//! does.

use std::io;
use std::time::{Duration, Instant};

use mio::Events;

use super::suspension::SuspensionDetector;
use super::timer::Timer;
use super::token::Source;
use crate::poll::{Poll, Registry};
use crate::signal::Signal;
use crate::sys::signals::{Received, Signals};

/// How many kernel reports one poll takes.
const EVENTS: usize = 64;

#[derive(Debug)]
pub(super) struct EventLoop {
    pub(super) poll: Poll,
    pub(super) signals: Signals,
    pub(super) timer: Timer,
    suspension: SuspensionDetector,
}

impl EventLoop {
    pub(super) fn open(now: Instant) -> io::Result<EventLoop> {
        let (poll, signals) = (Poll::new()?, Signals::open()?);
        Source::Signals.register(&signals, poll.registry());
        Ok(EventLoop {
            poll,
            signals,
            timer: Timer::default(),
            suspension: SuspensionDetector::new(now),
        })
    }

    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Room for what one poll reports.
    pub(super) fn room() -> Events {
        Events::with_capacity(EVENTS)
    }

    /// Waits until something is reported, or the deadline has come, or not at all.
    pub(super) fn wait(&mut self, deadline: Option<Instant>, at_once: bool, events: &mut Events) {
        self.suspension.leave(deadline);
        self.timer.set(deadline, self.poll.registry(), Source::Timer.token());
        let timeout = if at_once { Some(Duration::ZERO) } else { self.timer.poll_timeout() };
        // EINTR is the one error that can come (epoll_wait(2)): whoever stops and continues us, or
        // traces us, causes it even with every signal blocked. What has happened meanwhile is not
        // reported then; before anything is decided by the clock, it is asked for.
        if self.poll.poll(events, timeout).is_err() {
            events.clear();
        }
    }

    /// What has come since, without waiting. Whether there may be more.
    pub(super) fn look(&mut self, events: &mut Events) -> bool {
        // An interrupted poll has not looked at all.
        if self.poll.poll(events, Some(Duration::ZERO)).is_err() {
            events.clear();
            return true;
        }
        // epoll_wait(2) gives as many as there are, or as it may.
        events.iter().count() >= EVENTS
    }

    /// The same, after so long at the most.
    pub(super) fn wait_for(&mut self, most: Duration, events: &mut Events) {
        if self.poll.poll(events, Some(most)).is_err() {
            self.look(events);
        }
    }

    /// For how long the init did not run, if it looks at the clock far too late.
    pub(super) fn gap(&mut self, now: Instant) -> Option<Duration> {
        self.suspension.come_back(now)
    }

    /// The init wants to look again at this time at the latest.
    pub(super) fn expect(&mut self, at: Instant) {
        self.suspension.leave(Some(at));
    }

    /// Takes what signals are waiting, a batch at a time: those that others have sent, and whether
    /// there is something to reap. SIGCHLD says no more than that; several may have become one
    /// (signal(7)). `true`: there may be more.
    pub(super) fn read_signals(&mut self) -> (Vec<Signal>, bool, bool) {
        let mut received = Vec::new();
        let more = self.signals.read(&mut received).unwrap_or_else(|_| {
            self.poll.registry().look_again(Source::Signals.token());
            false
        });
        let is_child = |received: &Received| received.signal == Signal::CHLD;
        let has_child = received.iter().any(is_child);
        let own = std::process::id();
        // Our own is a write to a pipe without a reader, or a stop for job control.
        received.retain(|received| !is_child(received) && received.sender != own);
        (received.into_iter().map(|received| received.signal).collect(), has_child, more)
    }
}
