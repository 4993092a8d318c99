//! One attempt of a probe. Network probes never block: each step uses what the kernel has. A child
//! tries probes of a path ([`try_path`]), because a file system may not answer.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, getpeername,
    getsockname, send, socket_with, sockopt,
};

use crate::bundle::health_check::{HttpTarget, Probe};
use crate::error_text::{errno_of, error_text};

/// A longer line is not a status line.
const LONGEST_STATUS_LINE: usize = 1024;

/// A connection attempt.
#[derive(Debug)]
pub struct Attempt {
    fd: OwnedFd,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Connecting { then_ask: Option<HttpTarget> },
    Reading { target: HttpTarget, received: Vec<u8> },
}

#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The poll reports when it can continue.
    Pending,
    /// It has ended.
    Done(Outcome),
}

/// The result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The probe succeeded.
    Passed,
    /// It failed, for this reason.
    Failed(String),
    /// It could not be made, for this reason. That says nothing about the service.
    NoResult(String),
}

impl Outcome {
    /// The result for this error of a system call; `is_ours` tells whether the error concerns our side.
    pub fn of_error(error: &io::Error, is_ours: impl FnOnce(Errno) -> bool) -> Outcome {
        let text = error_text(error);
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(errno) if is_lack(errno) || is_ours(errno) => Outcome::NoResult(text),
            _ => Outcome::Failed(text),
        }
    }
}

/// Whether a resource is exhausted that all processes share, or that limits us.
fn is_lack(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::NOSPC)
}

impl Attempt {
    /// Begins to connect. `None`: the probe needs no network.
    ///
    /// # Errors
    /// The result, if it is known already.
    pub fn start(probe: &Probe) -> Option<Result<Attempt, Outcome>> {
        match probe {
            Probe::Tcp(address) => Some(Attempt::tcp(*address, None)),
            Probe::Http(target) => Some(Attempt::tcp(target.address, Some((**target).clone()))),
            Probe::Unix(_) | Probe::Exec(_) | Probe::File(_) => None,
        }
    }

    fn tcp(address: SocketAddr, then_ask: Option<HttpTarget>) -> Result<Attempt, Outcome> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let fd = socket(family)?;
        match connect(&fd, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {
                Ok(Attempt { fd, step: Step::Connecting { then_ask } })
            }
            Err(error) => Err(Outcome::of_error(&error.into(), is_ours_in_tcp)),
        }
    }

    /// Continues as far as possible without blocking.
    pub fn advance(&mut self) -> Progress {
        match self.try_advance() {
            Ok(None) => Progress::Pending,
            Ok(Some(Ok(()))) => Progress::Done(Outcome::Passed),
            Ok(Some(Err(reason))) => Progress::Done(Outcome::Failed(reason)),
            Err(error) => Progress::Done(Outcome::of_error(&error, is_ours_in_tcp)),
        }
    }

    fn try_advance(&mut self) -> io::Result<Option<Result<(), String>>> {
        if let Step::Connecting { then_ask } = &mut self.step {
            sockopt::socket_error(&self.fd)??;
            let peer = match getpeername(&self.fd) {
                Ok(peer) => peer,
                Err(Errno::NOTCONN) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            // If no socket listens, the kernel may give us the port that we connect to: then we connect
            // to ourselves, tcp(7) and RFC 9293, 3.5 (simultaneous open).
            if peer == Some(getsockname(&self.fd)?) {
                // Reset the connection, so that the port is free when the service needs it, socket(7).
                let _ = sockopt::set_socket_linger(&self.fd, Some(Duration::ZERO));
                return Ok(Some(Err("nobody listens".to_owned())));
            }
            let Some(target) = then_ask.take() else { return Ok(Some(Ok(()))) };
            let request = request(&target);
            // The empty buffer of a new connection has space for this.
            if send(&self.fd, request.as_bytes(), SendFlags::NOSIGNAL)? < request.len() {
                return Ok(Some(Err("it does not take a request".to_owned())));
            }
            self.step = Step::Reading { target, received: Vec::new() };
        }
        let Step::Reading { target, received } = &mut self.step else { return Ok(None) };
        let mut buffer = [0; LONGEST_STATUS_LINE];
        loop {
            let count = match rustix::io::read(self.fd.as_fd(), &mut buffer) {
                Ok(count) => count,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            received.extend_from_slice(&buffer[..count]);
            match status(received) {
                Some(Ok(status)) => return Ok(Some(check_status(status, target.status))),
                Some(Err(reason)) => return Ok(Some(Err(reason))),
                None if count == 0 => {
                    return Ok(Some(Err("it closed the connection without an answer".to_owned())));
                }
                None => {}
            }
        }
    }
}

/// In a child: tries a probe of a path. Returns 0 or the error number.
pub fn try_path(probe: &Probe) -> u8 {
    let tried = match probe {
        Probe::File(path) => rustix::fs::stat(path).map(drop),
        Probe::Unix(path) => connect_unix(path),
        // These are never tried in a child.
        Probe::Tcp(_) | Probe::Http(_) | Probe::Exec(_) => Err(rustix::io::Errno::INVAL),
    };
    errno_of(tried.map_err(io::Error::from))
}

/// A Unix socket connects at once or not at all: EAGAIN says that the backlog is full (connect(2)),
/// because the service does not accept.
fn connect_unix(path: &Path) -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&fd, &SocketAddrUnix::new(path)?)
}

/// The result of [`try_path`], from the number that it returned.
pub fn outcome_of_path(probe: &Probe, number: u8) -> Outcome {
    // rustix panics for error 0.
    if number == 0 {
        return Outcome::Passed;
    }
    match (probe, Errno::from_raw_os_error(number.into())) {
        (Probe::File(path), Errno::NOENT | Errno::NOTDIR) => {
            Outcome::Failed(format!("{} is not there", path.display()))
        }
        (_, errno) => Outcome::of_error(&errno.into(), |_| false),
    }
}

impl AsRawFd for Attempt {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Whether this error of a TCP connection concerns our side: no port is left (EADDRNOTAVAIL, EAGAIN),
/// or a filter forbids the call (EPERM, EACCES), connect(2). Without a route (ENETUNREACH, ENETDOWN,
/// EHOSTUNREACH) the probe has failed: the service itself may be the one that sets up the route.
fn is_ours_in_tcp(errno: Errno) -> bool {
    matches!(errno, Errno::ADDRNOTAVAIL | Errno::AGAIN | Errno::PERM | Errno::ACCESS)
}

/// A failure is never caused by the service.
fn socket(family: AddressFamily) -> Result<OwnedFd, Outcome> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, None)
        .map_err(|error| Outcome::NoResult(error_text(&error.into())))
}

fn request(target: &HttpTarget) -> String {
    let HttpTarget { host, path, .. } = target;
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: sidecar-init\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    )
}

/// The status of a possibly incomplete answer (RFC 9112, section 4).
pub fn status(received: &[u8]) -> Option<Result<u16, String>> {
    // The result must not depend on how the answer was split into packets.
    let end = received.iter().take(LONGEST_STATUS_LINE).position(|byte| *byte == b'\n');
    let line = match end {
        Some(end) => &received[..end],
        None if received.len() < LONGEST_STATUS_LINE => return None,
        None => return Some(Err("its answer is not HTTP".to_owned())),
    };
    let parsed = || {
        let line = std::str::from_utf8(line).ok()?;
        let rest = line.strip_prefix("HTTP/1.")?;
        let (_, rest) = rest.split_once(' ')?;
        let code = rest.get(..3)?;
        let ends = rest[3..].is_empty() || rest[3..].starts_with([' ', '\r']);
        code.parse().ok().filter(|_| ends && code.bytes().all(|byte| byte.is_ascii_digit()))
    };
    Some(parsed().ok_or_else(|| "its answer is not HTTP".to_owned()))
}

fn check_status(status: u16, wanted: Option<u16>) -> Result<(), String> {
    let is_fine = wanted.map_or((200..400).contains(&status), |wanted| wanted == status);
    if is_fine { Ok(()) } else { Err(format!("it answered with status {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_from_what_has_come_so_far() {
        assert_eq!(status(b""), None);
        assert_eq!(status(b"HTTP/1.1 20"), None);
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\nX: y"), Some(Ok(204)));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(Ok(503)));
        for wrong in
            ["SSH-2.0-x\r\n", "HTTP/1.1 2x4 \r\n", "HTTP/1.1 2000\r\n", "\n", "HTTP/1.1 é\n"]
        {
            assert!(matches!(status(wrong.as_bytes()), Some(Err(_))), "{wrong:?}");
        }
        assert!(matches!(status(&[b'x'; LONGEST_STATUS_LINE]), Some(Err(_))), "endless");
        let late = format!("HTTP/1.1 200 {}\n", "x".repeat(LONGEST_STATUS_LINE));
        assert!(matches!(status(late.as_bytes()), Some(Err(_))), "too long, though it ends");
    }

    #[test]
    fn what_is_ours_is_no_result() {
        let tcp = |errno: Errno| Outcome::of_error(&errno.into(), is_ours_in_tcp);
        let unix = |errno: Errno| Outcome::of_error(&errno.into(), |_| false);
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert!(matches!(tcp(errno), Outcome::NoResult(_)), "{errno}");
            assert!(matches!(unix(errno), Outcome::NoResult(_)), "{errno}");
        }
        for errno in [Errno::ADDRNOTAVAIL, Errno::AGAIN, Errno::PERM] {
            assert!(matches!(tcp(errno), Outcome::NoResult(_)), "{errno}");
            assert!(matches!(unix(errno), Outcome::Failed(_)), "{errno}");
        }
        for errno in [Errno::CONNREFUSED, Errno::TIMEDOUT, Errno::NETUNREACH, Errno::CONNRESET] {
            assert!(matches!(tcp(errno), Outcome::Failed(_)), "{errno}");
        }
    }

    #[test]
    fn a_unix_socket_whose_queue_is_full_does_not_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = socket(AddressFamily::UNIX).unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let probe = Probe::Unix(path);
        // Linux accepts one more connection than the backlog's length.
        assert_eq!(try_path(&probe), 0);
        assert!(matches!(outcome_of_path(&probe, try_path(&probe)), Outcome::Failed(_)));
    }

    #[test]
    fn each_number_of_a_child_has_a_meaning() {
        let probe = Probe::File("/nosuch".into());
        for number in 0..=u8::MAX {
            let passed = outcome_of_path(&probe, number) == Outcome::Passed;
            assert_eq!(passed, number == 0, "{number}");
        }
        assert_eq!(try_path(&Probe::File("/".into())), 0);
        let missing = outcome_of_path(&probe, try_path(&probe));
        assert_eq!(missing, Outcome::Failed("/nosuch is not there".to_owned()));
        assert!(matches!(outcome_of_path(&probe, libc::ENFILE as u8), Outcome::NoResult(_)));
    }

    #[test]
    fn success_is_what_was_asked_for() {
        assert_eq!(check_status(399, None), Ok(()));
        assert!(check_status(400, None).is_err());
        assert!(check_status(200, Some(204)).is_err());
    }

    #[test]
    fn to_meet_oneself_is_no_success() {
        let http = |address| HttpTarget {
            address,
            host: "a".to_owned(),
            path: "/".to_owned(),
            status: None,
        };
        for ask in [false, true] {
            // Bound to the port that it connects to, which the kernel may also choose itself.
            let fd = socket(AddressFamily::INET).unwrap();
            rustix::net::bind(&fd, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let own = getsockname(&fd).unwrap();
            let address = SocketAddr::try_from(own.clone()).unwrap();
            let connecting = connect(&fd, &own);
            assert!(matches!(connecting, Ok(()) | Err(Errno::INPROGRESS)), "{connecting:?}");
            let then_ask = ask.then(|| http(address));
            let mut attempt = Attempt { fd, step: Step::Connecting { then_ask } };
            let progress = loop {
                match attempt.advance() {
                    Progress::Pending => std::thread::yield_now(),
                    done => break done,
                }
            };
            assert_eq!(progress, Progress::Done(Outcome::Failed("nobody listens".to_owned())));
            drop(attempt);
            let service = socket(AddressFamily::INET).unwrap();
            assert_eq!(rustix::net::bind(&service, &address), Ok(()), "the port is free at once");
        }
    }
}
