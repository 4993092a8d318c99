//! The poll. What the kernel can't watch at the moment is reported periodically until it can.
//!
//! epoll_ctl(2) fails with ENOSPC when the user has `max_user_watches` watches, and with ENOMEM without
//! memory. Both have causes outside of the init, and are temporary.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use rustix::event::{PollFd, PollFlags, Timespec};

/// The period for descriptors that are not watched: long enough not to load the machine while this
/// lasts, and short for a person.
const PERIOD: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Poll(Registry);

#[derive(Debug)]
pub(crate) struct Registry {
    poll: mio::Poll,
    again: RefCell<Again>,
}

/// The descriptors to report without an event from the kernel.
#[derive(Debug, Default)]
struct Again {
    tokens: BTreeSet<Token>,
    /// When to report them; `None` if there are none.
    at: Option<Instant>,
    /// The first refusal, until it is taken.
    refusal: Option<io::Error>,
    was_refused: bool,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Poll> {
        let poll = mio::Poll::new()?;
        Ok(Poll(Registry { poll, again: RefCell::default() }))
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0
    }

    /// Waits for an event, for at most this time.
    pub(crate) fn poll(&mut self, events: &mut Events, most: Option<Duration>) -> io::Result<()> {
        self.0.poll.poll(events, most)
    }

    /// When a descriptor is to be reported without an event.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.again.borrow().at
    }

    /// The descriptors that are due. Register each again (harmless if it is watched), and handle it as
    /// if it had been reported.
    pub(crate) fn take_due(&self, now: Instant) -> BTreeSet<Token> {
        let mut again = self.0.again.borrow_mut();
        if again.at.is_none_or(|at| at > now) {
            return BTreeSet::new();
        }
        again.at = None;
        std::mem::take(&mut again.tokens)
    }

    /// Why the kernel refused to watch a descriptor, for the first refusal.
    pub(crate) fn take_refusal(&self) -> Option<io::Error> {
        self.0.again.borrow_mut().refusal.take()
    }
}

impl Registry {
    /// Watches this descriptor. If the kernel can't, it is reported periodically, with or without an
    /// event, until it is closed or the kernel can.
    pub(crate) fn register(&self, fd: &impl AsRawFd, token: Token, interest: Interest) {
        if self.try_register(fd, token, interest).is_err() {
            self.look_again(token);
        }
    }

    /// Watches this descriptor, if the kernel can.
    ///
    /// # Errors
    /// `EPERM` for a file that is always ready, such as a regular one; other errors are temporary.
    pub(crate) fn try_register(
        &self,
        fd: &impl AsRawFd,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        match self.poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, interest) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => {
                let mut again = self.again.borrow_mut();
                let is_lasting = error.raw_os_error() == Some(libc::EPERM);
                if !is_lasting && !std::mem::replace(&mut again.was_refused, true) {
                    again.refusal =
                        io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(0)).into();
                }
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Reports this again later: handling it has failed, and the kernel reports only changes (epoll(7),
    /// EPOLLET).
    pub(crate) fn look_again(&self, token: Token) {
        let mut again = self.again.borrow_mut();
        again.tokens.insert(token);
        again.at.get_or_insert_with(|| Instant::now() + PERIOD);
    }
}

/// Waits until one of these has an event.
pub(crate) fn wait_for_any(polled: &mut [PollFd]) -> rustix::io::Result<()> {
    loop {
        match rustix::event::poll(polled, None) {
            Err(rustix::io::Errno::INTR) => {}
            done => return done.map(drop),
        }
    }
}

/// The current events of the descriptor, without waiting.
pub(crate) fn look(fd: &impl AsFd, asked: PollFlags) -> rustix::io::Result<PollFlags> {
    look_for(fd, asked, Duration::ZERO)
}

/// The same, after waiting for at most this time. Not for an init with a running event loop.
pub(crate) fn look_for(
    fd: &impl AsFd,
    asked: PollFlags,
    most: Duration,
) -> rustix::io::Result<PollFlags> {
    let mut polled = [PollFd::new(fd, asked)];
    rustix::event::poll(&mut polled, Some(&Timespec::try_from(most).unwrap_or_default()))?;
    Ok(polled[0].revents())
}

impl AsRawFd for Poll {
    fn as_raw_fd(&self) -> RawFd {
        self.0.poll.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_not_watched_is_looked_at_again_until_it_is() {
        let poll = Poll::new().unwrap();
        let (one, other) = UnixStream::pair().unwrap();
        let number = one.as_raw_fd();
        // A closed descriptor stands for any refusal of the kernel.
        drop(one);
        poll.registry().register(&number, Token(7), Interest::READABLE);
        assert_eq!(poll.take_refusal().unwrap().raw_os_error(), Some(libc::EBADF));
        let at = poll.deadline().unwrap();
        assert!(poll.take_due(at - Duration::from_nanos(1)).is_empty());
        assert_eq!(poll.take_due(at), BTreeSet::from([Token(7)]));
        assert_eq!(poll.deadline(), None, "nothing is left to look at");

        poll.registry().register(&number, Token(7), Interest::READABLE);
        assert!(poll.take_refusal().is_none(), "it is said once");
        assert!(poll.deadline().is_some());
        poll.registry().register(&other, Token(8), Interest::READABLE);
        poll.registry().register(&other, Token(8), Interest::READABLE);
        let due = poll.take_due(poll.deadline().unwrap());
        assert_eq!(due, BTreeSet::from([Token(7)]), "who is watched is not looked at");
    }

    #[test]
    fn what_is_always_ready_is_no_refusal() {
        let poll = Poll::new().unwrap();
        let file = tempfile::tempfile().unwrap();
        let error = poll.registry().try_register(&file, Token(1), Interest::WRITABLE).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        assert!(poll.take_refusal().is_none() && poll.deadline().is_none());
    }
}
