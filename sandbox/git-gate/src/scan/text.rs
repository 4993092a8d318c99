//! The text that gitleaks gets: one part after another, and which line belongs to which. Pure
//! but for where it is sent.
//!
//! gitleaks looks at one fragment at a time, and no rule sees over its end. A fragment is what one
//! read(2) into 100,000 bytes gives; if that does not end with a blank line, up to 25,000 bytes more
//! are taken, up to the next blank line. Whoever pushes could count out where that is. So we say
//! where fragments end: the text goes as messages, of which a read gives exactly one; each fits in
//! the buffer, and ends with blank lines. A part that is longer than a message goes as windows that
//! overlap, so that what is cut by the end of one is whole in the next.
//!
//! That gitleaks still reads so is seen at each scan: what does not fit in another one's buffer is
//! lost, and then its count of bytes is not ours.

use std::io;

/// What gitleaks gets first. It looks at the first bytes of its input, and skips all of it if
/// that looks like an archive or a program; so those bytes are ours.
const OPENING: &[u8] = b"git-gate: what is pushed follows\n\n";
/// So much white space that no rule takes the end of one part and the begin of the next for one.
const SEPARATOR: &[u8] = b"\n\n\n\n\n\n\n\n";
/// As much as gitleaks reads at once.
const MESSAGE: usize = 100_000;
const WINDOW: usize = MESSAGE - SEPARATOR.len();
/// What two windows have in common at least: a secret of this length is whole in one of them.
const OVERLAP: usize = 20_000;
/// So far back is looked for a better place to cut, as half of a secret may be found too, as another.
const SLACK: usize = 4_000;

/// Where a part of the text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The names of the refs.
    Refs,
    /// An object, by its place in the list; as it is or decoded.
    Object { index: usize, kind: super::objects::Kind },
}

/// A part, or a window of one.
#[derive(Debug)]
struct Piece {
    /// Its first line in the text, from 1.
    line: usize,
    origin: Origin,
    /// Its first line in the part, from 1.
    of_part: usize,
}

/// Which lines come from where.
#[derive(Debug, Default)]
pub(crate) struct Map {
    pieces: Vec<Piece>,
}

impl Map {
    /// Where this line comes from, and which line of that it is.
    pub(crate) fn find(&self, line: usize) -> Option<(&Origin, usize)> {
        let after = self.pieces.partition_point(|piece| piece.line <= line);
        let piece = self.pieces.get(after.checked_sub(1)?)?;
        Some((&piece.origin, line - piece.line + piece.of_part))
    }
}

/// Sends the text, and draws the map.
pub(crate) struct Text<S> {
    send: S,
    /// Not sent yet: whole pieces, and never more than a message.
    message: Vec<u8>,
    line: usize,
    bytes: u64,
    map: Map,
}

impl<S: FnMut(&[u8]) -> io::Result<()>> Text<S> {
    pub(crate) fn begin(send: S) -> Text<S> {
        let message = Vec::with_capacity(MESSAGE);
        let mut text = Text { send, message, line: 1, bytes: 0, map: Map::default() };
        text.add(OPENING);
        text
    }

    pub(crate) fn part(&mut self, origin: Origin, contents: &[u8]) -> io::Result<()> {
        let (mut start, mut of_part) = (0, 1);
        loop {
            let end = end(contents, start);
            let piece = &contents[start..end];
            if self.message.len() + piece.len() + SEPARATOR.len() > MESSAGE {
                self.send()?;
            }
            self.map.pieces.push(Piece { line: self.line, origin: origin.clone(), of_part });
            self.add(piece);
            self.add(SEPARATOR);
            if end == contents.len() {
                return Ok(());
            }
            let next = cut(contents, end - OVERLAP);
            of_part += newlines(&contents[start..next]);
            start = next;
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.message.extend_from_slice(bytes);
        self.line += newlines(bytes);
    }

    fn send(&mut self) -> io::Result<()> {
        (self.send)(&self.message)?;
        self.bytes += self.message.len() as u64;
        self.message.clear();
        Ok(())
    }

    /// Sends the rest: how much all of it was, and the map.
    pub(crate) fn end(mut self) -> io::Result<(u64, Map)> {
        self.send()?;
        Ok((self.bytes, self.map))
    }
}

/// Where the window ends that begins at `start`.
fn end(contents: &[u8], start: usize) -> usize {
    if contents.len() - start <= WINDOW { contents.len() } else { cut(contents, start + WINDOW) }
}

/// The best place to cut that is not behind `at`, nor far before it: where a line begins, or a word.
fn cut(contents: &[u8], at: usize) -> usize {
    let first = at.saturating_sub(SLACK);
    let behind = |is_end: fn(&u8) -> bool| contents[first..at].iter().rposition(is_end);
    let place = behind(|byte| *byte == b'\n').or_else(|| behind(u8::is_ascii_whitespace));
    place.map_or(at, |place| first + place + 1)
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::objects::Kind;
    use super::*;

    fn origin(index: usize) -> Origin {
        Origin::Object { index, kind: Kind::Blob }
    }

    /// The messages of these parts, and the map.
    fn sent(parts: &[impl AsRef<[u8]>]) -> (Vec<Vec<u8>>, u64, Map) {
        let mut messages = Vec::new();
        let mut text = Text::begin(|message: &[u8]| {
            messages.push(message.to_owned());
            Ok(())
        });
        for (index, part) in parts.iter().enumerate() {
            text.part(origin(index), part.as_ref()).unwrap();
        }
        let (bytes, map) = text.end().unwrap();
        (messages, bytes, map)
    }

    #[test]
    fn small_parts_share_a_message() {
        let (messages, ..) = sent(&vec![vec![b'x'; 1000]; 200]);
        assert_eq!(messages.len(), 3);
    }

    #[test]
    fn a_window_is_as_long_as_gitleaks_reads() {
        let (messages, ..) = sent(&[vec![b'x'; WINDOW]]);
        let lengths: Vec<usize> = messages.iter().map(Vec::len).collect();
        assert_eq!(lengths, [OPENING.len(), MESSAGE]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn every_line_is_found_again(parts in proptest::collection::vec("[a-c\n]{0,9}", 1..9)) {
            let (messages, bytes, map) = sent(&parts);
            let written = String::from_utf8(messages.concat()).unwrap();
            prop_assert_eq!(bytes, written.len() as u64);
            let lines: Vec<&str> = written.split('\n').collect();
            for (index, part) in parts.iter().enumerate() {
                let first = map.pieces[index].line;
                for (offset, expected) in part.split('\n').enumerate() {
                    prop_assert_eq!(lines[first - 1 + offset], expected);
                    prop_assert_eq!(map.find(first + offset), Some((&origin(index), offset + 1)));
                }
            }
            prop_assert_eq!(map.find(1), None, "the opening is ours");
        }

        /// Lines of any length, some with words in them.
        #[test]
        fn what_is_not_longer_than_the_overlap_is_whole_in_a_message(
            lines in proptest::collection::vec((0..60_000usize, "[ x]"), 1..9),
            at in any::<proptest::sample::Index>(),
        ) {
            let mut part = String::new();
            for (length, end) in lines {
                part.push_str(&"-".repeat(length));
                part.push_str(&end);
                part.push('\n');
            }
            // A mark as long as the overlap, at any place.
            let mut part = part.into_bytes();
            part.resize(part.len().max(OVERLAP), b'-');
            let at = at.index(part.len() - OVERLAP + 1);
            part[at..at + OVERLAP].fill(b'!');
            let (messages, bytes, map) = sent(&[&part]);
            prop_assert_eq!(bytes, messages.concat().len() as u64);
            for message in &messages {
                prop_assert!(message.len() <= MESSAGE && message.ends_with(b"\n\n"));
            }
            let written = messages.concat();
            let mut whole = 0;
            let mut place = 0;
            while let Some(mark) = written[place..].iter().position(|byte| *byte == b'!') {
                let start = place + mark;
                let length = written[start..].iter().take_while(|byte| **byte == b'!').count();
                place = start + length;
                if length == OVERLAP {
                    whole += 1;
                    let line = map.find(1 + newlines(&written[..start])).unwrap().1;
                    prop_assert_eq!(line, 1 + newlines(&part[..at]));
                }
            }
            prop_assert!(whole > 0);
            // Each byte at most twice.
            prop_assert!(whole <= 2);
        }
    }
}
