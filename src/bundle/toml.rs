//! Parses a bundle from TOML: strictly, and with all errors at once.

mod life;
mod on_event;
mod order;
mod service;
mod signals;
mod values;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

pub use strict_toml::{ConfigError, ConfigErrors};
use strict_toml::{DeTable, Diagnostics, Section, integer_in};

use super::shared::Shared;
use super::{Bundle, DEFAULT_GRACE, LogFull, LogMode, MOST_SERVICES, NO_SOCKET, OnExit, Service};
use crate::duration::LONGEST_GRACE;
use crate::words::Words;
use values::{check_socket_path, duration_up_to};

const TOP_KEYS: [&str; 3] = ["bundle", "service", "signals"];
const BUNDLE_KEYS: [&str; 9] =
    ["version", "name", "select-env", "socket", "on-event", "grace", "log", "on-exit", "log-full"];
/// The version of the format. `docs/bundle.md` says what needs a new one.
const VERSION: i64 = 1;

/// Settings that override the file, from the command line for example. They are checked like the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// The bundle's grace.
    pub grace: Option<Duration>,
    /// The log mode of the bundle and of every service.
    pub log: Option<LogMode>,
}

/// The defaults of the services.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    overrides: Overrides,
    grace: Duration,
    log: LogMode,
    log_full: LogFull,
    on_exit: OnExit,
}

/// The tables of the file and their keys, for the tests that compare them with the documentation and
/// the schema.
pub fn tables() -> [(&'static str, &'static [&'static str]); 7] {
    [
        ("bundle", &BUNDLE_KEYS),
        ("on-event", &on_event::KEYS),
        ("service", &service::KEYS),
        ("ready", &life::READY_KEYS),
        ("live", &life::LIVE_KEYS),
        ("restart", &life::RESTART_KEYS),
        ("signals", &signals::KEYS),
    ]
}

/// Every key of every table.
pub fn keys() -> impl Iterator<Item = &'static str> {
    tables().into_iter().flat_map(|(_, keys)| keys.iter().copied())
}

/// Parses the bundle in `text`; `file` is its name in messages.
///
/// # Errors
/// All errors in the file, each with its place and the fix.
pub fn parse(file: &str, text: &str) -> Result<Bundle, ConfigErrors> {
    parse_with(file, text, Overrides::default())
}

/// Parses the bundle in `text`, with some settings overridden.
///
/// # Errors
/// All errors in the result, each with its place and the fix.
pub fn parse_with(file: &str, text: &str, overrides: Overrides) -> Result<Bundle, ConfigErrors> {
    strict_toml::read(file, text, |table, diagnostics| bundle(file, table, overrides, diagnostics))
}

fn bundle<'text>(
    file: &str,
    top: &DeTable<'text>,
    overrides: Overrides,
    diagnostics: &mut Diagnostics<'text>,
) -> Bundle {
    // Of another version everything else may be unknown.
    if !is_our_version(top, diagnostics) {
        return Bundle::new("");
    }
    let mut section = Section::new(top, "the file", diagnostics);
    let hints =
        [("services", "each service is a [[service]]"), ("version", "it is a key of [bundle]")];
    section.only(&TOP_KEYS, &hints);
    let empty = DeTable::new();
    let table = section.table("bundle").unwrap_or(&empty);
    let services = section.tables("service");
    let signals = section.table("signals").unwrap_or(&empty);

    let mut section = Section::new(table, "[bundle]", diagnostics);
    section.only(&BUNDLE_KEYS, &[("services", "each service is a [[service]]")]);
    let grace = duration_up_to(&mut section, "grace", LONGEST_GRACE).map(|grace| grace.value);
    let log = section.word("log", LogMode::TABLE);
    let defaults = Defaults {
        overrides,
        grace: overrides.grace.or(grace).unwrap_or(DEFAULT_GRACE),
        log: overrides.log.or(log).unwrap_or_default(),
        log_full: section.word("log-full", LogFull::TABLE).unwrap_or_default(),
        on_exit: section.word("on-exit", OnExit::TABLE).unwrap_or_default(),
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

fn is_our_version(top: &DeTable, diagnostics: &mut Diagnostics) -> bool {
    let table = top.get("bundle").and_then(|bundle| bundle.get_ref().as_table());
    let Some(version) = table.and_then(|table| table.get("version")) else { return true };
    let message = match integer_in(version.get_ref()) {
        Some(VERSION) => return true,
        Some(later) if later > VERSION => format!(
            "`version` is {later}, and this sidecar-init reads version {VERSION}; use a later \
             sidecar-init, or a file of version {VERSION}"
        ),
        _ => format!("`version` takes {VERSION}, the version of the file's format"),
    };
    diagnostics.add(version.span(), message);
    false
}

fn socket(section: &mut Section) -> Option<String> {
    let socket = section.string("socket")?;
    if !socket.value.starts_with('/') && socket.value != NO_SOCKET {
        section.report(socket.span, "`socket` is an absolute path, or \"none\"");
    } else {
        check_socket_path(section, socket.value, socket.span);
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
    let mut services = Vec::<Service>::with_capacity(tables.len());
    let mut names = BTreeSet::new();
    let mut named = Vec::with_capacity(tables.len());
    let mut settings = Shared::new();
    for (table, span) in tables {
        if let Some((service, others)) =
            service::service(table, span.clone(), defaults, diagnostics)
        {
            let name = table.get("name").and_then(|name| name.get_ref().as_str());
            if !names.insert(name) {
                let message = format!(
                    "a second service with the name \"{}\"; names are unique",
                    service.name
                );
                diagnostics.add(service::name_span(table, span.clone()), message);
            }
            services.push(Service { settings: settings.get(service.settings), ..service });
            named.push(others);
        }
    }
    order::check(&services, &named, diagnostics);
    services
}

/// The default name of a bundle is the name of its file.
fn stem(file: &str) -> String {
    let stem = Path::new(file).file_stem().unwrap_or(file.as_ref());
    stem.to_string_lossy().into_owned()
}
