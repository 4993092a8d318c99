//! Reads one table of the file: each value by its key and kind, every wrong one a complaint.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::complaints::Complaints;
use super::size;

/// A value and where it stands.
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table, and the list that complaints go to.
pub(super) struct Section<'a, 'c, 'text> {
    table: &'a DeTable<'text>,
    /// What people call it: `[gate]`.
    title: &'a str,
    pub(super) complaints: &'c mut Complaints<'text>,
}

impl<'a, 'c, 'text> Section<'a, 'c, 'text> {
    pub(super) fn new(
        table: &'a DeTable<'text>,
        title: &'a str,
        complaints: &'c mut Complaints<'text>,
    ) -> Section<'a, 'c, 'text> {
        Section { table, title, complaints }
    }

    /// Refuses every key that is not in `known`.
    pub(super) fn only(&mut self, known: &[&str]) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let message = format!(
                    "unknown key `{name}` in {}; it takes {}",
                    self.title,
                    known.join(", ")
                );
                self.complaints.add(key.span(), message);
            }
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'text>>> {
        self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    pub(super) fn complain(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.complaints.add(span, message);
    }

    pub(super) fn string(&mut self, key: &str) -> Option<Placed<&'a str>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) if !text.is_empty() && !text.contains(char::is_control) => {
                Some(Placed { value: text.as_ref(), span: value.span() })
            }
            DeValue::String(_) => self.wrong(value, key, "text, not empty and on one line"),
            _ => self.wrong(value, key, &format!("text in quotes, like {key} = \"…\"")),
        }
    }

    /// An absolute path: the gate's working directory is nothing to rely on.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.string(key)?;
        if text.value.starts_with('/') {
            return Some(PathBuf::from(text.value));
        }
        self.complain(text.span, format!("`{key}` is an absolute path, one that begins with /"));
        None
    }

    pub(super) fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                self.wrong(value, key, &expected)
            }
        }
    }

    pub(super) fn duration(&mut self, key: &str) -> Option<Placed<Duration>> {
        let value = self.get(key)?;
        let parsed = match value.get_ref() {
            DeValue::String(text) => humantime::parse_duration(text).ok(),
            _ => None,
        };
        match parsed.filter(|duration| *duration >= Duration::from_secs(1)) {
            Some(duration) => Some(Placed { value: duration, span: value.span() }),
            None => self.wrong(value, key, "at least \"1s\", in quotes, like \"30s\" or \"10m\""),
        }
    }

    pub(super) fn size(&mut self, key: &str) -> Option<u64> {
        let value = self.get(key)?;
        let parsed = match value.get_ref() {
            DeValue::String(text) => size::parse(text),
            _ => None,
        };
        match parsed {
            Some(size) => Some(size),
            None => self.wrong(value, key, "a size in quotes, like \"100MiB\" or \"2GiB\""),
        }
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
                DeValue::String(text) => {
                    texts.push(Placed { value: text.as_ref(), span: item.span() });
                }
                _ => self.wrong::<()>(item, key, expected).unwrap_or_default(),
            }
        }
        Some(texts)
    }

    /// Says what a value has to be, and that it is not.
    pub(super) fn wrong<T>(
        &mut self,
        value: &Spanned<DeValue>,
        key: &str,
        expected: &str,
    ) -> Option<T> {
        self.complain(value.span(), format!("`{key}` has to be {expected}"));
        None
    }
}
