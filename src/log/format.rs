//! The format of lines, and how output is split into lines. Pure.

use std::time::SystemTime;

use serde::Serializer;
use serde::ser::SerializeMap;

use super::Channel;

/// The longest line in bytes, including everything around the text and the newline: Docker and the
/// kubelet's CRI cut at this length, and half an object is no JSON. A longer line is split into
/// several.
pub const LONGEST_LINE: usize = 16 * 1024;

/// The colours of the services, in rotation: no red, which looks like an error, and no black or white,
/// which is invisible on one background or the other.
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "96"];

/// The format of a stream's lines.
#[derive(Clone, Debug)]
pub struct Format {
    look: Look,
    /// The space for text in a line, in bytes as written.
    room: usize,
}

#[derive(Clone, Debug)]
enum Look {
    /// With this prefix.
    Prefix(Box<[u8]>),
    /// As one JSON object per line.
    Json {
        /// The service.
        service: Box<str>,
        /// The output.
        channel: Channel,
    },
}

/// A line, or a part of one that is too long; without the newline.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'text> {
    pub text: &'text [u8],
    /// Whether the line continues in the next piece.
    pub is_partial: bool,
}

impl Format {
    /// `[name] line`; optionally coloured, with the colour of this number.
    pub fn prefix(service: &str, colour: Option<usize>) -> Format {
        Format::after(match colour {
            Some(number) => {
                let colour = COLOURS[number % COLOURS.len()];
                format!("\x1b[{colour}m[{service}]\x1b[0m ")
            }
            None => format!("[{service}] "),
        })
    }

    /// Lines with this prefix, which is much shorter than a line may be.
    pub fn after(prefix: String) -> Format {
        let room = LONGEST_LINE - prefix.len() - 1;
        Format { look: Look::Prefix(prefix.into_bytes().into()), room }
    }

    /// One JSON object per line.
    pub fn json(service: &str, channel: Channel) -> Format {
        let mut empty = Vec::new();
        let piece = Piece { text: b"", is_partial: true };
        append_json(service, channel, piece, &TimeStamp::default(), &mut empty);
        let room = LONGEST_LINE - empty.len();
        Format { look: Look::Json { service: service.into(), channel }, room }
    }

    /// Appends a piece to `out`, as a line.
    pub fn append(&self, piece: Piece, time: &TimeStamp, out: &mut Vec<u8>) {
        match &self.look {
            Look::Prefix(prefix) => {
                out.extend_from_slice(prefix);
                out.extend_from_slice(piece.text);
                out.push(b'\n');
            }
            Look::Json { service, channel } => append_json(service, *channel, piece, time, out),
        }
    }

    /// Appends a whole line to `out`, in as many pieces as necessary.
    pub fn append_line(&self, line: &[u8], time: &TimeStamp, out: &mut Vec<u8>) {
        self.cut(line, |piece| self.append(piece, time, out));
    }

    /// Splits a whole line into pieces that fit.
    fn cut(&self, mut line: &[u8], mut each: impl FnMut(Piece)) {
        loop {
            let (text, rest) = line.split_at(self.fitting(line));
            each(Piece { text, is_partial: !rest.is_empty() });
            if rest.is_empty() {
                return;
            }
            line = rest;
        }
    }

    /// How much of the text fits into a line: all of it, or up to the start of a character.
    fn fitting(&self, text: &[u8]) -> usize {
        match self.look {
            Look::Prefix(_) if text.len() <= self.room => text.len(),
            Look::Prefix(_) => last_boundary(text, self.room),
            Look::Json { .. } if text.len() * LONGEST_ESCAPE <= self.room => text.len(),
            Look::Json { .. } => fitting_in_json(text, self.room),
        }
    }
}

/// The longest escape of a byte in JSON: `\u001b`.
const LONGEST_ESCAPE: usize = 6;

/// The last start of a UTF-8 character up to `most`, which is within the text; or `most`, if there is
/// none within the length of a character.
fn last_boundary(text: &[u8], most: usize) -> usize {
    let begins = |place: &usize| text[*place] & 0b1100_0000 != 0b1000_0000;
    (most - 3..=most).rev().find(begins).unwrap_or(most)
}

fn fitting_in_json(text: &[u8], room: usize) -> usize {
    let (mut taken, mut length) = (0, 0);
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().chars().map(|char| (char.len_utf8(), length_in_json(char)));
        let replaced = (chunk.invalid().len(), char::REPLACEMENT_CHARACTER.len_utf8());
        let invalid = (!chunk.invalid().is_empty()).then_some(replaced);
        for (bytes, written) in valid.chain(invalid) {
            length += written;
            if length > room {
                return taken;
            }
            taken += bytes;
        }
    }
    taken
}

/// The length in a string of serde_json.
fn length_in_json(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' | '\x08' | '\x0c' => 2,
        '\0'..='\x1f' => LONGEST_ESCAPE,
        other => other.len_utf8(),
    }
}

/// The time at which output was read; formatted at most once, and only if a line needs it.
#[derive(Debug, Default)]
pub struct TimeStamp(std::cell::OnceCell<String>);

impl TimeStamp {
    /// RFC 3339 in UTC, with microseconds.
    pub fn text(&self) -> &str {
        self.0.get_or_init(|| humantime::format_rfc3339_micros(SystemTime::now()).to_string())
    }
}

fn append_json(service: &str, channel: Channel, piece: Piece, time: &TimeStamp, out: &mut Vec<u8>) {
    let message = String::from_utf8_lossy(piece.text);
    let before = out.len();
    let mut serializer = serde_json::Serializer::new(&mut *out);
    let written = serializer.serialize_map(None).and_then(|mut map| {
        map.serialize_entry("time", time.text())?;
        map.serialize_entry("service", service)?;
        map.serialize_entry("stream", channel.name())?;
        map.serialize_entry("message", &message)?;
        if piece.is_partial {
            map.serialize_entry("partial", &true)?;
        }
        map.end()
    });
    match written {
        Ok(()) => out.push(b'\n'),
        // Writing strings to memory can't fail; if it does, half an object is useless.
        Err(_) => out.truncate(before),
    }
}

/// Splits a stream of bytes into lines.
#[derive(Debug, Default)]
pub struct LineSplitter {
    /// The start of an incomplete line; not longer than [`LONGEST_LINE`].
    partial: Vec<u8>,
}

impl LineSplitter {
    /// The start of an incomplete line.
    pub fn rest(&self) -> &[u8] {
        &self.partial
    }

    /// Calls `each` for each line in `bytes`, in pieces that fit the format, and keeps the rest.
    pub fn push(&mut self, mut bytes: &[u8], format: &Format, mut each: impl FnMut(Piece)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let line = &bytes[..end];
            bytes = &bytes[end + 1..];
            if self.partial.is_empty() {
                format.cut(line, &mut each);
                continue;
            }
            self.partial.extend_from_slice(line);
            // This also frees the memory: most services end their writes with a newline, and a thousand
            // idle buffers would use more memory than the rest of the init.
            format.cut(&std::mem::take(&mut self.partial), &mut each);
        }
        if !bytes.is_empty() {
            self.partial.extend_from_slice(bytes);
            self.cut_long(format, &mut each);
        }
    }

    /// Calls `each` for the rest, at end of file.
    pub fn finish(&mut self, format: &Format, each: impl FnMut(Piece)) {
        if !self.partial.is_empty() {
            format.cut(&std::mem::take(&mut self.partial), each);
        }
    }

    /// Emits what is certainly too long for one line. What may still fit is kept, so that a piece is
    /// always split with the following characters known.
    fn cut_long(&mut self, format: &Format, each: &mut impl FnMut(Piece)) {
        let mut done = 0;
        while self.partial.len() - done > LONGEST_LINE {
            let rest = &self.partial[done..];
            let end = format.fitting(rest);
            each(Piece { text: &rest[..end], is_partial: true });
            done += end;
        }
        self.partial.drain(..done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(format: &Format, chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        let mut keep = |piece: Piece| lines.push((piece.text.to_vec(), piece.is_partial));
        for chunk in chunks {
            splitter.push(chunk, format, &mut keep);
        }
        splitter.finish(format, &mut keep);
        lines
    }

    fn whole(text: &[u8]) -> Piece<'_> {
        Piece { text, is_partial: false }
    }

    /// Each piece as it is written.
    fn written(format: &Format, pieces: &[(Vec<u8>, bool)]) -> Vec<Vec<u8>> {
        let line = |(text, is_partial): &(Vec<u8>, bool)| {
            let mut out = Vec::new();
            let piece = Piece { text, is_partial: *is_partial };
            format.append(piece, &TimeStamp::default(), &mut out);
            out
        };
        pieces.iter().map(line).collect()
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let pieces = split(&Format::prefix("a", None), &[b"one\ntw", b"o\n\nthr", b"ee"]);
        let lines: Vec<&[u8]> = pieces.iter().map(|(text, _)| text.as_slice()).collect();
        assert_eq!(lines, [&b"one"[..], b"two", b"", b"three"]);
        assert!(pieces.iter().all(|(_, is_partial)| !is_partial));
    }

    #[test]
    fn an_endless_line_is_cut_so_that_its_pieces_fit() {
        let format = Format::prefix("web", None);
        let room = LONGEST_LINE - "[web] \n".len();
        let pieces = split(&format, &[&vec![b'x'; 2 * room + 1], b"\n"]);
        let lengths: Vec<usize> = written(&format, &pieces).iter().map(Vec::len).collect();
        assert_eq!(lengths, [LONGEST_LINE, LONGEST_LINE, "[web] x\n".len()]);
    }

    #[test]
    fn a_line_that_just_fits_stays_whole() {
        let format = Format::prefix("web", None);
        let longest = vec![b'x'; LONGEST_LINE - "[web] \n".len()];
        assert_eq!(split(&format, &[&longest, b"\n"]).len(), 1);
        assert_eq!(split(&format, &[&longest, b"x\n"]).len(), 2);
        let format = Format::json("web", Channel::Stdout);
        let longest = vec![b'x'; format.room];
        assert_eq!(split(&format, &[&longest, b"\n"]).len(), 1);
        assert_eq!(split(&format, &[&longest, b"\x1b\n"]).len(), 2);
    }

    #[test]
    fn json_says_what_is_a_part() {
        let format = Format::json("web", Channel::Stdout);
        let lines = written(&format, &split(&format, &[&[b'\x1b'; 7000], b"\nshort\n"]));
        let part = |line: &Vec<u8>| {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            (value["message"].as_str().unwrap().len(), value.get("partial").cloned())
        };
        let parts: Vec<_> = lines.iter().map(part).collect();
        let cut = |length| (length, Some(true.into()));
        let most = format.room / LONGEST_ESCAPE;
        assert_eq!(parts, [cut(most), cut(most), (7000 - 2 * most, None), (5, None)]);
    }

    #[test]
    fn json_lines_hold_any_bytes() {
        let mut out = Vec::new();
        Format::json("web", Channel::Stderr).append(
            whole(b"a\"b\x00\xff"),
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
        Format::prefix("web", None).append(whole(b"hi"), &TimeStamp::default(), &mut out);
        assert_eq!(out, b"[web] hi\n");
        out.clear();
        Format::prefix("web", Some(0)).append(whole(b"hi"), &TimeStamp::default(), &mut out);
        assert_eq!(out, b"\x1b[36m[web]\x1b[0m hi\n");
    }

    /// Characters of one to four bytes, escapes, and invalid UTF-8.
    fn anything() -> impl Strategy<Value = Vec<u8>> {
        let unit = prop_oneof![
            Just(b"x".to_vec()),
            Just("\u{e9}".as_bytes().to_vec()),
            Just("\u{20ac}".as_bytes().to_vec()),
            Just("\u{1f600}".as_bytes().to_vec()),
            Just(b"\"\\".to_vec()),
            Just(b"\x1b".to_vec()),
            Just(b"\xff".to_vec()),
            Just(b"\xe2\x82".to_vec()),
            Just(b"\x80".to_vec()),
            Just(b"\n".to_vec()),
        ];
        let run = (unit, 0..6000_usize).prop_map(|(unit, count)| match unit.as_slice() {
            b"\n" => unit,
            unit => unit.repeat(count),
        });
        proptest::collection::vec(run, 0..12).prop_map(|runs| runs.concat())
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_and_no_line_is_too_long(
            text in anything(), sizes in proptest::collection::vec(1..9000_usize, 1..20), json: bool,
        ) {
            let format = match json {
                true => Format::json("web", Channel::Stderr),
                false => Format::prefix("web", Some(3)),
            };
            let (mut rest, mut chunks) = (text.as_slice(), Vec::new());
            for size in sizes.iter().cycle() {
                let (chunk, more) = rest.split_at((*size).min(rest.len()));
                chunks.push(chunk);
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            let pieces = split(&format, &chunks);
            let mut again = Vec::new();
            for (piece, is_partial) in &pieces {
                again.extend_from_slice(piece);
                again.extend(std::iter::repeat_n(b'\n', usize::from(!is_partial)));
            }
            if !text.ends_with(b"\n") {
                prop_assert_eq!(again.pop().is_some(), !text.is_empty());
            }
            prop_assert_eq!(&again, &text);
            let lines = written(&format, &pieces);
            for line in &lines {
                prop_assert!(line.len() <= LONGEST_LINE, "{} bytes", line.len());
                prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            }
            // If a line is valid text, each of its pieces is.
            for (line, cut) in text.split(|byte| *byte == b'\n').filter_map(|line| {
                let text = std::str::from_utf8(line).ok()?;
                let mut cut = Vec::new();
                format.cut(line, |piece| cut.push(piece.text.to_vec()));
                Some((text, cut))
            }) {
                let cut: Vec<String> =
                    cut.into_iter().map(|piece| String::from_utf8(piece).unwrap()).collect();
                prop_assert_eq!(cut.concat(), line);
            }
            if json {
                let mut said = String::new();
                for line in &lines {
                    let value: serde_json::Value = serde_json::from_slice(line).unwrap();
                    said.push_str(value["message"].as_str().unwrap());
                    if value["partial"] != true {
                        said.push('\n');
                    }
                }
                let wanted = String::from_utf8_lossy(&again).into_owned();
                prop_assert_eq!(said.trim_end_matches('\n'), wanted.trim_end_matches('\n'));
            }
        }
    }
}
