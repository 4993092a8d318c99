//! One output of one service: from its pipe to whole lines.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::{Interest, Token};
use rustix::fs::{Gid, OFlags, Uid};
use rustix::pipe::{PipeFlags, pipe_with};

use super::Channel;
use super::format::{Format, LineSplitter, Piece, TimeStamp};
use super::look_ahead::look_ahead;
use super::ring::Ring;
use super::sink::Sink;
use crate::bundle::LogFull;
use crate::poll::Registry;
use crate::supervisor::ServiceId;

/// How often one pipe is read before others.
const TURN_READS: usize = 4;

/// A pipe for the output of a service: the read end, then the write end.
///
/// Only the read end is non-blocking; each end of a pipe has its own file description. The pipe belongs
/// to the service's user, so that a service that is not root may open `/dev/stdout` again
/// (<https://github.com/moby/moby/issues/31243>).
pub fn pipe(owner: Option<(u32, u32)>) -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    if let Some((user, group)) = owner {
        // Without the privilege for this, the service has our user anyway.
        let _ = rustix::fs::fchown(&theirs, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
    }
    Ok((ours, theirs))
}

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// The pipe is empty; the poll reports more.
    Empty,
    /// All write ends are closed.
    Ended,
    /// There may be more, but other streams are next.
    TurnOver,
    /// The sink is full.
    SinkFull,
    /// The read failed. This does not mean end of file: it must be retried.
    Failed,
}

#[derive(Debug)]
pub(super) struct Stream {
    pipe: OwnedFd,
    token: Token,
    pub(super) channel: Channel,
    /// The service; `None` when another one has its id.
    pub(super) service: Option<ServiceId>,
    /// Its name.
    pub(super) name: String,
    format: Format,
    full: LogFull,
    splitter: LineSplitter,
    /// The text to watch for.
    watched: Option<Box<[u8]>>,
    /// Whether a line contained it.
    heard: bool,
    /// Lines dropped since the last report.
    dropped: u64,
    /// Whether it is in the queue of streams that may be readable.
    pub(super) queued: bool,
}

impl Stream {
    pub(super) fn open(
        pipe: OwnedFd,
        channel: Channel,
        format: Format,
        full: LogFull,
        registry: &Registry,
        token: Token,
    ) -> Stream {
        registry.register(&pipe, token, Interest::READABLE);
        let splitter = LineSplitter::default();
        Stream {
            pipe,
            token,
            channel,
            service: None,
            name: String::new(),
            format,
            full,
            splitter,
            watched: None,
            heard: false,
            dropped: 0,
            queued: false,
        }
    }

    /// Its token in the poll.
    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// Watches for a line that contains `text`.
    pub(super) fn watch_for(&mut self, text: &str) {
        self.watched = Some(text.as_bytes().into());
    }

    /// Ends the watch.
    pub(super) fn watch_no_more(&mut self) {
        self.watched = None;
    }

    /// Searches for the text in output that does not fit into the sink. It is moved later.
    pub(super) fn look_ahead(&mut self) {
        let Some(text) = &self.watched else { return };
        let waiting = [self.splitter.rest(), &look_ahead(&self.pipe)].concat();
        let end = memchr::memrchr(b'\n', &waiting).unwrap_or(0);
        if memchr::memmem::find(&waiting[..end], text).is_some() {
            self.heard = true;
            self.watched = None;
        }
    }

    /// Whether a line contained the text since the last call.
    pub(super) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// Moves lines from the pipe to the sink until the pipe is empty or the sink full. Also stores them
    /// in the ring.
    pub(super) fn pump(
        &mut self,
        sink: &mut Sink,
        scratch: &mut [u8],
        mut ring: Option<&mut Ring>,
        registry: &Registry,
    ) -> Pumped {
        for _ in 0..TURN_READS {
            if sink.is_full() && self.full == LogFull::Block {
                return Pumped::SinkFull;
            }
            match rustix::io::read(&self.pipe, &mut *scratch) {
                Ok(0) => {
                    self.finish(sink, ring, registry);
                    return Pumped::Ended;
                }
                Ok(count) => {
                    self.pass_on(Some(&scratch[..count]), sink, ring.as_deref_mut(), registry)
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Pumped::Empty,
                Err(_) => return Pumped::Failed,
            }
        }
        Pumped::TurnOver
    }

    /// Emits an incomplete line at end of file.
    pub(super) fn finish(&mut self, sink: &mut Sink, ring: Option<&mut Ring>, registry: &Registry) {
        self.pass_on(None, sink, ring, registry);
    }

    /// Emits each line that these bytes complete, or without bytes the rest of the last one. Counts
    /// lines without space in the sink.
    fn pass_on(
        &mut self,
        bytes: Option<&[u8]>,
        sink: &mut Sink,
        mut ring: Option<&mut Ring>,
        registry: &Registry,
    ) {
        let time = TimeStamp::default();
        let is_full = sink.is_full() && bytes.is_some();
        if !is_full {
            self.report_dropped(&time, sink);
        }
        let Stream { splitter, format, watched, heard, dropped, .. } = self;
        let out = sink.buffer();
        let pass_on = |piece: Piece| {
            if let Some(ring) = &mut ring {
                ring.push(piece.text);
            }
            if let Some(text) = watched {
                *heard |= memchr::memmem::find(piece.text, text).is_some();
            }
            match is_full {
                true => *dropped += 1,
                false => format.append(piece, &time, out),
            }
        };
        match bytes {
            Some(bytes) => splitter.push(bytes, format, pass_on),
            None => splitter.finish(format, pass_on),
        }
        if self.heard {
            self.watched = None;
        }
        sink.flush_if_full(registry);
    }

    fn report_dropped(&mut self, time: &TimeStamp, sink: &mut Sink) {
        if self.dropped > 0 {
            let text = format!("sidecar-init: {} lines dropped, nobody read them", self.dropped);
            self.format.append_line(text.as_bytes(), time, sink.buffer());
            self.dropped = 0;
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.pipe.as_raw_fd()
    }
}
