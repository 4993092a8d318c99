//! Waits for the kernel's reports and for deadlines; the only place in the init that blocks.

use std::io;
use std::time::{Duration, Instant};

use mio::Events;

use super::suspension::SuspensionDetector;
use super::timer::Timer;
use super::token::Source;
use crate::poll::{Poll, Registry};
use crate::signal::Signal;
use crate::sys::signals::{Received, Signals};

/// The most reports of one poll.
const EVENTS: usize = 64;

#[derive(Debug)]
pub(super) struct EventLoop {
    pub(super) poll: Poll,
    pub(super) signals: Signals,
    pub(super) timer: Timer,
    suspension: SuspensionDetector,
    own_pid: u32,
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
            own_pid: std::process::id(),
        })
    }

    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// The buffer for one poll.
    pub(super) fn room() -> Events {
        Events::with_capacity(EVENTS)
    }

    /// Waits for a report or the deadline; with `at_once` not at all.
    pub(super) fn wait(&mut self, deadline: Option<Instant>, at_once: bool, events: &mut Events) {
        self.suspension.leave(deadline);
        self.timer.set(deadline, self.poll.registry(), Source::Timer.token());
        let timeout = if at_once { Some(Duration::ZERO) } else { self.timer.poll_timeout() };
        // EINTR is the only possible error (epoll_wait(2)): a process that stops and continues us, or
        // traces us, causes it even with every signal blocked. Then events are not reported; they are
        // polled for before anything is decided by the clock.
        if self.poll.poll(events, timeout).is_err() {
            events.clear();
        }
    }

    /// Polls without waiting. Returns whether there may be more events.
    pub(super) fn look(&mut self, events: &mut Events) -> bool {
        // An interrupted poll has reported nothing.
        if self.poll.poll(events, Some(Duration::ZERO)).is_err() {
            events.clear();
            return true;
        }
        // epoll_wait(2) returns all events, up to this number.
        events.iter().count() >= EVENTS
    }

    /// Polls for at most this time.
    pub(super) fn wait_for(&mut self, most: Duration, events: &mut Events) {
        if self.poll.poll(events, Some(most)).is_err() {
            self.look(events);
        }
    }

    /// How long the init did not run, if it reads the clock far too late.
    pub(super) fn gap(&mut self, now: Instant) -> Option<Duration> {
        self.suspension.come_back(now)
    }

    /// The latest time of the next look at the clock.
    pub(super) fn expect(&mut self, at: Instant) {
        self.suspension.leave(Some(at));
    }

    /// Reads a batch of pending signals: those from other processes, and whether there is something to
    /// reap. SIGCHLD says no more: several may be merged into one (signal(7)). `true`: there may be
    /// more.
    pub(super) fn read_signals(&mut self) -> (Vec<Signal>, bool, bool) {
        let mut received = Vec::new();
        let more = self.signals.read(&mut received).unwrap_or_else(|_| {
            self.poll.registry().look_again(Source::Signals.token());
            false
        });
        let is_child = |received: &Received| received.signal == Signal::CHLD;
        let has_child = received.iter().any(is_child);
        // Our own signals come from writes to a pipe without a reader, or from job control.
        received.retain(|received| !is_child(received) && received.sender != self.own_pid);
        (received.into_iter().map(|received| received.signal).collect(), has_child, more)
    }
}
