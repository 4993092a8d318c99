//! The errors of a configuration, each with its position.

use std::fmt;
use std::ops::Range;

/// Further errors are only counted: a file of another kind has an error in every line.
pub const MOST_SHOWN: usize = 50;

/// A position in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// From 1; 0: not in a file.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// All errors, in the order of the file; at least one. Of very many only the first are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: String,
    errors: Vec<ConfigError>,
    /// The number of the others, and the position of one of them.
    more: Option<(usize, Place)>,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// Its position.
    pub place: Place,
    /// What is wrong, and the fix.
    pub message: String,
}

impl ConfigErrors {
    /// The errors of the file with this name; at least one.
    pub fn new(file: &str, mut errors: Vec<ConfigError>) -> ConfigErrors {
        errors.sort();
        errors.dedup();
        let left_out = errors.len().saturating_sub(MOST_SHOWN);
        let more = errors.get(MOST_SHOWN).map(|first| (left_out, first.place));
        errors.truncate(MOST_SHOWN);
        ConfigErrors { file: file.to_owned(), errors, more }
    }

    /// The errors that are shown.
    pub fn all(&self) -> &[ConfigError] {
        &self.errors
    }
}

/// One line each: `FILE:LINE:COLUMN: MESSAGE`.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            let ConfigError { place: Place { line, column }, message } = error;
            match line {
                // It is not in a file.
                0 => write!(f, "{newline}{}: {message}", self.file)?,
                _ => write!(f, "{newline}{}:{line}:{column}: {message}", self.file)?,
            }
        }
        if let Some((count, Place { line, column })) = self.more {
            let file = &self.file;
            write!(f, "\n{file}:{line}:{column}: one of {count} more errors, which are not shown")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects errors while a file is parsed.
#[derive(Debug)]
pub struct Diagnostics<'text> {
    lines: Lines<'text>,
    found: Vec<ConfigError>,
    more: Option<(usize, Place)>,
}

impl<'text> Diagnostics<'text> {
    /// No errors yet.
    pub fn new(text: &'text str) -> Diagnostics<'text> {
        Diagnostics { lines: Lines::of(text), found: Vec::new(), more: None }
    }

    /// Adds an error at this position.
    pub fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.add_with(span, || message.into());
    }

    /// Adds an error whose message is built only if it is shown.
    pub fn add_with(&mut self, span: Range<usize>, message: impl FnOnce() -> String) {
        if self.found.len() < MOST_SHOWN {
            let place = self.place(&span);
            self.found.push(ConfigError { place, message: message() });
            return;
        }
        match &mut self.more {
            Some((count, _)) => *count += 1,
            None => self.more = Some((1, self.lines.place(span.start))),
        }
    }

    /// The position where this part of the text begins.
    pub fn place(&self, span: &Range<usize>) -> Place {
        self.lines.place(span.start)
    }

    /// The errors so far.
    pub fn verdict(&mut self, file: &str) -> Result<(), ConfigErrors> {
        if self.found.is_empty() {
            return Ok(());
        }
        let errors = ConfigErrors::new(file, std::mem::take(&mut self.found));
        Err(ConfigErrors { more: self.more.take(), ..errors })
    }
}

/// Finds lines and columns without scanning the whole text each time.
#[derive(Debug)]
struct Lines<'text> {
    text: &'text [u8],
    /// The start of each line.
    starts: Vec<usize>,
    /// The number of characters before each block.
    characters: Vec<usize>,
}

/// How many bytes are counted for a column at most; a line may be as long as the file.
const BLOCK: usize = 1024;

impl<'text> Lines<'text> {
    fn of(text: &'text str) -> Lines<'text> {
        let text = text.as_bytes();
        let starts = [0].into_iter().chain(memchr::memchr_iter(b'\n', text).map(|end| end + 1));
        let mut before = 0;
        let characters = text.chunks(BLOCK).map(|block| {
            let here = before;
            before += count(block);
            here
        });
        Lines { text, starts: starts.collect(), characters: characters.collect() }
    }

    fn place(&self, at: usize) -> Place {
        let at = at.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= at);
        let start = line.checked_sub(1).and_then(|index| self.starts.get(index));
        let column = self.before(at) - self.before(start.copied().unwrap_or(0)) + 1;
        Place { line, column }
    }

    /// The number of characters before this byte.
    fn before(&self, at: usize) -> usize {
        let block = (at / BLOCK).min(self.characters.len().saturating_sub(1));
        let rest = self.text.get(block * BLOCK..at).map_or(0, count);
        self.characters.get(block).copied().unwrap_or(0) + rest
    }
}

/// The number of UTF-8 characters that begin in these bytes.
fn count(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0b1100_0000 != 0b1000_0000).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_in_lines_of_any_length() {
        let long = "ä".repeat(3 * BLOCK);
        let text = format!("one\n{long}x\n\n{long}");
        let lines = Lines::of(&text);
        let place = |line, column| Place { line, column };
        let slowly = |at: usize| {
            let before = &text[..at];
            let line = before.matches('\n').count() + 1;
            place(line, before.rsplit('\n').next().unwrap().chars().count() + 1)
        };
        for (at, _) in text.char_indices() {
            assert_eq!(lines.place(at), slowly(at), "byte {at}");
        }
        assert_eq!(lines.place(text.len()), slowly(text.len()));
        assert_eq!(lines.place(usize::MAX), slowly(text.len()));
        assert_eq!(Lines::of("").place(0), place(1, 1));
    }

    #[test]
    fn of_very_much_that_is_wrong_a_part_is_shown_and_the_rest_counted() {
        let text = "x\n".repeat(3 * MOST_SHOWN);
        let mut diagnostics = Diagnostics::new(&text);
        for line in 0..3 * MOST_SHOWN {
            diagnostics.add_with(2 * line..2 * line + 1, || {
                assert!(line < MOST_SHOWN, "this one is not shown");
                "wrong".to_owned()
            });
        }
        let errors = diagnostics.verdict("b.toml").unwrap_err();
        assert_eq!(errors.all().len(), MOST_SHOWN);
        let text = errors.to_string();
        let last = text.lines().last().unwrap();
        assert_eq!(last, "b.toml:51:1: one of 100 more errors, which are not shown");

        let error = |line| ConfigError { place: Place { line, column: 1 }, message: "x".into() };
        let many = ConfigErrors::new("b.toml", (1..=MOST_SHOWN + 2).map(error).collect());
        let many = many.to_string();
        assert!(many.contains("\nb.toml:51:1: one of 2 more errors"), "{many}");
        let few = ConfigErrors::new("b.toml", vec![error(1)]);
        assert_eq!(few.to_string(), "b.toml:1:1: x");
    }
}
