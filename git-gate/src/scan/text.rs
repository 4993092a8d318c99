//! The text that gitleaks gets: one part after another, and which line belongs to which. Pure
//! but for the writer that it is handed.

use std::io::{self, Write};

/// What gitleaks gets first. It looks at the first bytes of its input, and skips all of it if
/// that looks like an archive or a program; so those bytes are ours.
const OPENING: &[u8] = b"git-gate: what is pushed follows\n\n";
/// So much white space that no rule takes the end of one part and the begin of the next for one.
const SEPARATOR: &[u8] = b"\n\n\n\n\n\n\n\n";

/// Where a part of the text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The names of the refs.
    Refs,
    /// An object, by its place in the list; as it is or decoded.
    Object { index: usize, kind: super::objects::Kind },
}

/// Which lines come from where.
#[derive(Debug, Default)]
pub(crate) struct Map {
    /// The first line of each part, from 1.
    parts: Vec<(usize, Origin)>,
}

impl Map {
    /// Where this line comes from, and which line of that it is.
    pub(crate) fn find(&self, line: usize) -> Option<(&Origin, usize)> {
        let after = self.parts.partition_point(|(first, _)| *first <= line);
        let (first, origin) = self.parts.get(after.checked_sub(1)?)?;
        Some((origin, line - first + 1))
    }
}

/// Writes the text, and draws the map.
pub(crate) struct Text<W> {
    writer: W,
    line: usize,
    /// How much has been written.
    pub(crate) bytes: u64,
    pub(crate) map: Map,
}

impl<W: Write> Text<W> {
    pub(crate) fn begin(writer: W) -> io::Result<Text<W>> {
        let mut text = Text { writer, line: 1, bytes: 0, map: Map::default() };
        text.write(OPENING)?;
        Ok(text)
    }

    pub(crate) fn part(&mut self, origin: Origin, contents: &[u8]) -> io::Result<()> {
        self.map.parts.push((self.line, origin));
        self.write(contents)?;
        self.write(SEPARATOR)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        self.line += bytes.iter().filter(|byte| **byte == b'\n').count();
        Ok(())
    }

    /// Everything is written: how much that was, and the map.
    pub(crate) fn end(mut self) -> io::Result<(u64, Map)> {
        self.writer.flush()?;
        Ok((self.bytes, self.map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::objects::Kind;
    use super::*;

    fn origin(index: usize) -> Origin {
        Origin::Object { index, kind: Kind::Blob }
    }

    proptest! {
        #[test]
        fn every_line_is_found_again(parts in proptest::collection::vec("[a-c\n]{0,9}", 1..9)) {
            let mut text = Text::begin(Vec::new()).unwrap();
            for (index, part) in parts.iter().enumerate() {
                text.part(origin(index), part.as_bytes()).unwrap();
            }
            let written = String::from_utf8(text.writer.clone()).unwrap();
            let (bytes, map) = text.end().unwrap();
            prop_assert_eq!(bytes, written.len() as u64);
            let lines: Vec<&str> = written.split('\n').collect();
            for (index, part) in parts.iter().enumerate() {
                let first = map.parts[index].0;
                for (offset, expected) in part.split('\n').enumerate() {
                    prop_assert_eq!(lines[first - 1 + offset], expected);
                    prop_assert_eq!(map.find(first + offset), Some((&origin(index), offset + 1)));
                }
            }
            prop_assert_eq!(map.find(1), None, "the opening is ours");
        }
    }
}
