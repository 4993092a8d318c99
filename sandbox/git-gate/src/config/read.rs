//! Text to `Config`: strict, and with everything that is wrong said at once.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::complaints::{Complaints, ConfigErrors};
use super::section::Section;
use super::{Config, gate, upstream};

const TOP_KEYS: [&str; 2] = ["gate", "upstream"];

/// Every key of every table, for the test that compares them with the documentation.
#[cfg(test)]
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    gate::KEYS.into_iter().chain(upstream::KEYS)
}

/// Reads the configuration in `text`; `file` is its name in messages.
///
/// # Errors
/// Everything that is wrong with it, each with its place and the fix.
pub(crate) fn parse(file: &str, text: &str) -> Result<Config, ConfigErrors> {
    let mut complaints = Complaints::new(text);
    let (table, syntax_errors) = DeTable::parse_recoverable(text);
    for error in &syntax_errors {
        complaints.add(error.span().unwrap_or_default(), error.message());
    }
    // What else is wrong may follow from a broken line, and would only hide it.
    complaints.verdict(file)?;
    let config = config(table.get_ref(), &mut complaints);
    complaints.verdict(file)?;
    Ok(config)
}

fn config<'text>(top: &DeTable<'text>, complaints: &mut Complaints<'text>) -> Config {
    let mut section = Section::new(top, "the file", complaints);
    section.only(&TOP_KEYS);
    let empty = DeTable::new();
    let table = table(&mut section, "gate").unwrap_or(&empty);
    let upstreams = tables(&mut section, "upstream");
    let gate = gate::gate(table, complaints);
    let upstreams = upstream::upstreams(&upstreams, &gate.protocols, complaints);
    Config { gate, upstreams }
}

fn table<'a, 'text>(section: &mut Section<'a, '_, 'text>, key: &str) -> Option<&'a DeTable<'text>> {
    let value = section.get(key)?;
    match value.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => section.wrong(value, key, &format!("a table: [{key}]")),
    }
}

fn tables<'a, 'text>(
    section: &mut Section<'a, '_, 'text>,
    key: &str,
) -> Vec<(&'a DeTable<'text>, Range<usize>)> {
    let Some(value) = section.get(key) else { return Vec::new() };
    let wrong = |section: &mut Section, value: &Spanned<DeValue>| {
        section.wrong::<()>(value, key, &format!("double brackets for each one: [[{key}]]"));
    };
    let DeValue::Array(items) = value.get_ref() else {
        wrong(section, value);
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in items.iter() {
        match item.get_ref() {
            DeValue::Table(table) => found.push((table, item.span())),
            _ => wrong(section, item),
        }
    }
    found
}
