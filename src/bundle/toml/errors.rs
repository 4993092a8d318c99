//! What is wrong with a bundle's file, all of it at once.

use std::fmt;
use std::ops::Range;

use crate::bundle::Place;

/// Everything that is wrong, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: String,
    errors: Vec<ConfigError>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// Where it stands.
    pub place: Place,
    /// What is wrong, and the fix.
    pub message: String,
}

impl ConfigErrors {
    /// What is wrong with the file of this name, of which there is something.
    pub fn new(file: &str, mut errors: Vec<ConfigError>) -> ConfigErrors {
        errors.sort();
        errors.dedup();
        ConfigErrors { file: file.to_owned(), errors }
    }

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
            let ConfigError { place: Place { line, column }, message } = error;
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
        self.found.push(ConfigError { place: self.place(&span), message: message.into() });
    }

    /// Where this part of the text begins.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place { line, column }
    }

    /// What is wrong so far.
    pub(super) fn verdict(&mut self, file: &str) -> Result<(), ConfigErrors> {
        if self.found.is_empty() {
            return Ok(());
        }
        Err(ConfigErrors::new(file, std::mem::take(&mut self.found)))
    }
}
