//! Text to `Config`: strict, and with everything that is wrong said at once.

use strict_toml::{ConfigErrors, DeTable, Diagnostics, Section};

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
    strict_toml::read(file, text, config)
}

fn config<'text>(top: &DeTable<'text>, diagnostics: &mut Diagnostics<'text>) -> Config {
    let mut section = Section::new(top, "the file", diagnostics);
    section.only(&TOP_KEYS, &[]);
    let empty = DeTable::new();
    let table = section.table("gate").unwrap_or(&empty);
    let upstreams = section.tables("upstream");
    let gate = gate::gate(table, diagnostics);
    let upstreams = upstream::upstreams(&upstreams, &gate.protocols, diagnostics);
    Config { gate, upstreams }
}
