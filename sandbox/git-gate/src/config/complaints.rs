//! What is wrong with the file, all of it at once, each at its line and column.

use std::fmt;
use std::ops::Range;

/// Everything that is wrong, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigErrors {
    file: String,
    errors: Vec<(usize, usize, String)>,
}

/// One line each: `FILE:LINE:COLUMN: MESSAGE`.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (line, column, message)) in self.errors.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{line}:{column}: {message}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects what is wrong while a file is read.
#[derive(Debug)]
pub(crate) struct Complaints<'text> {
    text: &'text str,
    found: Vec<(usize, usize, String)>,
}

impl<'text> Complaints<'text> {
    pub(crate) fn new(text: &'text str) -> Complaints<'text> {
        Complaints { text, found: Vec::new() }
    }

    /// Something is wrong at this place of the text.
    pub(crate) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.found.push((line, column, message.into()));
    }

    /// What is wrong so far.
    pub(crate) fn verdict(&mut self, file: &str) -> Result<(), ConfigErrors> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut errors = std::mem::take(&mut self.found);
        errors.sort();
        errors.dedup();
        Err(ConfigErrors { file: file.to_owned(), errors })
    }
}
