//! Parses one table of the file: each value by its key and type; errors go to the diagnostics.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostics::{Diagnostics, Place};
use crate::nearest::nearest;

/// The memory of a value besides its text.
const VALUE_BYTES: usize = 32;

/// A value and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the text.
    pub span: Range<usize>,
}

/// A table, and the list of errors.
#[derive(Debug)]
pub struct Section<'a, 'c, 'text> {
    table: &'a DeTable<'text>,
    /// Its name in messages: `[bundle]`.
    title: &'a str,
    /// The errors so far.
    pub diagnostics: &'c mut Diagnostics<'text>,
}

impl<'a, 'c, 'text> Section<'a, 'c, 'text> {
    /// The table, with its name in messages.
    pub fn new(
        table: &'a DeTable<'text>,
        title: &'a str,
        diagnostics: &'c mut Diagnostics<'text>,
    ) -> Section<'a, 'c, 'text> {
        Section { table, title, diagnostics }
    }

    /// Reports every key that is not in `known`; `hints` are for keys of other programs.
    pub fn only(&mut self, known: &[&str], hints: &[(&str, &str)]) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            self.diagnostics.add_with(key.span(), || {
                let hint = match hints.iter().find(|(foreign, _)| *foreign == name) {
                    Some((_, hint)) => (*hint).to_owned(),
                    None => match nearest(name, known) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("it takes {}", known.join(", ")),
                    },
                };
                format!("unknown key `{name}` in {}; {hint}", self.title)
            });
        }
    }

    /// The value of this key.
    pub fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'text>>> {
        self.table.get(key)
    }

    /// About how much memory the values of the table need.
    pub fn bytes(&self) -> usize {
        bytes_of(self.table)
    }

    /// Adds an error at this position.
    pub fn report(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.diagnostics.add(span, message);
    }

    /// The position where this part of the text begins.
    pub fn place(&self, span: &Range<usize>) -> Place {
        self.diagnostics.place(span)
    }

    /// A text.
    pub fn string(&mut self, key: &str) -> Option<Placed<&'a str>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) if !text.contains('\0') => {
                Some(Placed { value: text.as_ref(), span: value.span() })
            }
            DeValue::String(_) => self.wrong(value, key, "text without a NUL"),
            other => {
                let example = format!("text in quotes, like {key} = \"…\", not {}", kind(other));
                self.wrong(value, key, &example)
            }
        }
    }

    /// An absolute path.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        let Placed { value, span } = self.string(key)?;
        if !value.starts_with('/') {
            self.report(span, format!("`{key}` is an absolute path, one that begins with /"));
        }
        Some(value.into())
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong(value, key, "true or false, without quotes"),
        }
    }

    /// A whole number within the range.
    pub fn integer<T>(&mut self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let value = self.get(key)?;
        let number = integer_in(value.get_ref()).and_then(|number| T::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                self.wrong(value, key, &expected)
            }
        }
    }

    /// A string that the type itself parses.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<Placed<T>> {
        let text = self.string(key)?;
        match text.value.parse() {
            Ok(value) => Some(Placed { value, span: text.span }),
            Err(error) => {
                self.report(text.span, format!("`{key}`: {error}"));
                None
            }
        }
    }

    /// A string that `read` parses; `example` is shown in errors.
    pub fn text_as<T>(
        &mut self,
        key: &str,
        example: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let value = self.get(key)?;
        let DeValue::String(text) = value.get_ref() else { return self.wrong(value, key, example) };
        match read(text) {
            Ok(read) => Some(Placed { value: read, span: value.span() }),
            Err(reason) => {
                self.report(value.span(), format!("`{key}`: {reason}"));
                None
            }
        }
    }

    /// One of a few words, as the value of the word.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(T, &str)]) -> Option<T> {
        let text = self.string(key)?;
        let found = words.iter().find(|(_, word)| *word == text.value);
        if found.is_none() {
            let words: Vec<String> = words.iter().map(|(_, word)| format!("\"{word}\"")).collect();
            let message = format!("`{key}` is one of {}, not \"{}\"", words.join(", "), text.value);
            self.report(text.span, message);
        }
        found.map(|(value, _)| *value)
    }

    /// A string that `read` parses; `expected` is shown in errors.
    pub fn text_like<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        value.get_ref().as_str().and_then(read).or_else(|| self.wrong(value, key, expected))
    }

    /// A list of strings. An error in one of them does not hide the others.
    pub fn strings(&mut self, key: &str) -> Option<Vec<Placed<&'a str>>> {
        let value = self.get(key)?;
        let expected = "a list of texts, like [\"one\", \"two\"]";
        let DeValue::Array(items) = value.get_ref() else {
            return self.wrong(value, key, expected);
        };
        let mut texts = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) if !text.contains('\0') => {
                    texts.push(Placed { value: text.as_ref(), span: item.span() });
                }
                _ => {
                    let _: Option<()> = self.wrong(item, key, expected);
                }
            }
        }
        Some(texts)
    }

    /// The table of this key, like `[bundle]`.
    pub fn table(&mut self, key: &str) -> Option<&'a DeTable<'text>> {
        self.table_like(key, &format!("a table: [{key}]"))
    }

    /// The table of this key; `expected` is shown in errors.
    pub fn table_like(&mut self, key: &str, expected: &str) -> Option<&'a DeTable<'text>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => self.wrong(value, key, expected),
        }
    }

    /// The tables of this key, like `[[service]]`, and their positions.
    pub fn tables(&mut self, key: &str) -> Vec<(&'a DeTable<'text>, Range<usize>)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let expected = format!("double brackets for each one: [[{key}]]");
        let DeValue::Array(items) = value.get_ref() else {
            return self.wrong(value, key, &expected).unwrap_or_default();
        };
        let mut found = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => found.push((table, item.span())),
                _ => self.wrong::<()>(item, key, &expected).unwrap_or_default(),
            }
        }
        found
    }

    /// Reports which value is expected.
    pub fn wrong<T>(&mut self, value: &Spanned<DeValue>, key: &str, expected: &str) -> Option<T> {
        self.report(value.span(), format!("`{key}` takes {expected}"));
        None
    }
}

fn bytes_of(table: &DeTable) -> usize {
    fn of(value: &DeValue) -> usize {
        VALUE_BYTES
            + match value {
                DeValue::String(text) => text.len(),
                DeValue::Array(items) => items.iter().map(|item| of(item.get_ref())).sum(),
                DeValue::Table(table) => bytes_of(table),
                _ => 0,
            }
    }
    table.iter().map(|(key, value)| key.get_ref().len() + of(value.get_ref())).sum()
}

/// The value as a whole number.
pub fn integer_in(value: &DeValue) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn kind(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
