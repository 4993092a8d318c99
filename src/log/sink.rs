//! Where lines go: the init's own stdout or stderr, with a bounded buffer in front of it. What can't
//! be written because nobody reads, or the disk is full, is dropped and counted, and that is said
//! there when it works again.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

use mio::{Interest, Token};

use super::Channel;
use super::format::{Format, TimeStamp};
use super::nonblocking_writer::NonblockingWriter;
use crate::error_text::error_text;
use crate::poll::Registry;
use crate::record::Record;

/// While more than this waits to be written, no more is read from services that may be made to
/// wait.
const FULL_BYTES: usize = 64 * 1024;
/// What the init itself says is dropped when this much waits, since it can't be made to wait.
const OVERFLOW_BYTES: usize = 256 * 1024;

/// How the init speaks of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Voice {
    /// JSON objects instead of text.
    pub json: bool,
    /// Whether colours are welcome where the descriptor is a terminal.
    pub colour: bool,
}

/// The name the init has in its own messages.
const INIT_NAME: &str = "sidecar-init";

/// Where all lines go, those of the services and the init's own.
#[derive(Debug)]
pub struct Sinks {
    pub(super) voice: Voice,
    /// For stdout and stderr, made at first use: most inits for one command never say a word.
    /// Where both lead to the same file, the first serves both, or their lines would tear each
    /// other.
    sinks: [Option<Sink>; 2],
    tokens: [Token; 2],
    /// Messages of the init itself that had to be dropped.
    dropped: u64,
}

impl Sinks {
    pub(super) fn new(voice: Voice, tokens: [Token; 2]) -> Sinks {
        Sinks { voice, sinks: [None, None], tokens, dropped: 0 }
    }

    /// Says something on stderr.
    pub fn say(&mut self, text: &str, registry: &Registry) {
        let json = self.voice.json;
        let dropped = self.dropped;
        let sink = self.sink(Channel::Stderr, registry);
        if sink.overflows() {
            self.dropped += 1;
            return;
        }
        let out = sink.buffer();
        if dropped > 0 {
            say_into(&format!("{dropped} messages dropped, nobody read them"), json, out);
        }
        say_into(text, json, out);
        sink.flush(registry);
        self.dropped = 0;
    }

    /// The closing record in the form that the init speaks in.
    pub fn voice_record(&self, record: &Record) -> String {
        if self.voice.json {
            record.json(TimeStamp::default().text())
        } else {
            format!("{INIT_NAME}: {}", record.text())
        }
    }

    /// Says something on stderr that has its form already.
    pub fn say_as_is(&mut self, line: &str, registry: &Registry) {
        let sink = self.sink(Channel::Stderr, registry);
        sink.buffer().extend_from_slice(line.as_bytes());
        sink.buffer().push(b'\n');
        sink.flush(registry);
    }

    /// What is written to for this channel, if anything ever was.
    pub fn descriptor(&self, channel: Channel) -> Option<RawFd> {
        self.sinks[channel as usize].as_ref().map(Sink::descriptor)
    }

    /// The poll has said that there is room again.
    pub fn writable(&mut self, channel: Channel, registry: &Registry) {
        if let Some(sink) = &mut self.sinks[channel as usize] {
            sink.writable(registry);
        }
    }

    /// Whether everything is written that was for these.
    pub fn is_flushed(&self, channels: &[Channel]) -> bool {
        let serves = |sink: &&Sink| channels.iter().any(|channel| sink.serves(*channel));
        self.sinks.iter().flatten().filter(serves).all(|sink| sink.waiting() == 0)
    }

    /// How many bytes have been written, all in all.
    pub fn written(&self) -> u64 {
        self.sinks.iter().flatten().map(Sink::total).sum()
    }

    pub(super) fn sink(&mut self, channel: Channel, registry: &Registry) -> &mut Sink {
        let first_use = self.sinks.iter().all(Option::is_none);
        let shared = if first_use {
            same_file()
        } else {
            self.sinks[0].as_ref().is_some_and(Sink::serves_both)
        };
        let index = if shared { 0 } else { channel as usize };
        let (json, token) = (self.voice.json, self.tokens[index]);
        self.sinks[index].get_or_insert_with(|| {
            Sink::open(channel, shared, own_format(json, channel), registry, token)
        })
    }
}

/// How the init's own words look.
fn own_format(json: bool, channel: Channel) -> Format {
    match json {
        true => Format::json(INIT_NAME, channel),
        false => Format::after(format!("{INIT_NAME}: ")),
    }
}

/// Appends a message of the init's own to `out`.
fn say_into(text: &str, json: bool, out: &mut Vec<u8>) {
    let (format, time) = (own_format(json, Channel::Stderr), TimeStamp::default());
    if json {
        return format.append_line(text.as_bytes(), &time, out);
    }
    text.lines().for_each(|line| format.append_line(line.as_bytes(), &time, out));
}

/// One of the init's two outputs.
#[derive(Debug)]
pub(super) struct Sink {
    channel: Channel,
    writer: NonblockingWriter,
    token: Token,
    /// How the init speaks here.
    voice: Format,
    buffer: Vec<u8>,
    /// How much of the buffer is written already.
    written: usize,
    /// How much has been written in all.
    total: u64,
    /// Whether the last write found no room; the poll says when there is some again.
    blocked: bool,
    /// Whether the poll does say so.
    is_watched: bool,
    /// Whether what was written last is the beginning of a line.
    is_mid_line: bool,
    lost: Lost,
    is_terminal: bool,
    /// Whether it is the sink of both channels.
    serves_both: bool,
}

/// What could not be written, until that is said.
#[derive(Debug, Default)]
struct Lost {
    lines: u64,
    reason: String,
    /// How many bytes at the beginning of the buffer say so.
    note: usize,
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
        voice: Format,
        registry: &Registry,
        token: Token,
    ) -> Sink {
        let writer = NonblockingWriter::open(channel);
        let registered = registry.try_register(&writer.descriptor(), token, Interest::WRITABLE);
        // EPERM: epoll(7) does not watch what always has room.
        if registered.as_ref().is_err_and(|error| error.raw_os_error() != Some(libc::EPERM)) {
            registry.look_again(token);
        }
        Sink {
            channel,
            is_terminal: writer.is_terminal(),
            writer,
            token,
            voice,
            buffer: Vec::new(),
            written: 0,
            total: 0,
            blocked: false,
            is_watched: registered.is_ok(),
            is_mid_line: false,
            lost: Lost::default(),
            serves_both,
        }
    }

    /// The descriptor that the poll is to watch.
    pub(super) fn descriptor(&self) -> RawFd {
        self.writer.descriptor()
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
    pub(super) fn writable(&mut self, registry: &Registry) {
        self.blocked = false;
        self.flush(registry);
    }

    /// Writes what it can without waiting.
    pub(super) fn flush(&mut self, registry: &Registry) {
        self.say_what_was_lost();
        while self.waiting() > 0 && !self.blocked {
            match self.writer.write(&self.buffer[self.written..]) {
                Ok(0) => self.wait_a_while(registry),
                Ok(count) => self.wrote(count),
                Err(error) => match (error.kind(), error.raw_os_error()) {
                    (ErrorKind::Interrupted, _) => {}
                    (ErrorKind::WouldBlock, _) if self.is_watched => self.blocked = true,
                    (ErrorKind::WouldBlock, _) | (_, Some(libc::ENOMEM | libc::ENOBUFS)) => {
                        self.wait_a_while(registry);
                    }
                    _ => self.lose(&error),
                },
            }
        }
        self.forget_written();
    }

    /// There is no room, and nobody who would say when there is.
    fn wait_a_while(&mut self, registry: &Registry) {
        self.blocked = true;
        registry.look_again(self.token);
    }

    fn wrote(&mut self, count: usize) {
        self.written += count;
        self.total += count as u64;
        self.is_mid_line = self.buffer[self.written - 1] != b'\n';
        if self.lost.note > 0 && self.written >= self.lost.note {
            self.lost = Lost::default();
        }
    }

    /// Nobody reads it, the disk is full, or the like: it may be otherwise with the next lines, but
    /// nobody knows when, and the services do not wait for that.
    fn lose(&mut self, error: &io::Error) {
        let lost = &self.buffer[self.written.max(self.lost.note)..];
        self.lost.lines += memchr::memchr_iter(b'\n', lost).count() as u64;
        self.lost.note = 0;
        self.lost.reason = match error.raw_os_error() {
            Some(libc::EPIPE) => "nobody read them".to_owned(),
            _ => error_text(error),
        };
        self.written = self.buffer.len();
        self.writer.forget();
    }

    /// Before the next lines. A line that was cut off is ended first.
    fn say_what_was_lost(&mut self) {
        let Lost { lines, ref reason, note } = self.lost;
        if lines == 0 || note > 0 || self.waiting() == 0 {
            return;
        }
        let mut text = vec![b'\n'; usize::from(self.is_mid_line)];
        let said = format!("{lines} lines dropped: {reason}");
        self.voice.append_line(said.as_bytes(), &TimeStamp::default(), &mut text);
        self.lost.note = text.len();
        self.buffer.splice(..self.written, text);
        self.written = 0;
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
}
