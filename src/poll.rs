//! The poll, which loses sight of nobody: what the kernel can't watch at the moment is looked at
//! from time to time instead, until it can.
//!
//! epoll_ctl(2) says ENOSPC when the user watches as much as `max_user_watches` allows, and ENOMEM
//! when the machine has no memory. Both are somebody else's doing, and pass.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use rustix::event::{PollFd, PollFlags, Timespec};

/// How long it takes until what is not watched is looked at again. Not so short that a lack that
/// lasts keeps the machine busy, and short for a person.
const PERIOD: Duration = Duration::from_millis(100);

/// Waits for what is watched.
#[derive(Debug)]
pub(crate) struct Poll(Registry);

/// Who is watched.
#[derive(Debug)]
pub(crate) struct Registry {
    poll: mio::Poll,
    again: RefCell<Again>,
}

/// Those that are to be looked at without a report of the kernel.
#[derive(Debug, Default)]
struct Again {
    tokens: BTreeSet<Token>,
    /// When; `None` while there is nobody.
    at: Option<Instant>,
    /// The first refusal, until somebody has asked for it.
    refusal: Option<io::Error>,
    was_refused: bool,
}

impl Poll {
    /// Watches nobody yet.
    pub(crate) fn new() -> io::Result<Poll> {
        let poll = mio::Poll::new()?;
        Ok(Poll(Registry { poll, again: RefCell::default() }))
    }

    /// Where to register what is to be watched.
    pub(crate) fn registry(&self) -> &Registry {
        &self.0
    }

    /// Waits for a report, and for so long at the most.
    pub(crate) fn poll(&mut self, events: &mut Events, most: Option<Duration>) -> io::Result<()> {
        self.0.poll.poll(events, most)
    }

    /// When somebody is to be looked at without a report.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.again.borrow().at
    }

    /// Those whose time has come. Each is to be registered again, which does no harm to what is
    /// watched already, and then treated as if it had been reported.
    pub(crate) fn take_due(&self, now: Instant) -> BTreeSet<Token> {
        let mut again = self.0.again.borrow_mut();
        if again.at.is_none_or(|at| at > now) {
            return BTreeSet::new();
        }
        again.at = None;
        std::mem::take(&mut again.tokens)
    }

    /// Why the kernel has refused to watch somebody, the first time that it did.
    pub(crate) fn take_refusal(&self) -> Option<io::Error> {
        self.0.again.borrow_mut().refusal.take()
    }
}

impl Registry {
    /// Reports on this descriptor from now on. Where the kernel does not, it is reported every now
    /// and then, whether there is something to report or not, until it is closed or the kernel does.
    pub(crate) fn register(&self, fd: &impl AsRawFd, token: Token, interest: Interest) {
        if self.try_register(fd, token, interest).is_err() {
            self.look_again(token);
        }
    }

    /// Reports on this descriptor from now on, if the kernel does.
    ///
    /// # Errors
    /// `EPERM` for a file that is always ready, such as a regular one; the others pass.
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

    /// Reports this once more after a while: what there was to do for it has failed, and the
    /// kernel, which reports changes only (epoll(7), EPOLLET), would not say it again.
    pub(crate) fn look_again(&self, token: Token) {
        let mut again = self.again.borrow_mut();
        again.tokens.insert(token);
        again.at.get_or_insert_with(|| Instant::now() + PERIOD);
    }
}

/// What of this there is to say of the descriptor now; nothing is waited for.
pub(crate) fn look(fd: &impl AsFd, asked: PollFlags) -> rustix::io::Result<PollFlags> {
    look_for(fd, asked, Duration::ZERO)
}

/// The same, after a wait for so long at the most. Not for an init that has begun to run.
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
        // A descriptor that is not open stands for whatever the kernel has against it.
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
