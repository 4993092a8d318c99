//! Reads a bundle from TOML: strict, and with everything that is wrong said at once.

mod life;
mod on_event;
mod order;
mod section;
mod service;
mod signals;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

pub use crate::diagnostics::{ConfigError, ConfigErrors};

use super::{Bundle, DEFAULT_GRACE, LogFull, LogMode, MOST_SERVICES, NO_SOCKET, OnExit, Service};
use crate::diagnostics::Diagnostics;
use crate::duration::LONGEST_GRACE;
use section::Section;

const TOP_KEYS: [&str; 3] = ["bundle", "service", "signals"];
const BUNDLE_KEYS: [&str; 8] =
    ["name", "select-env", "socket", "on-event", "grace", "log", "on-exit", "log-full"];

/// What is said elsewhere, as on the command line, in place of what the file says. It is checked
/// like the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// The bundle's grace.
    pub grace: Option<Duration>,
    /// The log mode of the bundle and of every service.
    pub log: Option<LogMode>,
}

/// What services have that don't say.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    overrides: Overrides,
    grace: Duration,
    log: LogMode,
    log_full: LogFull,
    on_exit: OnExit,
}

/// Every key of every table, for the test that compares them with the documentation.
pub fn keys() -> impl Iterator<Item = &'static str> {
    BUNDLE_KEYS
        .into_iter()
        .chain(on_event::KEYS)
        .chain(service::KEYS)
        .chain(life::keys())
        .chain(signals::KEYS)
}

/// Reads the bundle in `text`; `file` is its name in messages.
///
/// # Errors
/// Everything that is wrong with it, each with its place and the fix.
pub fn parse(file: &str, text: &str) -> Result<Bundle, ConfigErrors> {
    parse_with(file, text, Overrides::default())
}

/// Reads the bundle in `text`, of which something is replaced.
///
/// # Errors
/// Everything that is wrong with it then, each with its place and the fix.
pub fn parse_with(file: &str, text: &str, overrides: Overrides) -> Result<Bundle, ConfigErrors> {
    let mut diagnostics = Diagnostics::new(text);
    let (table, syntax_errors) = DeTable::parse_recoverable(text);
    for error in &syntax_errors {
        let span = error.span().unwrap_or_default();
        let hint = syntax_hint(text, span.start, error.message());
        diagnostics.add(span, format!("{}{hint}", error.message()));
    }
    // What else is wrong may follow from a broken line, and would only hide it.
    diagnostics.verdict(file)?;
    let bundle = bundle(file, table.get_ref(), overrides, &mut diagnostics);
    diagnostics.verdict(file)?;
    Ok(bundle)
}

/// The parser takes a bare word for a number or a date, and says so.
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

fn bundle<'text>(
    file: &str,
    top: &DeTable<'text>,
    overrides: Overrides,
    diagnostics: &mut Diagnostics<'text>,
) -> Bundle {
    let mut section = Section::new(top, "the file", diagnostics);
    section.only(&TOP_KEYS, &[("services", "each service is a [[service]]")]);
    let empty = DeTable::new();
    let table = table(&mut section, "bundle").unwrap_or(&empty);
    let services = tables(&mut section, "service");
    let signals = self::table(&mut section, "signals").unwrap_or(&empty);

    let mut section = Section::new(table, "[bundle]", diagnostics);
    section.only(&BUNDLE_KEYS, &[("services", "each service is a [[service]]")]);
    let grace = section.duration_up_to("grace", LONGEST_GRACE).map(|grace| grace.value);
    let log = section.word("log");
    let defaults = Defaults {
        overrides,
        grace: overrides.grace.or(grace).unwrap_or(DEFAULT_GRACE),
        log: overrides.log.or(log).unwrap_or_default(),
        log_full: section.word("log-full").unwrap_or_default(),
        on_exit: section.word("on-exit").unwrap_or_default(),
    };
    let name = section.string("name").map_or_else(|| stem(file), |name| name.value.to_owned());
    let select_env = section.string("select-env").map(|name| name.value.to_owned());
    let socket = socket(&mut section);
    let on_event = on_event::on_event(&mut section);
    let services = services_of(&services, defaults, diagnostics);
    let signals = signals::routes(signals, &services, diagnostics);
    Bundle {
        name,
        select_env,
        socket,
        on_event,
        grace: defaults.grace,
        log: defaults.log,
        services,
        signals,
    }
}

fn socket(section: &mut Section) -> Option<String> {
    let socket = section.string("socket")?;
    if !socket.value.starts_with('/') && socket.value != NO_SOCKET {
        section.complain(socket.span, "`socket` is an absolute path, or \"none\"");
    } else {
        section.check_socket_path(socket.value, socket.span);
    }
    Some(socket.value.to_owned())
}

fn services_of<'text>(
    tables: &[(&DeTable<'text>, std::ops::Range<usize>)],
    defaults: Defaults,
    diagnostics: &mut Diagnostics<'text>,
) -> Vec<Service> {
    if tables.is_empty() {
        diagnostics.add(
            0..0,
            "there is no [[service]]; a bundle has at least one, with a name and a command",
        );
    }
    if tables.len() > MOST_SERVICES {
        diagnostics.add(0..0, format!("more than {MOST_SERVICES} services"));
        return Vec::new();
    }
    let mut services = Vec::<Service>::new();
    let mut names = BTreeSet::new();
    let mut named = Vec::new();
    for (table, span) in tables {
        if let Some((service, others)) =
            service::service(table, span.clone(), defaults, diagnostics)
        {
            if !names.insert(service.name.clone()) {
                let message = format!(
                    "a second service with the name \"{}\"; names are unique",
                    service.name
                );
                diagnostics.add(service::name_span(table, span.clone()), message);
            }
            services.push(service);
            named.push(others);
        }
    }
    order::check(&services, &named, diagnostics);
    services
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
) -> Vec<(&'a DeTable<'text>, std::ops::Range<usize>)> {
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

/// A bundle without a name is called like its file.
fn stem(file: &str) -> String {
    let stem = Path::new(file).file_stem().unwrap_or(file.as_ref());
    stem.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
