//! The sources of the poll, and their tokens.

use std::os::fd::AsRawFd;

use mio::{Interest, Token};

use crate::bundle::health_check::Purpose;
use crate::log::Channel;
use crate::poll::Registry;
use crate::supervisor::ServiceId;

/// How many tokens a service has: its process, two checks and notifications.
const PER_SERVICE: usize = 4;
/// The first token of services.
const SERVICES: usize = 5;
/// The first token of the control socket, beyond those of services.
const CONTROL: usize = 1 << 24;
/// The first token of outputs, beyond those of clients.
const STREAMS: usize = 1 << 26;
/// The first token of children before exec, beyond those of clients; their pids are added, which are
/// below 2^22 (proc(5), pid_max).
const STARTS: usize = 1 << 25;

/// A source of events for the poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Signals,
    Timer,
    Sink(Channel),
    Process(ServiceId),
    /// An output of a run of a service, at this index.
    Stream(usize),
    Check(ServiceId, Purpose),
    Notification(ServiceId),
    /// The control socket's listener.
    Listener,
    /// A client of the control socket.
    Client(usize),
    /// The child with this pid, before exec.
    Start(i32),
    /// The child that reads a new bundle.
    Reload,
}

impl Source {
    /// Has the poll watch this descriptor.
    pub(super) fn register(self, fd: &impl AsRawFd, registry: &Registry) {
        let interest = match self {
            Source::Sink(_) => Interest::WRITABLE,
            Source::Check(..) | Source::Client(_) => Interest::READABLE | Interest::WRITABLE,
            _ => Interest::READABLE,
        };
        registry.register(fd, self.token(), interest);
    }

    pub(super) fn token(self) -> Token {
        let of_service = |id: ServiceId, offset| SERVICES + id.0 * PER_SERVICE + offset;
        Token(match self {
            Source::Signals => 0,
            Source::Timer => 1,
            Source::Sink(channel) => 2 + channel as usize,
            Source::Reload => 4,
            Source::Process(id) => of_service(id, 0),
            Source::Stream(place) => STREAMS + place,
            Source::Check(id, purpose) => of_service(id, 1 + purpose as usize),
            Source::Notification(id) => of_service(id, 3),
            Source::Listener => CONTROL,
            Source::Client(number) => CONTROL + 1 + number,
            Source::Start(pid) => STARTS + pid.unsigned_abs() as usize,
        })
    }

    pub(super) fn of(token: Token) -> Source {
        match token.0 {
            0 => Source::Signals,
            1 => Source::Timer,
            2 => Source::Sink(Channel::Stdout),
            3 => Source::Sink(Channel::Stderr),
            4 => Source::Reload,
            CONTROL => Source::Listener,
            number if number >= STREAMS => Source::Stream(number - STREAMS),
            number if number >= STARTS => Source::Start((number - STARTS) as i32),
            number if number > CONTROL => Source::Client(number - CONTROL - 1),
            number => {
                let id = ServiceId((number - SERVICES) / PER_SERVICE);
                match (number - SERVICES) % PER_SERVICE {
                    0 => Source::Process(id),
                    1 => Source::Check(id, Purpose::Readiness),
                    2 => Source::Check(id, Purpose::Liveness),
                    _ => Source::Notification(id),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_meaning() {
        let numbers = || {
            (0..100)
                .chain(CONTROL..CONTROL + 10)
                .chain(STARTS..STARTS + 10)
                .chain(STREAMS..STREAMS + 10)
        };
        let tokens: Vec<usize> =
            numbers().map(|number| Source::of(Token(number)).token().0).collect();
        assert!(tokens.into_iter().eq(numbers()));
    }
}
