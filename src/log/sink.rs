//! Where lines go: the init's own stdout or stderr, without ever waiting for it.
//!
//! `O_NONBLOCK` can't be set on an inherited descriptor, since it belongs to the open file
//! description, which others share: their writes would begin to fail (open(2)). So there are
//! four ways to write without waiting, by what the descriptor is:
//!
//! - a regular file, or `/dev/null`: epoll refuses it, since writing to it does not wait;
//! - a pipe or terminal: opened again through `/proc`, which makes a description of our own;
//! - a socket: `MSG_DONTWAIT` for each call;
//! - a pipe or terminal that can't be opened again (no `/proc`, another user's): written only
//!   when poll(2) says so, and no more than `PIPE_BUF` bytes, which then fit (pipe(7)). If others
//!   write to the same pipe at the same moment, this alone could still wait.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use mio::{Interest, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::SendFlags;

use super::Channel;
use crate::poll::Registry;

/// While more than this waits to be written, no more is read from services that may be made to
/// wait.
const FULL_BYTES: usize = 64 * 1024;
/// What the init itself says is dropped when this much waits, since it can't be made to wait.
const OVERFLOW_BYTES: usize = 256 * 1024;
/// A write of this size to a pipe that poll(2) calls writable does not wait (`PIPE_BUF`).
const SAFE_WRITE_BYTES: usize = 4096;

#[derive(Debug)]
enum Way {
    /// Never waits.
    File,
    /// A description of our own, non-blocking.
    Reopened(OwnedFd),
    /// Non-blocking by call.
    Socket,
    /// Asked before each write.
    Polled,
    /// Nobody reads it any more: all is thrown away.
    Closed,
}

/// One of the init's two outputs.
#[derive(Debug)]
pub(super) struct Sink {
    channel: Channel,
    way: Way,
    buffer: Vec<u8>,
    /// How much of the buffer is written already.
    written: usize,
    /// How much has been written in all.
    total: u64,
    /// Whether the last write found no room; the poll says when there is some again.
    blocked: bool,
    is_terminal: bool,
    /// Whether it is the sink of both channels.
    serves_both: bool,
}

/// Whether stdout and stderr lead to the same file.
pub(super) fn same_file() -> bool {
    let stdout = rustix::fs::fstat(rustix::stdio::stdout());
    let stderr = rustix::fs::fstat(rustix::stdio::stderr());
    match (stdout, stderr) {
        (Ok(stdout), Ok(stderr)) => {
            (stdout.st_dev, stdout.st_ino) == (stderr.st_dev, stderr.st_ino)
        }
        _ => false,
    }
}

impl Sink {
    /// The init's descriptor for `channel`, to be watched by the poll under `token`.
    pub(super) fn open(
        channel: Channel,
        serves_both: bool,
        registry: &Registry,
        token: Token,
    ) -> Sink {
        let inherited = inherited(channel);
        let is_terminal = inherited.is_terminal();
        let mut way = choose_way(inherited);
        let raw = match &way {
            Way::Reopened(own) => own.as_raw_fd(),
            Way::File | Way::Socket | Way::Polled | Way::Closed => inherited.as_raw_fd(),
        };
        match registry.try_register(&raw, token, Interest::WRITABLE) {
            Ok(()) => {}
            // epoll(7) does not watch what never waits.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                way = if matches!(way, Way::Closed) { Way::Closed } else { Way::File };
            }
            Err(_) => registry.look_again(token),
        }
        let buffer = Vec::new();
        let (written, total) = (0, 0);
        Sink { channel, way, buffer, written, total, blocked: false, is_terminal, serves_both }
    }

    /// The descriptor that the poll is to watch.
    pub(super) fn descriptor(&self) -> RawFd {
        match &self.way {
            Way::Reopened(own) => own.as_raw_fd(),
            Way::File | Way::Socket | Way::Polled | Way::Closed => {
                inherited(self.channel).as_raw_fd()
            }
        }
    }

    /// Whether it is a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether it is the sink of both channels.
    pub(super) fn serves_both(&self) -> bool {
        self.serves_both
    }

    /// Whether what is for this channel goes here.
    pub(super) fn serves(&self, channel: Channel) -> bool {
        self.serves_both || self.channel == channel
    }

    /// How many bytes have been written in all.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Whether services that can wait should.
    pub(super) fn is_full(&self) -> bool {
        self.waiting() >= FULL_BYTES
    }

    /// Whether there is no room even for the init's own words.
    pub(super) fn overflows(&self) -> bool {
        self.waiting() >= OVERFLOW_BYTES
    }

    /// How many bytes wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Where to append lines; [`flush`](Sink::flush) writes them.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// The poll has said that there is room.
    pub(super) fn writable(&mut self) {
        self.blocked = false;
        self.flush();
    }

    /// Writes what it can without waiting.
    pub(super) fn flush(&mut self) {
        while self.waiting() > 0 && !self.blocked {
            match self.write() {
                Ok(count) => {
                    self.written += count;
                    self.total += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(error) => {
                    // A full disk may have room again; a pipe without a reader stays one.
                    if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::EBADF | libc::EIO)) {
                        self.way = Way::Closed;
                    }
                    self.written = self.buffer.len();
                }
            }
        }
        self.forget_written();
    }

    fn forget_written(&mut self) {
        if self.waiting() == 0 {
            self.buffer.clear();
            self.buffer.shrink_to(FULL_BYTES);
        } else if self.written >= FULL_BYTES {
            self.buffer.drain(..self.written);
        } else {
            return;
        }
        self.written = 0;
    }

    fn write(&self) -> io::Result<usize> {
        let bytes = &self.buffer[self.written..];
        let inherited = inherited(self.channel);
        let count = match &self.way {
            Way::File => rustix::io::write(inherited, bytes)?,
            Way::Reopened(own) => rustix::io::write(own, bytes)?,
            Way::Socket => {
                rustix::net::send(inherited, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?
            }
            Way::Polled => {
                let mut asked = [PollFd::new(&inherited, PollFlags::OUT)];
                let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
                if poll(&mut asked, Some(&at_once))? == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                rustix::io::write(inherited, &bytes[..bytes.len().min(SAFE_WRITE_BYTES)])?
            }
            Way::Closed => bytes.len(),
        };
        Ok(count)
    }
}

fn inherited(channel: Channel) -> BorrowedFd<'static> {
    match channel {
        Channel::Stdout => rustix::stdio::stdout(),
        Channel::Stderr => rustix::stdio::stderr(),
    }
}

fn choose_way(inherited: BorrowedFd<'static>) -> Way {
    let Ok(stat) = rustix::fs::fstat(inherited) else { return Way::Closed };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Way::File,
        FileType::Socket => Way::Socket,
        _ => match reopen(inherited) {
            Ok(own) => Way::Reopened(own),
            Err(_) => Way::Polled,
        },
    }
}

fn reopen(inherited: BorrowedFd<'static>) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", inherited.as_raw_fd());
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let own = rustix::fs::open(path, flags, Mode::empty())?;
    // `/proc` may be another system's, or a stand-in.
    let (theirs, ours) = (rustix::fs::fstat(inherited)?, rustix::fs::fstat(own.as_fd())?);
    if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino) {
        Ok(own)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}
