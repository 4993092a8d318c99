//! Values of kinds that only the gate has.

use std::path::PathBuf;
use std::time::Duration;

use strict_toml::{Placed, Section};

use super::size;

/// A text of one line, and not empty.
pub(super) fn line<'a>(section: &mut Section<'a, '_, '_>, key: &str) -> Option<Placed<&'a str>> {
    let text = section.string(key)?;
    if text.value.is_empty() || text.value.contains(char::is_control) {
        section.report(text.span, format!("`{key}` takes text, not empty and on one line"));
        return None;
    }
    Some(text)
}

/// An absolute path: the gate's working directory is nothing to rely on.
pub(super) fn path(section: &mut Section, key: &str) -> Option<PathBuf> {
    line(section, key).and_then(|_| section.path(key))
}

pub(super) fn duration(section: &mut Section, key: &str) -> Option<Placed<Duration>> {
    let example = "at least \"1s\", in quotes, like \"30s\" or \"10m\"";
    section.text_as(key, example, |text| {
        let duration = humantime::parse_duration(text).ok();
        let duration = duration.filter(|duration| *duration >= Duration::from_secs(1));
        duration
            .ok_or_else(|| format!("\"{text}\" is not a duration of at least 1s, like 30s or 10m"))
    })
}

pub(super) fn size(section: &mut Section, key: &str) -> Option<u64> {
    let example = "a size in quotes, like \"100MiB\" or \"2GiB\"";
    let size = section.text_as(key, example, |text| {
        size::parse(text).ok_or_else(|| format!("\"{text}\" is no size, like 100MiB or 2GiB"))
    });
    size.map(|size| size.value)
}
