//! Errors of the client. Pure.

use std::fmt;

/// Why there is no answer, or not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No init listens there.
    NoInit,
    /// The socket allows only root and the init's own user.
    NotAllowed,
    /// The init does not answer in time: it is stopped or blocked.
    NoAnswer,
    /// The init has closed the connection without an answer, as when it ends.
    Closed,
    /// The connection broke, or the answer was invalid.
    Lost,
    /// The init speaks another version of the protocol.
    OtherVersion,
    /// The init refused the request; the text has its reason.
    Refused,
    /// The services did not reach the state in time; the text has their states.
    TimedOut,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into() }
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
