//! What is wrong with a bundle's file, all of it at once.

use std::fmt;
use std::ops::Range;

/// Everything that is wrong, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: String,
    errors: Vec<ConfigError>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, and the fix.
    pub message: String,
}

impl ConfigErrors {
    /// All of them.
    pub fn all(&self) -> &[ConfigError] {
        &self.errors
    }
}

/// One line each: `FILE:LINE:COLUMN: MESSAGE`.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            let ConfigError { line, column, message } = error;
            write!(f, "{newline}{}:{line}:{column}: {message}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects what is wrong while a file is read.
#[derive(Debug)]
pub(super) struct Complaints<'text> {
    text: &'text str,
    found: Vec<ConfigError>,
}

impl<'text> Complaints<'text> {
    pub(super) fn new(text: &'text str) -> Complaints<'text> {
        Complaints { text, found: Vec::new() }
    }

    /// Something is wrong at this place of the text.
    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.found.push(ConfigError { line, column, message: message.into() });
    }

    /// What is wrong so far.
    pub(super) fn verdict(&mut self, file: &str) -> Result<(), ConfigErrors> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut errors = std::mem::take(&mut self.found);
        errors.sort();
        errors.dedup();
        Err(ConfigErrors { file: file.to_owned(), errors })
    }
}
