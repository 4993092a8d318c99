//! Writes to the init's own stdout or stderr without blocking.
//!
//! `O_NONBLOCK` can't be set on an inherited descriptor: it belongs to the open file description, which
//! other processes share, and their writes would fail (open(2)). So the way to write depends on the
//! descriptor:
//!
//! - a pipe, a terminal or another device: opened again through `/proc`, or as `/dev/tty`, which
//!   creates an own description;
//! - a socket: `MSG_DONTWAIT` for each call;
//! - a pipe that can't be opened again (no `/proc`, or another user's, as with `docker run --user`):
//!   the kernel moves the bytes from a pipe of our own, splice(2) with `SPLICE_F_NONBLOCK`;
//! - a regular file: write(2), which blocks only for the file system;
//! - anything else that can't be opened again, such as a terminal of another user that is not ours:
//!   written only when poll(2) reports space, at most `PIPE_BUF` bytes. This may block if there is less
//!   space, or if other processes write to it at the same time.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use super::Channel;
use crate::poll::{look, look_for};

/// A write of this size to a pipe that poll(2) reports as writable does not block (`PIPE_BUF`).
const SAFE_WRITE_BYTES: usize = 4096;
/// How much to move from our own pipe at once: its capacity, pipe(7).
const SPLICE_BYTES: usize = 64 * 1024;
/// How long [`write_in_time`] waits for space.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum WriteMethod {
    File,
    Reopened(OwnedFd),
    Socket,
    Spliced(SplicePipe),
    Polled,
}

/// One of the two descriptors.
#[derive(Debug)]
pub(super) struct NonblockingWriter {
    inherited: BorrowedFd<'static>,
    method: WriteMethod,
}

/// A pipe of our own, for splice.
#[derive(Debug)]
struct SplicePipe {
    reader: OwnedFd,
    writer: OwnedFd,
    /// How many bytes are in it: they are the next to be written.
    held: usize,
}

impl NonblockingWriter {
    pub(super) fn open(channel: Channel) -> NonblockingWriter {
        let inherited = match channel {
            Channel::Stdout => rustix::stdio::stdout(),
            Channel::Stderr => rustix::stdio::stderr(),
        };
        NonblockingWriter { inherited, method: choose_method(inherited) }
    }

    /// The descriptor for the poll.
    pub(super) fn descriptor(&self) -> RawFd {
        match &self.method {
            WriteMethod::Reopened(own) => own.as_raw_fd(),
            _ => self.inherited.as_raw_fd(),
        }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.inherited.is_terminal()
    }

    /// Writes as much as fits. After `WouldBlock` the next call must begin with the same bytes, unless
    /// they are [forgotten](NonblockingWriter::forget).
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let inherited = self.inherited;
        let count = match &mut self.method {
            WriteMethod::File => rustix::io::write(inherited, bytes)?,
            WriteMethod::Reopened(own) => rustix::io::write(own, bytes)?,
            WriteMethod::Socket => {
                rustix::net::send(inherited, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?
            }
            WriteMethod::Spliced(pipe) => match pipe.write(inherited, bytes) {
                // The kernel or a seccomp profile does not support it.
                Err(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {
                    self.method = WriteMethod::Polled;
                    return self.write(bytes);
                }
                other => other?,
            },
            WriteMethod::Polled => {
                if look(&inherited, PollFlags::OUT)?.is_empty() {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                rustix::io::write(inherited, &bytes[..bytes.len().min(SAFE_WRITE_BYTES)])?
            }
        };
        Ok(count)
    }

    /// Discards bytes that were not written.
    pub(super) fn forget(&mut self) {
        if matches!(&self.method, WriteMethod::Spliced(pipe) if pipe.held > 0) {
            self.method = choose_method(self.inherited);
        }
    }
}

impl SplicePipe {
    fn open() -> rustix::io::Result<SplicePipe> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(SplicePipe { reader, writer, held: 0 })
    }

    fn write(&mut self, to: BorrowedFd, bytes: &[u8]) -> rustix::io::Result<usize> {
        if self.held == 0 {
            let most = bytes.len().min(SPLICE_BYTES);
            self.held = rustix::io::write(&self.writer, &bytes[..most])?;
        }
        let moved = splice(&self.reader, None, to, None, self.held, SpliceFlags::NONBLOCK)?;
        self.held -= moved;
        Ok(moved)
    }
}

fn choose_method(inherited: BorrowedFd<'static>) -> WriteMethod {
    let kind = rustix::fs::fstat(inherited).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::RegularFile) => WriteMethod::File,
        Ok(FileType::Socket) => WriteMethod::Socket,
        kind => match (reopen(inherited), kind) {
            (Ok(own), _) => WriteMethod::Reopened(own),
            (Err(_), Ok(FileType::Fifo)) => {
                SplicePipe::open().map_or(WriteMethod::Polled, WriteMethod::Spliced)
            }
            (Err(_), _) => WriteMethod::Polled,
        },
    }
}

fn reopen(inherited: BorrowedFd<'static>) -> io::Result<OwnedFd> {
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", inherited.as_raw_fd());
    if let Ok(own) = rustix::fs::open(path, flags, Mode::empty()) {
        // `/proc` may belong to another system, or be a fake.
        let (theirs, ours) = (rustix::fs::fstat(inherited)?, rustix::fs::fstat(own.as_fd())?);
        if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino) {
            return Ok(own);
        }
    }
    // The kernel reports the session only of our own controlling terminal (TIOCGSID of ioctl_tty(2)),
    // and every process may open that, whoever owns it, tty(4).
    rustix::termios::tcgetsid(inherited)?;
    Ok(rustix::fs::open("/dev/tty", flags, Mode::empty())?)
}

/// Writes to stderr before an init runs; waits at most a second for the reader.
pub fn write_in_time(bytes: &[u8]) {
    let (mut writer, until) = (NonblockingWriter::open(Channel::Stderr), Instant::now() + PATIENCE);
    let mut left = bytes;
    while !left.is_empty() {
        match writer.write(left) {
            Ok(count @ 1..) => left = &left[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let patience = until.saturating_duration_since(Instant::now());
                if patience.is_zero() || !writer.has_room_within(patience) {
                    return;
                }
            }
            Ok(_) | Err(_) => return,
        }
    }
}

impl NonblockingWriter {
    fn has_room_within(&self, span: Duration) -> bool {
        let fd = match &self.method {
            WriteMethod::Reopened(own) => own.as_fd(),
            _ => self.inherited,
        };
        !look_for(&fd, PollFlags::OUT, span).is_ok_and(|seen| seen.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pipe_is_not_waited_for_and_gets_all_in_order_when_it_is_read() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut pipe = SplicePipe::open().unwrap();
        let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
        let (mut written, mut read) = (0, Vec::new());
        let mut buffer = vec![0; 10_000];
        while written < text.len() {
            match pipe.write(writer.as_fd(), &text[written..]) {
                Ok(count) => written += count,
                Err(Errno::AGAIN) => {
                    let count = rustix::io::read(&reader, &mut buffer).unwrap();
                    read.extend_from_slice(&buffer[..count]);
                }
                Err(error) => panic!("{error}"),
            }
        }
        drop(writer);
        while let Ok(count @ 1..) = rustix::io::read(&reader, &mut buffer) {
            read.extend_from_slice(&buffer[..count]);
        }
        assert!(read == text);
    }
}
