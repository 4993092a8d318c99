//! Reads one table of the file: each value by its key and kind, every wrong one a complaint.

use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use crate::bundle::listen::LONGEST_SOCKET_PATH;
use crate::diagnostics::{Diagnostics, Place};
use crate::duration::{self, LONGEST};
use crate::nearest::nearest;
use crate::words::Words;

/// What a value takes beside its text.
const VALUE_BYTES: usize = 32;

/// A value and where it stands.
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table, and the list that diagnostics go to.
pub(super) struct Section<'a, 'c, 'text> {
    table: &'a DeTable<'text>,
    /// What people call it: `[bundle]`.
    title: &'a str,
    pub(super) diagnostics: &'c mut Diagnostics<'text>,
}

impl<'a, 'c, 'text> Section<'a, 'c, 'text> {
    pub(super) fn new(
        table: &'a DeTable<'text>,
        title: &'a str,
        diagnostics: &'c mut Diagnostics<'text>,
    ) -> Section<'a, 'c, 'text> {
        Section { table, title, diagnostics }
    }

    /// Refuses every key that is not in `known`; `hints` are for those that other programs have.
    pub(super) fn only(&mut self, known: &[&str], hints: &[(&str, &str)]) {
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

    pub(super) fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'text>>> {
        self.table.get(key)
    }

    /// About how much memory it takes what the table says.
    pub(super) fn bytes(&self) -> usize {
        bytes_of(self.table)
    }

    pub(super) fn complain(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.diagnostics.add(span, message);
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        self.diagnostics.place(span)
    }

    pub(super) fn string(&mut self, key: &str) -> Option<Placed<&'a str>> {
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

    /// A program and its arguments.
    pub(super) fn command(&mut self, key: &str) -> Vec<OsString> {
        let Some(value) = self.get(key) else { return Vec::new() };
        if let DeValue::String(text) = value.get_ref() {
            let words: Vec<String> =
                text.split_whitespace().map(|word| format!("{word:?}")).collect();
            let message =
                format!("`{key}` is a list, one item an argument: [{}]", words.join(", "));
            self.complain(value.span(), message);
            return Vec::new();
        }
        let words = self.strings(key).unwrap_or_default();
        if words.first().is_none_or(|program| program.value.is_empty()) {
            self.complain(value.span(), format!("`{key}` names no program"));
        }
        words.into_iter().map(|word| word.value.into()).collect()
    }

    /// An absolute path.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let Placed { value, span } = self.string(key)?;
        if !value.starts_with('/') {
            self.complain(span, format!("`{key}` is an absolute path, one that begins with /"));
        }
        Some(value.into())
    }

    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong(value, key, "true or false, without quotes"),
        }
    }

    pub(super) fn integer(
        &mut self,
        key: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<i64> {
        let value = self.get(key)?;
        match integer_in(value.get_ref()).filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                self.wrong(value, key, &expected)
            }
        }
    }

    pub(super) fn duration(&mut self, key: &str) -> Option<Placed<Duration>> {
        self.duration_up_to(key, LONGEST)
    }

    pub(super) fn duration_up_to(
        &mut self,
        key: &str,
        longest: Duration,
    ) -> Option<Placed<Duration>> {
        let value = self.get(key)?;
        let DeValue::String(text) = value.get_ref() else {
            let expected = "a duration in quotes, like \"8s\", \"500ms\" or \"1m 30s\"";
            return self.wrong(value, key, expected);
        };
        match duration::parse(text, longest) {
            Ok(duration) => Some(Placed { value: duration, span: value.span() }),
            Err(reason) => {
                self.complain(value.span(), format!("`{key}`: {reason}"));
                None
            }
        }
    }

    /// Complains of the path of a Unix socket that the kernel would not take.
    pub(super) fn check_socket_path(&mut self, path: &str, span: Range<usize>) {
        if path.len() > LONGEST_SOCKET_PATH {
            let bytes = path.len();
            let message = format!(
                "the path of a Unix socket has at most {LONGEST_SOCKET_PATH} bytes, and this one \
                 has {bytes}"
            );
            self.complain(span, message);
        }
    }

    /// A text of which the type itself says whether it is right.
    pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &str,
    ) -> Option<Placed<T>> {
        let text = self.string(key)?;
        match text.value.parse() {
            Ok(value) => Some(Placed { value, span: text.span }),
            Err(error) => {
                self.complain(text.span, format!("`{key}`: {error}"));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Words>(&mut self, key: &str) -> Option<T> {
        let text = self.string(key)?;
        let found = T::from_word(text.value);
        if found.is_none() {
            let words: Vec<String> =
                T::all_words().iter().map(|word| format!("\"{word}\"")).collect();
            let message = format!("`{key}` is one of {}, not \"{}\"", words.join(", "), text.value);
            self.complain(text.span, message);
        }
        found
    }

    /// A list of texts. What is wrong with one of them does not hide the others.
    pub(super) fn strings(&mut self, key: &str) -> Option<Vec<Placed<&'a str>>> {
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

    pub(super) fn wrong<T>(
        &mut self,
        value: &Spanned<DeValue>,
        key: &str,
        expected: &str,
    ) -> Option<T> {
        self.complain(value.span(), format!("`{key}` takes {expected}"));
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

pub(super) fn integer_in(value: &DeValue) -> Option<i64> {
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
