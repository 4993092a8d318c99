//! How one line looks, and where a stretch of output has its lines. Pure.

use std::time::SystemTime;

use serde::Serializer;
use serde::ser::SerializeMap;

use super::Channel;

/// The longest line that is passed on whole, in bytes; Docker's log drivers cut at the same
/// length. What is longer is passed on in pieces of this size, each as a line of its own.
pub const LONGEST_LINE: usize = 16 * 1024;

/// The colours that services take turns in: no red, which people read as an error, and no
/// black or white, which one background or the other swallows.
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "96"];

/// How the lines of one stream are to look.
#[derive(Clone, Debug)]
pub enum Format {
    /// After this prefix.
    Prefix(Box<[u8]>),
    /// As one JSON object each.
    Json {
        /// Where it comes from.
        service: Box<str>,
        /// Which of its outputs.
        channel: Channel,
    },
}

impl Format {
    /// `[name] line`; with a colour that goes by `number` where one is wanted.
    pub fn prefix(service: &str, colour: Option<usize>) -> Format {
        let text = match colour {
            Some(number) => {
                let colour = COLOURS[number % COLOURS.len()];
                format!("\x1b[{colour}m[{service}]\x1b[0m ")
            }
            None => format!("[{service}] "),
        };
        Format::Prefix(text.into_bytes().into())
    }

    /// One JSON object a line.
    pub fn json(service: &str, channel: Channel) -> Format {
        Format::Json { service: service.into(), channel }
    }

    /// Appends `line`, which has no newline at its end, to `out`.
    pub fn append(&self, line: &[u8], time: &TimeStamp, out: &mut Vec<u8>) {
        match self {
            Format::Prefix(prefix) => {
                out.extend_from_slice(prefix);
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            Format::Json { service, channel } => {
                let message = String::from_utf8_lossy(line);
                append_json(service, *channel, &message, time, out);
            }
        }
    }
}

/// When a stretch of output was read. The text is made only if a line wants it, and once.
#[derive(Debug, Default)]
pub struct TimeStamp(std::cell::OnceCell<String>);

impl TimeStamp {
    /// RFC 3339 in UTC, with microseconds.
    pub fn text(&self) -> &str {
        self.0.get_or_init(|| humantime::format_rfc3339_micros(SystemTime::now()).to_string())
    }
}

fn append_json(
    service: &str,
    channel: Channel,
    message: &str,
    time: &TimeStamp,
    out: &mut Vec<u8>,
) {
    let before = out.len();
    let mut serializer = serde_json::Serializer::new(&mut *out);
    let written = serializer.serialize_map(Some(4)).and_then(|mut map| {
        map.serialize_entry("time", time.text())?;
        map.serialize_entry("service", service)?;
        map.serialize_entry("stream", channel.name())?;
        map.serialize_entry("message", message)?;
        map.end()
    });
    match written {
        Ok(()) => out.push(b'\n'),
        // Writing strings to memory can't fail; if it ever does, half an object helps nobody.
        Err(_) => out.truncate(before),
    }
}

/// Cuts a stream of bytes into lines, of which the last may still be growing.
#[derive(Debug, Default)]
pub struct LineSplitter {
    /// The beginning of a line whose end has not come yet; shorter than [`LONGEST_LINE`].
    partial: Vec<u8>,
}

impl LineSplitter {
    /// Calls `line` for each whole line in `bytes`, and keeps the rest.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.end_of_line(&bytes[..end], &mut line);
            bytes = &bytes[end + 1..];
        }
        if !bytes.is_empty() {
            self.partial.extend_from_slice(bytes);
            self.cut_long(&mut line);
        }
    }

    /// Calls `line` for what is left, because no more will come.
    pub fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            line(&std::mem::take(&mut self.partial));
        }
    }

    fn end_of_line(&mut self, end: &[u8], line: &mut impl FnMut(&[u8])) {
        if self.partial.is_empty() && end.len() <= LONGEST_LINE {
            return line(end);
        }
        self.partial.extend_from_slice(end);
        self.cut_long(line);
        // The memory goes back too: most services end their writes with a newline, and a
        // thousand idle buffers would be the largest thing the init has.
        line(&std::mem::take(&mut self.partial));
    }

    fn cut_long(&mut self, line: &mut impl FnMut(&[u8])) {
        while self.partial.len() > LONGEST_LINE {
            line(&self.partial[..LONGEST_LINE]);
            self.partial.drain(..LONGEST_LINE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line.to_vec()));
        }
        splitter.finish(|line| lines.push(line.to_vec()));
        lines
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        assert_eq!(split(&[b"one\ntw", b"o\n\nthr", b"ee"]), [&b"one"[..], b"two", b"", b"three"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let endless = vec![b'x'; 2 * LONGEST_LINE + 1];
        let lengths: Vec<usize> = split(&[&endless, b"\n"]).iter().map(Vec::len).collect();
        assert_eq!(lengths, [LONGEST_LINE, LONGEST_LINE, 1]);
    }

    #[test]
    fn a_line_of_just_the_longest_length_stays_whole() {
        let longest = vec![b'x'; LONGEST_LINE];
        assert_eq!(split(&[&longest, b"\n"]).len(), 1);
    }

    #[test]
    fn json_lines_hold_any_bytes() {
        let mut out = Vec::new();
        Format::json("web", Channel::Stderr).append(
            b"a\"b\x00\xff",
            &TimeStamp::default(),
            &mut out,
        );
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["service"], "web");
        assert_eq!(value["stream"], "stderr");
        assert_eq!(value["message"], "a\"b\u{0}\u{fffd}");
    }

    #[test]
    fn a_prefix_is_coloured_only_when_asked() {
        let mut out = Vec::new();
        Format::prefix("web", None).append(b"hi", &TimeStamp::default(), &mut out);
        assert_eq!(out, b"[web] hi\n");
        out.clear();
        Format::prefix("web", Some(0)).append(b"hi", &TimeStamp::default(), &mut out);
        assert_eq!(out, b"\x1b[36m[web]\x1b[0m hi\n");
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_and_no_line_is_too_long(
            pieces in proptest::collection::vec((0..5000_usize, any::<bool>()), 0..30),
        ) {
            let chunks: Vec<Vec<u8>> = pieces
                .into_iter()
                .map(|(length, ends)| [vec![b'x'; length], vec![b'\n'; usize::from(ends)]].concat())
                .collect();
            let whole = chunks.concat();
            let refs: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let lines = split(&refs);
            prop_assert!(lines.iter().all(|line| line.len() <= LONGEST_LINE));
            let without_newlines: Vec<u8> = whole.into_iter().filter(|byte| *byte != b'\n').collect();
            prop_assert_eq!(lines.concat(), without_newlines);
        }
    }
}
