//! What the kernel could not watch, or what failed when there was something to do for it: looked at
//! without a report, until it works.

use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use mio::Interest;

use super::Init;
use super::token::Source;
use crate::error_text::error_text;

impl Init {
    /// Looks at those whose time has come.
    pub(super) fn look_again(&mut self) {
        for token in self.poll.take_due(Instant::now()) {
            let source = Source::of(token);
            // First, so that nothing that comes in between is missed.
            self.watch_again(source);
            self.learn_of(source);
            // SIGCHLD may be what was missed.
            self.unfinished.reaping |= source == Source::Signals;
        }
        if let Some(error) = self.poll.take_refusal() {
            let error = error_text(&error);
            self.say(&format!(
                "epoll_ctl(2): {error}; what the kernel can't watch is looked at ten times a second"
            ));
        }
    }

    /// The same for what output goes to alone, when nothing else is of interest any more.
    pub(super) fn look_at_sinks_again(&mut self) {
        for token in self.poll.take_due(Instant::now()) {
            if let Source::Sink(channel) = Source::of(token) {
                self.watch_again(Source::Sink(channel));
                self.logs.writable(channel, self.poll.registry());
            }
        }
    }

    /// Whoever is gone by now is left out.
    fn watch_again(&self, source: Source) {
        if let Some(fd) = self.descriptor(source) {
            self.poll.registry().register(&fd, source.token(), interest(source));
        }
    }

    fn descriptor(&self, source: Source) -> Option<RawFd> {
        match source {
            Source::Signals => Some(self.signals.as_raw_fd()),
            // The poll's own timeout stands in for it.
            Source::Timer => None,
            Source::Start(pid) => self.starts.descriptor(pid),
            Source::Reload => self.reloads.descriptor(),
            Source::Process(id) => self.processes.get(id)?.descriptor(),
            Source::Stream(place) => self.logs.stream_descriptor(place),
            Source::Sink(channel) => self.logs.sink_descriptor(channel),
            Source::Check(id, purpose) => self.checks.descriptor(id, purpose),
            Source::Notification(id) => {
                self.notifications.get(id.0)?.as_ref().map(AsRawFd::as_raw_fd)
            }
            Source::Listener => self.control.as_ref().map(|control| control.descriptor()),
            Source::Client(number) => self.control.as_ref()?.client_descriptor(number),
        }
    }
}

fn interest(source: Source) -> Interest {
    match source {
        Source::Sink(_) => Interest::WRITABLE,
        Source::Check(..) | Source::Client(_) => Interest::READABLE | Interest::WRITABLE,
        _ => Interest::READABLE,
    }
}
