//! The outputs: the init's own stdout and stderr, each with a bounded buffer. Output that can't be
//! written, because there is no reader or the disk is full, is dropped and counted; the count is
//! written to the same output when it works again.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

use mio::{Interest, Token};

use super::Channel;
use super::format::{Format, TimeStamp};
use super::nonblocking_writer::NonblockingWriter;
use crate::error_text::error_text;
use crate::poll::Registry;
use crate::record::Record;

/// While more is buffered, services with `log-full = "block"` are not read.
const FULL_BYTES: usize = 64 * 1024;
/// The init's own messages are dropped when this much is buffered, because the init does not block.
const OVERFLOW_BYTES: usize = 256 * 1024;

/// The format of the init's own messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Voice {
    /// JSON objects instead of text.
    pub json: bool,
    /// Whether to use colours on a terminal.
    pub colour: bool,
}

/// The name of the init in its own messages.
const INIT_NAME: &str = "sidecar-init";

/// The outputs for all lines, of services and of the init.
#[derive(Debug)]
pub struct Sinks {
    pub(super) voice: Voice,
    /// Stdout and stderr, opened at first use: most inits for one command never write anything. If both
    /// are the same file, the first one serves both, because otherwise lines would mix.
    sinks: [Option<Sink>; 2],
    tokens: [Token; 2],
    /// Dropped messages of the init.
    dropped: u64,
}

impl Sinks {
    pub(super) fn new(voice: Voice, tokens: [Token; 2]) -> Sinks {
        Sinks { voice, sinks: [None, None], tokens, dropped: 0 }
    }

    /// Logs a message on stderr.
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
        sink.flush_if_full(registry);
        self.dropped = 0;
    }

    /// The closing record in the format of the init's messages.
    pub fn format_record(&self, record: &Record) -> String {
        if self.voice.json {
            record.json(TimeStamp::default().text())
        } else {
            format!("{INIT_NAME}: {}", record.text())
        }
    }

    /// Writes a formatted line to stderr.
    pub fn say_as_is(&mut self, line: &str, registry: &Registry) {
        let sink = self.sink(Channel::Stderr, registry);
        sink.buffer().extend_from_slice(line.as_bytes());
        sink.buffer().push(b'\n');
    }

    /// Writes what is buffered, as far as there is space. Once a turn of the loop, before it waits.
    pub fn flush(&mut self, registry: &Registry) {
        self.sinks.iter_mut().flatten().for_each(|sink| sink.flush(registry));
    }

    /// The descriptor of this channel, if it was ever used.
    pub fn descriptor(&self, channel: Channel) -> Option<RawFd> {
        self.sinks[channel as usize].as_ref().map(Sink::descriptor)
    }

    /// The poll has reported space.
    pub fn writable(&mut self, channel: Channel, registry: &Registry) {
        if let Some(sink) = &mut self.sinks[channel as usize] {
            sink.writable(registry);
        }
    }

    /// Whether everything for these channels is written.
    pub fn is_flushed(&self, channels: &[Channel]) -> bool {
        let serves = |sink: &&Sink| channels.iter().any(|channel| sink.serves(*channel));
        self.sinks.iter().flatten().filter(serves).all(|sink| sink.waiting() == 0)
    }

    /// How many bytes have been written in total.
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

/// The format of the init's own messages.
fn own_format(json: bool, channel: Channel) -> Format {
    match json {
        true => Format::json(INIT_NAME, channel),
        false => Format::after(format!("{INIT_NAME}: ")),
    }
}

/// Appends a message of the init to `out`.
fn say_into(text: &str, json: bool, out: &mut Vec<u8>) {
    let (format, time) = (own_format(json, Channel::Stderr), TimeStamp::default());
    if json {
        return format.append_line(text.as_bytes(), &time, out);
    }
    text.lines().for_each(|line| format.append_line(line.as_bytes(), &time, out));
}

#[derive(Debug)]
pub(super) struct Sink {
    channel: Channel,
    writer: NonblockingWriter,
    token: Token,
    /// The format of the init's messages here.
    voice: Format,
    buffer: Vec<u8>,
    /// How much of the buffer is written.
    written: usize,
    /// How many bytes have been written in total.
    total: u64,
    /// Whether the last write had no space; the poll reports when there is some.
    blocked: bool,
    /// Whether the poll can report that.
    is_watched: bool,
    /// Whether the last written byte is not the end of a line.
    is_mid_line: bool,
    lost: Lost,
    is_terminal: bool,
    /// Whether it serves both channels.
    serves_both: bool,
}

/// The lost output that is not reported yet.
#[derive(Debug, Default)]
struct Lost {
    lines: u64,
    reason: String,
    /// The length of the report at the start of the buffer.
    note: usize,
}

/// Whether stdout and stderr are the same file.
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
    /// The init's descriptor for `channel`, which the poll reports with `token`.
    pub(super) fn open(
        channel: Channel,
        serves_both: bool,
        voice: Format,
        registry: &Registry,
        token: Token,
    ) -> Sink {
        let writer = NonblockingWriter::open(channel);
        let registered = registry.try_register(&writer.descriptor(), token, Interest::WRITABLE);
        // EPERM: epoll(7) does not watch files that are always writable.
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

    /// The descriptor for the poll.
    pub(super) fn descriptor(&self) -> RawFd {
        self.writer.descriptor()
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether it serves both channels.
    pub(super) fn serves_both(&self) -> bool {
        self.serves_both
    }

    pub(super) fn serves(&self, channel: Channel) -> bool {
        self.serves_both || self.channel == channel
    }

    /// How many bytes have been written in total.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Whether services that can block should.
    pub(super) fn is_full(&self) -> bool {
        self.waiting() >= FULL_BYTES
    }

    /// Whether there is no space even for the init's own messages.
    pub(super) fn overflows(&self) -> bool {
        self.waiting() >= OVERFLOW_BYTES
    }

    /// How many bytes are buffered.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// The buffer for lines; [`flush`](Sink::flush) writes them.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// The poll has reported space.
    pub(super) fn writable(&mut self, registry: &Registry) {
        self.blocked = false;
        self.flush(registry);
    }

    /// Makes space for more, if there is little.
    pub(super) fn flush_if_full(&mut self, registry: &Registry) {
        if self.is_full() {
            self.flush(registry);
        }
    }

    /// Writes as much as possible without blocking.
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

    /// There is no space, and the poll will not report it.
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

    /// There is no reader, the disk is full, or a similar error: it may change at any time, but the
    /// services do not wait for that.
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

    /// Before the next lines. First ends a line that was cut off.
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
