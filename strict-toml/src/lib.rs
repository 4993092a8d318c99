//! Parses TOML configurations strictly: an unknown key is an error, and all errors are reported at
//! once, each with its line, its column and the fix. Pure.
//!
//! ```
//! use strict_toml::{Section, read};
//!
//! let address = read("bus.toml", "adress = 80", |table, diagnostics| {
//!     let mut section = Section::new(table, "the file", diagnostics);
//!     section.only(&["address"], &[]);
//!     section.integer("address", 1..=247)
//! });
//! let error = address.unwrap_err().to_string();
//! assert_eq!(error, "bus.toml:1:1: unknown key `adress` in the file; did you mean `address`?");
//! ```

mod diagnostics;
mod nearest;
mod section;

pub use diagnostics::{ConfigError, ConfigErrors, Diagnostics, MOST_SHOWN, Place};
pub use nearest::{listed, nearest};
pub use section::{Placed, Section, integer_in};
pub use toml::Spanned;
pub use toml::de::{DeTable, DeValue};

/// Parses `text`; `file` is its name in messages. The result of `configuration` is returned only if it
/// has reported no errors.
///
/// # Errors
/// All errors in the text.
pub fn read<T>(
    file: &str,
    text: &str,
    configuration: impl for<'text> FnOnce(&DeTable<'text>, &mut Diagnostics<'text>) -> T,
) -> Result<T, ConfigErrors> {
    let mut diagnostics = Diagnostics::new(text);
    let (table, syntax_errors) = DeTable::parse_recoverable(text);
    for error in &syntax_errors {
        let span = error.span().unwrap_or_default();
        let hint = syntax_hint(text, span.start, error.message());
        diagnostics.add(span, format!("{}{hint}", error.message()));
    }
    // Further errors may be consequences of the syntax error.
    diagnostics.verdict(file)?;
    let configuration = configuration(table.get_ref(), &mut diagnostics);
    diagnostics.verdict(file)?;
    Ok(configuration)
}

/// The parser reports an unquoted word as a wrong number or date.
fn syntax_hint(text: &str, place: usize, message: &str) -> &'static str {
    let rest = text.get(place..).unwrap_or_default();
    if message == "duplicate key" {
        "; each key is there once"
    } else if rest.starts_with(|first: char| first.is_alphabetic() || first == '/') {
        "; text goes in quotes, like name = \"web\""
    } else {
        ""
    }
}
