//! How a service tells us by itself that it is ready: a newline on a descriptor, as for s6, or
//! datagrams of sd_notify(3).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::sockopt;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::sys::peer::{self, Peer};

/// A longer datagram is not one of sd_notify(3)'s.
const LONGEST_DATAGRAM: usize = 4096;
/// How many datagrams are read before the others have their turn.
const BATCH: usize = 16;

/// Our end.
#[derive(Debug)]
pub(in crate::init) enum Listener {
    Pipe(OwnedFd),
    Socket { socket: UnixDatagram, name: String },
}

/// Something that a service has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is ready.
    Ready,
    /// It wants more time, from now on.
    Extend(Duration),
    /// How it is, in its own words.
    Status(String),
    /// It is alive (`WATCHDOG=1`).
    Alive,
    /// It wants to be treated as dead (`WATCHDOG=trigger`).
    Dead,
    /// From now on it says at least this often that it is alive.
    Watchdog(Duration),
    /// It reads its configuration again, and says `READY=1` when it has.
    Reloading,
    /// It ends by itself.
    Stopping,
    /// This process is its main one from now on.
    MainProcess(i32),
}

/// What a service has said since the last look.
#[derive(Debug, Default)]
pub(in crate::init) struct Heard {
    pub(in crate::init) said: Vec<(Option<Peer>, Said)>,
    /// There may be more.
    pub(in crate::init) more: bool,
    /// Nothing more will come.
    pub(in crate::init) ended: bool,
    /// The kernel could not say; there may be something.
    pub(in crate::init) failed: bool,
}

/// A pipe of which the service gets the other end.
pub(in crate::init) fn pipe() -> io::Result<(Listener, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&ours, rustix::fs::OFlags::NONBLOCK)?;
    Ok((Listener::Pipe(ours), theirs))
}

/// A socket without a place in the file system, which may be read-only, unix(7).
pub(in crate::init) fn socket(unique: &str) -> io::Result<Listener> {
    let name = format!("sidecar-init/{}/{unique}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes())?)?;
    socket.set_nonblocking(true)?;
    sockopt::set_socket_passcred(&socket, true)?;
    Ok(Listener::Socket { socket, name })
}

impl Listener {
    /// The value of `NOTIFY_SOCKET`, for a socket.
    pub(in crate::init) fn variable(&self) -> Option<String> {
        match self {
            Listener::Pipe(_) => None,
            Listener::Socket { name, .. } => Some(format!("@{name}")),
        }
    }

    /// Takes what has come.
    pub(in crate::init) fn read(&self) -> Heard {
        match self {
            Listener::Pipe(fd) => read_pipe(fd),
            Listener::Socket { socket, .. } => read_socket(socket),
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Listener::Pipe(fd) => fd.as_raw_fd(),
            Listener::Socket { socket, .. } => socket.as_raw_fd(),
        }
    }
}

fn read_pipe(fd: &OwnedFd) -> Heard {
    let mut heard = Heard::default();
    let mut buffer = [0; 512];
    match rustix::io::read(fd, &mut buffer) {
        Ok(0) => heard.ended = true,
        Ok(count) => {
            heard.more = true;
            if buffer[..count].contains(&b'\n') {
                heard.said.push((None, Said::Ready));
            }
        }
        Err(rustix::io::Errno::INTR) => heard.more = true,
        Err(rustix::io::Errno::AGAIN) => {}
        Err(_) => heard.failed = true,
    }
    heard
}

fn read_socket(socket: &UnixDatagram) -> Heard {
    let mut heard = Heard { more: true, ..Heard::default() };
    for _ in 0..BATCH {
        let mut buffer = [0; LONGEST_DATAGRAM];
        let (length, sender) = match peer::receive_from(socket.as_fd(), &mut buffer) {
            Ok(received) => received,
            Err(error) => {
                heard.more = false;
                heard.failed = error.kind() != io::ErrorKind::WouldBlock;
                break;
            }
        };
        let text = buffer.get(..length).unwrap_or_default();
        if sender.is_some() {
            heard.said.extend(parse(text).into_iter().map(|said| (sender, said)));
        }
    }
    heard
}

/// The assignments of a datagram, one a line, that mean something here; others are passed over,
/// as sd_notify(3) asks. Of those of one kind the last counts: a datagram has room for hundreds.
pub fn parse(datagram: &[u8]) -> Vec<Said> {
    let text = String::from_utf8_lossy(datagram);
    let said = |line: &str| match line.split_once('=')? {
        ("READY", "1") => Some(Said::Ready),
        ("STATUS", status) => Some(Said::Status(printable(status))),
        ("RELOADING", "1") => Some(Said::Reloading),
        ("STOPPING", "1") => Some(Said::Stopping),
        ("MAINPID", pid) => Some(Said::MainProcess(pid.parse().ok().filter(|pid: &i32| *pid > 0)?)),
        ("WATCHDOG_USEC", span) => {
            let span = Duration::from_micros(span.parse().ok()?);
            Some(Said::Watchdog(span)).filter(|_| !span.is_zero())
        }
        ("WATCHDOG", "1") => Some(Said::Alive),
        ("WATCHDOG", "trigger") => Some(Said::Dead),
        ("EXTEND_TIMEOUT_USEC", span) => {
            Some(Said::Extend(Duration::from_micros(span.parse().ok()?)))
        }
        _ => None,
    };
    let mut kinds = Vec::new();
    let is_last = |said: &Said| {
        let kind = std::mem::discriminant(said);
        let is_last = !kinds.contains(&kind);
        kinds.extend(is_last.then_some(kind));
        is_last
    };
    let mut said: Vec<Said> = text.lines().rev().filter_map(said).filter(is_last).collect();
    said.reverse();
    said
}

/// What a service says of itself is shown on terminals: no control characters, and not too long.
fn printable(status: &str) -> String {
    status.chars().filter(|char| !char.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_datagram_says_several_things() {
        let datagram =
            b"READY=1\nSTATUS=up \x1b[31mand well\nX_OTHER=1\nEXTEND_TIMEOUT_USEC=2000000\n";
        let said = [
            Said::Ready,
            Said::Status("up [31mand well".to_owned()),
            Said::Extend(Duration::from_secs(2)),
        ];
        assert_eq!(parse(datagram), said);
        assert_eq!(parse(b"WATCHDOG=1\nWATCHDOG=trigger"), [Said::Alive, Said::Dead]);
        let more = b"RELOADING=1\nSTOPPING=1\nMAINPID=42\nWATCHDOG_USEC=3000000";
        let said = [
            Said::Reloading,
            Said::Stopping,
            Said::MainProcess(42),
            Said::Watchdog(Duration::from_secs(3)),
        ];
        assert_eq!(parse(more), said);
        assert_eq!(parse(b"MAINPID=0\nMAINPID=-1\nMAINPID=x\nWATCHDOG_USEC=0\nSTOPPING=0"), []);
        assert_eq!(parse(b"READY=0\nREADY\n=1\nEXTEND_TIMEOUT_USEC=x"), []);
        let again = b"MAINPID=1\nREADY=1\nMAINPID=2\nRELOADING=1\nMAINPID=x\nREADY=1";
        assert_eq!(parse(again), [Said::MainProcess(2), Said::Reloading, Said::Ready]);
    }

    proptest! {
        #[test]
        fn no_datagram_is_too_much_for_it(datagram in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let _ = parse(&datagram);
        }
    }
}
