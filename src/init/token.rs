//! What the poll watches, and the numbers by which it names them.

use mio::Token;

use crate::log::Channel;
use crate::supervisor::ServiceId;

/// How many numbers a service has: its process and its two outputs.
const PER_SERVICE: usize = 3;
/// The first number of the first service.
const SERVICES: usize = 4;

/// Something that the poll reports on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Signals,
    Timer,
    Sink(Channel),
    Process(ServiceId),
    Stream(ServiceId, Channel),
}

impl Source {
    pub(super) fn token(self) -> Token {
        Token(match self {
            Source::Signals => 0,
            Source::Timer => 1,
            Source::Sink(channel) => 2 + channel as usize,
            Source::Process(id) => SERVICES + id.0 * PER_SERVICE,
            Source::Stream(id, channel) => SERVICES + id.0 * PER_SERVICE + 1 + channel as usize,
        })
    }

    pub(super) fn of(token: Token) -> Source {
        match token.0 {
            0 => Source::Signals,
            1 => Source::Timer,
            2 => Source::Sink(Channel::Stdout),
            3 => Source::Sink(Channel::Stderr),
            number => {
                let id = ServiceId((number - SERVICES) / PER_SERVICE);
                match (number - SERVICES) % PER_SERVICE {
                    0 => Source::Process(id),
                    1 => Source::Stream(id, Channel::Stdout),
                    _ => Source::Stream(id, Channel::Stderr),
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
        let tokens: Vec<usize> =
            (0..100).map(|number| Source::of(Token(number)).token().0).collect();
        assert!(tokens.into_iter().eq(0..100));
    }
}
