//! Notifications of services: a newline on a descriptor, as under s6, or datagrams of sd_notify(3).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::sockopt;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::sys::peer::{self, Peer};

/// A longer datagram is not one of sd_notify(3).
const LONGEST_DATAGRAM: usize = 4096;
/// How many datagrams are read before other work.
const BATCH: usize = 16;

/// The receiving end.
#[derive(Debug)]
pub(in crate::init) enum Listener {
    Pipe(OwnedFd),
    Socket { socket: UnixDatagram, name: String },
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is ready.
    Ready,
    /// It needs this much time, from now on.
    Extend(Duration),
    /// Its status text.
    Status(String),
    /// It is alive (`WATCHDOG=1`).
    Alive,
    /// It has failed (`WATCHDOG=trigger`).
    Dead,
    /// A new interval for its watchdog.
    Watchdog(Duration),
    /// It reloads its configuration, and sends `READY=1` afterwards.
    Reloading,
    /// It ends by itself.
    Stopping,
    /// This process becomes its main process.
    MainProcess(i32),
}

/// The notifications since the last read.
#[derive(Debug, Default)]
pub(in crate::init) struct Heard {
    pub(in crate::init) said: Vec<(Option<Peer>, Said)>,
    /// There may be more.
    pub(in crate::init) more: bool,
    /// At end of file.
    pub(in crate::init) ended: bool,
    /// The read failed; there may be something.
    pub(in crate::init) failed: bool,
}

/// A pipe; the service gets the other end.
pub(in crate::init) fn pipe() -> io::Result<(Listener, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&ours, rustix::fs::OFlags::NONBLOCK)?;
    Ok((Listener::Pipe(ours), theirs))
}

/// A socket in the abstract namespace, because the file system may be read-only, unix(7).
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

    /// Reads what has arrived.
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

/// The known assignments of a datagram, one per line; others are skipped, as sd_notify(3) requires. The
/// last one of a kind counts: a datagram can contain hundreds.
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

/// A status text is shown on terminals: no control characters, and a limited length.
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
