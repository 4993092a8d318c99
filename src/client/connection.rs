//! A connection to a running init, which may be blocked or stopped: each request has a timeout. While
//! an answer is deferred, the client checks periodically that the init still answers.

use std::io::{self, ErrorKind as IoErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::error::{Error, ErrorKind};
use crate::error_text::error_text;
use crate::protocol::{DEFAULT_SOCKETS, Request};
use crate::sys::peer;

/// The kernel treats a timeout of zero as none, socket(7).
const SHORTEST: Duration = Duration::from_millis(1);
/// A longer line is not an answer of an init, which stores much less output.
const LONGEST_LINE: usize = 64 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// Received bytes that are not used yet.
    input: Vec<u8>,
    /// How many of them contain no newline.
    searched: usize,
    place: Option<PathBuf>,
    limit: Duration,
    answer_by: Option<Instant>,
    /// The answer may be deferred, as long as the init answers others.
    is_patient: bool,
}

impl Connection {
    /// Connects to the init at this path, or at one of the default paths, with this timeout for each
    /// answer.
    pub(super) fn open(
        place: Option<&Path>,
        limit: Duration,
        is_patient: bool,
    ) -> Result<Connection, Error> {
        let limit = limit.max(SHORTEST);
        let stream = match place {
            Some(path) => open(path, limit).map_err(|error| explain(path, &error, limit))?,
            None => open_usual_place(limit)?,
        };
        let place = place.map(Path::to_owned);
        Ok(Connection {
            stream,
            input: Vec::new(),
            searched: 0,
            place,
            limit,
            answer_by: None,
            is_patient,
        })
    }

    /// Sends a request. The timeout for its answer starts.
    pub(super) fn send(&mut self, request: &Request) -> Result<(), Error> {
        self.answer_by = Instant::now().checked_add(self.limit);
        let line = format!("{}\n", request.line());
        self.stream.write_all(line.as_bytes()).map_err(|error| self.lost(&error))
    }

    /// The next line; `None`: the init has closed the connection.
    pub(super) fn receive(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(line) = self.line() {
                return Ok(Some(line));
            }
            let left = self.answer_by.map(|by| by.saturating_duration_since(Instant::now()));
            // An endless line without a newline also runs into the timeout.
            let read = match left {
                Some(Duration::ZERO) => Err(IoErrorKind::TimedOut.into()),
                left => self.read(left),
            };
            match read {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == IoErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) && self.is_patient => {
                    self.is_there()?;
                    self.answer_by = Instant::now().checked_add(self.limit);
                }
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    fn is_there(&self) -> Result<(), Error> {
        let mut other = Connection::open(self.place.as_deref(), self.limit, false)?;
        other.send(&Request::Health)?;
        other.receive().map(drop)
    }

    /// From now on there is no timeout.
    pub(super) fn take_time(&mut self) {
        self.answer_by = None;
    }

    /// Waits for input, at most this time. Returns whether the connection is still open.
    pub(super) fn fill(&mut self, at_the_most: Duration) -> Result<bool, Error> {
        match self.read(Some(at_the_most)) {
            Ok(count) => Ok(count > 0),
            Err(error) if is_timeout(&error) || error.kind() == IoErrorKind::Interrupted => {
                Ok(true)
            }
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// The lines that have arrived.
    pub(super) fn lines(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.line()).collect()
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        match memchr::memchr(b'\n', &self.input[self.searched..]) {
            Some(end) => {
                let line = self.input.drain(..=self.searched + end).collect();
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.input.len();
                None
            }
        }
    }

    fn read(&mut self, at_the_most: Option<Duration>) -> io::Result<usize> {
        if self.input.len() > LONGEST_LINE {
            return Err(io::Error::other("the answer is too long"));
        }
        self.stream.set_read_timeout(at_the_most.map(|span| span.max(SHORTEST)))?;
        let mut buffer = [0; 8192];
        let count = self.stream.read(&mut buffer)?;
        self.input.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    fn lost(&self, error: &io::Error) -> Error {
        if is_timeout(error) {
            return no_answer(self.limit);
        }
        let message = format!("the connection broke: {}", error_text(error));
        Error::new(ErrorKind::Lost, message)
    }
}

/// If the backlog of a Unix socket is full, connect(2) blocks for the timeout of sending, socket(7).
fn open(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// At the default paths the init is PID 1. Containers of one pod may share such a path; the init of
/// another container has no pid here, or another one.
fn open_usual_place(limit: Duration) -> Result<UnixStream, Error> {
    let mut refusal = None;
    for socket in DEFAULT_SOCKETS.map(PathBuf::from) {
        match open(&socket, limit) {
            Ok(stream) if is_pid_1(&stream) => return Ok(stream),
            Err(error) if error.kind() == IoErrorKind::PermissionDenied || is_timeout(&error) => {
                refusal.get_or_insert_with(|| explain(&socket, &error, limit));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Err(refusal.unwrap_or_else(|| {
        let places = DEFAULT_SOCKETS.join(" or ");
        let message = format!("no sidecar-init listens at {places}; is a bundle running as PID 1?");
        Error::new(ErrorKind::NoInit, message)
    }))
}

fn is_pid_1(stream: &UnixStream) -> bool {
    peer::of_connection(stream.as_fd()).is_ok_and(|peer| peer.pid == Some(1))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), IoErrorKind::WouldBlock | IoErrorKind::TimedOut)
}

fn no_answer(limit: Duration) -> Error {
    let limit = humantime::format_duration(limit);
    let message = format!("sidecar-init does not answer within {limit}: it is stopped or blocked");
    Error::new(ErrorKind::NoAnswer, message)
}

fn explain(socket: &Path, error: &io::Error, limit: Duration) -> Error {
    let shown = socket.display();
    let (kind, message) = match error.kind() {
        IoErrorKind::NotFound | IoErrorKind::ConnectionRefused => {
            (ErrorKind::NoInit, format!("no sidecar-init listens at {shown}; is a bundle running?"))
        }
        IoErrorKind::PermissionDenied => (
            ErrorKind::NotAllowed,
            format!("{shown} is for root and the user that sidecar-init runs as"),
        ),
        _ if is_timeout(error) => return no_answer(limit),
        _ => (ErrorKind::Lost, format!("can't connect to {shown}: {}", error_text(error))),
    };
    Error::new(kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn who_sends_on_and_on_has_not_answered() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(b"x").is_ok() {}
        });
        let limit = Duration::from_millis(50);
        let mut connection = Connection::open(Some(&path), limit, false).unwrap();
        connection.send(&Request::Health).unwrap();
        assert_eq!(connection.receive().unwrap_err().kind(), ErrorKind::NoAnswer);
        drop(connection);
        server.join().unwrap();
    }

    #[test]
    fn a_limit_beyond_any_time_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut connection = Connection::open(Some(&path), Duration::MAX, false).unwrap();
        connection.send(&Request::Health).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"yes\n").unwrap();
        assert_eq!(connection.receive().unwrap().as_deref(), Some(&b"yes\n"[..]));
    }
}
