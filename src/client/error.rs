//! Why a client has no answer. Pure.

use std::fmt;

/// Why there is no answer, or not the one that was hoped for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No init listens there.
    NoInit,
    /// The socket is for root and the user that the init runs as.
    NotAllowed,
    /// The init does not answer in time: it is stopped, or held up.
    NoAnswer,
    /// The init has closed the connection without an answer, as it does when it ends.
    Closed,
    /// The connection broke, or what came was no answer.
    Lost,
    /// The init said no; the error's text is what it said.
    Refused,
    /// The services were not there in time; the error's text says where they are.
    TimedOut,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into() }
    }

    /// What kind of error it is.
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
