//! A connection to a running init, which may be held up or stopped: each request has a time in which
//! it has to be answered. While an answer is meant to take longer, the init is asked from time to time
//! whether it still answers anybody.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde_json::{Value, json};
use sidecar_init::control::{DEFAULT_SOCKETS, SOCKET_VARIABLE};
use sidecar_init::error_text::error_text;
use sidecar_init::sys::peer;

/// The kernel takes a limit of no time for none, socket(7).
const SHORTEST: Duration = Duration::from_millis(1);

pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
    socket: Option<PathBuf>,
    limit: Duration,
    answer_by: Option<Instant>,
    /// The answer comes when something has happened.
    is_patient: bool,
}

impl Connection {
    /// Connects to the init at this place, or at one of the usual ones, which has so much time for
    /// each answer.
    pub(crate) fn open(socket: Option<&Path>, limit: Duration) -> Result<Connection, String> {
        let limit = limit.max(SHORTEST);
        let stream = match socket {
            Some(path) => open(path, limit).map_err(|error| explain(path, &error, limit))?,
            None => open_usual_place(limit)?,
        };
        let stream = BufReader::new(stream);
        let socket = socket.map(Path::to_owned);
        Ok(Connection { stream, socket, limit, answer_by: None, is_patient: false })
    }

    /// Sends a request. From now on the time for its answer runs.
    pub(crate) fn send(&mut self, request: &Value) -> Result<(), String> {
        self.answer_by = Some(Instant::now() + self.limit);
        let line = format!("{request}\n");
        let sent = self.stream.get_mut().write_all(line.as_bytes());
        sent.map_err(|error| self.lost(&error))
    }

    /// The next line and what it means; `None`: the init has closed the connection.
    pub(crate) fn receive(&mut self) -> Result<Option<(String, Value)>, String> {
        let mut line = Vec::new();
        loop {
            let left = self.answer_by.map(|by| by.saturating_duration_since(Instant::now()));
            let left = left.map(|left| left.max(SHORTEST));
            let set = self.stream.get_ref().set_read_timeout(left);
            let arrived = match set.and_then(|()| self.stream.fill_buf()) {
                Ok(arrived) => arrived,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_timeout(&error) && self.is_patient => {
                    self.is_there()?;
                    self.answer_by = Some(Instant::now() + self.limit);
                    continue;
                }
                Err(error) => return Err(self.lost(&error)),
            };
            if arrived.is_empty() {
                return Ok(None);
            }
            let end = arrived.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
            let count = end.unwrap_or(arrived.len());
            line.extend_from_slice(&arrived[..count]);
            self.stream.consume(count);
            if end.is_some() {
                break;
            }
        }
        let value = serde_json::from_slice(&line)
            .map_err(|error| format!("an answer that is no JSON: {error}"))?;
        Ok(Some((String::from_utf8_lossy(&line).into_owned(), value)))
    }

    /// The next answer may take its time, as long as the init answers others.
    pub(crate) fn be_patient(&mut self) {
        self.is_patient = true;
    }

    fn is_there(&self) -> Result<(), String> {
        let mut other = Connection::open(self.socket.as_deref(), self.limit)?;
        other.send(&json!({"command": "health"}))?;
        other.receive().map(drop)
    }

    /// From now on what comes may take as long as it likes.
    pub(crate) fn take_time(&mut self) {
        self.answer_by = None;
    }

    /// Waits until something comes, but not for longer. Whether the init is still there.
    pub(crate) fn wait(&mut self, at_the_most: Duration) -> Result<bool, String> {
        let waited = self.stream.get_ref().set_read_timeout(Some(at_the_most));
        match waited.and_then(|()| self.stream.fill_buf()) {
            Ok(arrived) => {
                let count = arrived.len();
                self.stream.consume(count);
                Ok(count > 0)
            }
            Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn lost(&self, error: &io::Error) -> String {
        if is_timeout(error) {
            return no_answer(self.limit);
        }
        format!("the connection broke: {}", error_text(error))
    }
}

/// A Unix socket whose backlog is full lets connect(2) wait for as long as sending may take,
/// socket(7).
fn open(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// At the usual places the init is PID 1. Containers of one pod may share such a place; the init
/// of another one has no pid here, or another one.
fn open_usual_place(limit: Duration) -> Result<UnixStream, String> {
    let mut refusal = None;
    for socket in DEFAULT_SOCKETS.map(PathBuf::from) {
        match open(&socket, limit) {
            Ok(stream) if is_pid_1(&stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::PermissionDenied || is_timeout(&error) => {
                refusal.get_or_insert_with(|| explain(&socket, &error, limit));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Err(refusal.unwrap_or_else(|| {
        format!(
            "no sidecar-init listens at {}; is a bundle running as PID 1? --socket or \
             {SOCKET_VARIABLE} name another place",
            DEFAULT_SOCKETS.join(" or ")
        )
    }))
}

fn is_pid_1(stream: &UnixStream) -> bool {
    peer::of_connection(stream.as_fd()).is_ok_and(|peer| peer.pid == Some(1))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn no_answer(limit: Duration) -> String {
    let limit = humantime::format_duration(limit);
    format!("sidecar-init does not answer within {limit}: it is stopped, or held up")
}

fn explain(socket: &Path, error: &io::Error, limit: Duration) -> String {
    let shown = socket.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
            "no sidecar-init listens at {shown}; is a bundle running? --socket or \
             {SOCKET_VARIABLE} name another place"
        ),
        ErrorKind::PermissionDenied => {
            format!("{shown} is for root and the user that sidecar-init runs as")
        }
        _ if is_timeout(error) => no_answer(limit),
        _ => format!("can't connect to {shown}: {}", error_text(error)),
    }
}
