//! Values of types that only a bundle has.

use std::ffi::OsString;
use std::ops::Range;
use std::time::Duration;

use strict_toml::{DeValue, Placed, Section};

use crate::bundle::listen::LONGEST_SOCKET_PATH;
use crate::duration::{self, LONGEST};

pub(super) fn duration(section: &mut Section, key: &str) -> Option<Placed<Duration>> {
    duration_up_to(section, key, LONGEST)
}

pub(super) fn duration_up_to(
    section: &mut Section,
    key: &str,
    longest: Duration,
) -> Option<Placed<Duration>> {
    let example = "a duration in quotes, like \"8s\", \"500ms\" or \"1m 30s\"";
    section.text_as(key, example, |text| duration::parse(text, longest))
}

/// A program and its arguments.
pub(super) fn command(section: &mut Section, key: &str) -> Vec<OsString> {
    let Some(value) = section.get(key) else { return Vec::new() };
    if let DeValue::String(text) = value.get_ref() {
        let words: Vec<String> = text.split_whitespace().map(|word| format!("{word:?}")).collect();
        let message = format!("`{key}` is a list, one item an argument: [{}]", words.join(", "));
        section.report(value.span(), message);
        return Vec::new();
    }
    let words = section.strings(key).unwrap_or_default();
    if words.first().is_none_or(|program| program.value.is_empty()) {
        section.report(value.span(), format!("`{key}` names no program"));
    }
    // Collected through a slice, it has no capacity that it does not need.
    words.iter().map(|word| word.value.into()).collect()
}

/// Reports a path that is too long for a Unix socket.
pub(super) fn check_socket_path(section: &mut Section, path: &str, span: Range<usize>) {
    if path.len() > LONGEST_SOCKET_PATH {
        let bytes = path.len();
        let message = format!(
            "the path of a Unix socket has at most {LONGEST_SOCKET_PATH} bytes, and this one has {bytes}"
        );
        section.report(span, message);
    }
}
