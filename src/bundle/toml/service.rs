//! Parses one `[[service]]`.

use std::ops::Range;
use std::path::PathBuf;

use strict_toml::{DeTable, DeValue, Diagnostics, Place, Placed, Section, Spanned, integer_in};

use super::Defaults;
use super::life::{self, Named};
use super::values::{self, duration};
use crate::bundle::{
    Account, Environment, Identity, LogFull, LogMode, MAIN, OnExit, ResourceLimit, Service,
    Settings, capability, resource,
};
use crate::signal::Signal;
use crate::words::Words;

pub(super) const KEYS: [&str; 38] = [
    "name",
    "command",
    "working-directory",
    "environment",
    "environment-file",
    "environment-pass",
    "environment-drop",
    "user",
    "group",
    "supplementary-groups",
    "umask",
    "rlimits",
    "nice",
    "oom-score-adj",
    "no-new-privileges",
    "drop-capabilities",
    "parent-death-signal",
    "stop-signal",
    "grace",
    "on-exit",
    "success-codes",
    "log",
    "log-full",
    "type",
    "after",
    "requires",
    "when-required-exits",
    "ready",
    "notify",
    "start-timeout",
    "live",
    "watchdog",
    "restart",
    "stop-command",
    "drain",
    "listen",
    "instances",
    "instances-env",
];

/// Names of other programs for keys that have another name here, or do not exist.
const HINTS: [(&str, &str); 9] = [
    ("env", "it is called `environment`"),
    ("env_file", "it is called `environment-file`"),
    ("cwd", "it is called `working-directory`"),
    ("directory", "it is called `working-directory`"),
    ("args", "arguments are part of `command`, which is a list"),
    ("depends_on", "it is called `after`, or `requires`"),
    ("autorestart", "it is called `restart`"),
    ("healthcheck", "readiness is in `ready`, liveness in `live`"),
    ("nofile", "limits are in `rlimits`, like rlimits = { nofile = 1024 }"),
];

/// The longest name of a service, in bytes.
const LONGEST_NAME: usize = 64;

/// The position for errors about the name.
pub(super) fn name_span(table: &DeTable, otherwise: Range<usize>) -> Range<usize> {
    table.get("name").map_or(otherwise, |name| name.span())
}

/// The service and its references. `None` if it has no usable name; all errors are reported anyway.
pub(super) fn service<'text>(
    table: &DeTable<'text>,
    span: Range<usize>,
    defaults: Defaults,
    diagnostics: &mut Diagnostics<'text>,
) -> Option<(Service, Named)> {
    let section = &mut Section::new(table, "[[service]]", diagnostics);
    section.only(&KEYS, &HINTS);
    let name = name(section, span.clone());
    let command = command(section, span);
    let grace = duration(section, "grace");
    if let Some(grace) = &grace
        && grace.value > defaults.grace
    {
        let most = humantime::format_duration(defaults.grace);
        let by = match defaults.overrides.grace {
            Some(_) => " by --grace or SIDECAR_INIT_GRACE",
            None => "",
        };
        let message = format!("`grace` of a service lies within the bundle's, which is {most}{by}");
        section.report(grace.span.clone(), message);
    }
    let log = section.word("log", LogMode::TABLE);
    let mut settings = Settings {
        working_directory: section.path("working-directory"),
        environment: environment(section),
        identity: identity(section),
        umask: umask(section),
        rlimits: rlimits(section),
        nice: section.integer("nice", -20..=19),
        oom_score_adj: section.integer("oom-score-adj", -1000..=1000),
        no_new_privileges: section.boolean("no-new-privileges").unwrap_or(false),
        drop_capabilities: capabilities(section),
        parent_death_signal: section.parsed("parent-death-signal").map(|signal| signal.value),
        stop_signal: stop_signal(section),
        grace: grace.map(|grace| grace.value),
        on_exit: section.word("on-exit", OnExit::TABLE).unwrap_or(defaults.on_exit),
        success_codes: success_codes(section),
        log: defaults.overrides.log.or(log).unwrap_or(defaults.log),
        log_full: section.word("log-full", LogFull::TABLE).unwrap_or(defaults.log_full),
        ..Settings::default()
    };
    let named = life::read(section, &mut settings);
    Some((Service { name: name?, command, settings: settings.into() }, named))
}

fn name(section: &mut Section, span: Range<usize>) -> Option<String> {
    if section.get("name").is_none() {
        section.report(span, "this [[service]] has no `name`");
    }
    let Placed { value, span } = section.string("name")?;
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = value.len() <= LONGEST_NAME && value.bytes().all(is_fine);
    if !fits || !value.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        let message = format!(
            "\"{value}\" is not a name for a service; a letter or digit, then letters, digits, \
             `.`, `_` and `-`, {LONGEST_NAME} in all at the most"
        );
        section.report(span, message);
        return None;
    }
    if value == MAIN {
        let message =
            format!("\"{MAIN}\" is the name of the command given after `--`; choose another");
        section.report(span, message);
        return None;
    }
    Some(value.to_owned())
}

fn command(section: &mut Section, span: Range<usize>) -> Vec<std::ffi::OsString> {
    if section.get("command").is_none() {
        section.report(span, "this [[service]] has no `command`");
    }
    values::command(section, "command")
}

fn environment(section: &mut Section) -> Environment {
    let owned = |texts: Vec<Placed<&str>>| -> Vec<String> {
        texts.into_iter().map(|text| text.value.to_owned()).collect()
    };
    let pass = section.strings("environment-pass").map(owned);
    let drop = section.strings("environment-drop").map(owned).unwrap_or_default();
    let is_list = matches!(
        section.get("environment-file").map(|value| value.get_ref()),
        Some(DeValue::Array(_))
    );
    let files = match is_list {
        true => section.strings("environment-file").unwrap_or_default(),
        false => section.string("environment-file").into_iter().collect(),
    };
    let placed = |file: Placed<&str>| (PathBuf::from(file.value), section.place(&file.span));
    Environment {
        pass,
        drop,
        files: files.into_iter().map(placed).collect(),
        set: variables(section),
    }
}

fn variables(section: &mut Section) -> Vec<(String, String)> {
    let Some(value) = section.get("environment") else { return Vec::new() };
    let DeValue::Table(table) = value.get_ref() else {
        section.wrong::<()>(value, "environment", "a table, like { NAME = \"value\" }");
        return Vec::new();
    };
    let mut variables = Vec::new();
    for (name, value) in table.iter() {
        let known = name.get_ref().as_ref();
        if known.is_empty() || known.contains(['=', '\0']) {
            section.report(name.span(), format!("{known:?} is not a name for a variable"));
        }
        match value.get_ref() {
            DeValue::String(text) if !text.contains('\0') => {
                variables.push((known.to_owned(), text.as_ref().to_owned()));
            }
            _ => {
                let message = format!("variable `{known}` takes text in quotes");
                section.report(value.span(), message);
            }
        }
    }
    variables
}

fn identity(section: &mut Section) -> Identity {
    let user = account(section, "user");
    let group = account(section, "group");
    let groups = section.get("supplementary-groups").and_then(|value| match value.get_ref() {
        DeValue::Array(items) => {
            let placed = |item: &Spanned<DeValue>| {
                Some((account_in(item.get_ref())?, section.place(&item.span())))
            };
            let all: Option<Vec<(Account, Place)>> = items.iter().map(placed).collect();
            all.or_else(|| {
                section.wrong(value, "supplementary-groups", "a list of group names and numbers")
            })
        }
        _ => section.wrong(value, "supplementary-groups", "a list of group names and numbers"),
    });
    Identity { user, group, supplementary_groups: groups }
}

fn account(section: &mut Section, key: &str) -> Option<(Account, Place)> {
    let value = section.get(key)?;
    match account_in(value.get_ref()) {
        Some(account) => Some((account, section.place(&value.span()))),
        None => {
            let expected = "a name or a number; a group goes into `group`, not behind a colon";
            section.wrong(value, key, expected)
        }
    }
}

fn account_in(value: &DeValue) -> Option<Account> {
    // The highest number means "unchanged" to the kernel, setresuid(2).
    let usable = |id: u32| (id != u32::MAX).then_some(Account::Id(id));
    match value {
        DeValue::String(text)
            if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            usable(text.parse().ok()?)
        }
        DeValue::String(text) if text.is_empty() || text.contains([':', '\0', '\n']) => None,
        DeValue::String(text) => Some(Account::Name(text.as_ref().to_owned())),
        other => usable(u32::try_from(integer_in(other)?).ok()?),
    }
}

fn umask(section: &mut Section) -> Option<u32> {
    section.text_like("umask", "octal digits in quotes, like \"0027\"", |text| {
        u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777)
    })
}

fn rlimits(section: &mut Section) -> Vec<ResourceLimit> {
    let Some(value) = section.get("rlimits") else { return Vec::new() };
    let DeValue::Table(table) = value.get_ref() else {
        section.wrong::<()>(value, "rlimits", "a table, like { nofile = 1024 }");
        return Vec::new();
    };
    let mut limits = Vec::new();
    for (name, value) in table.iter() {
        let known = name.get_ref().as_ref();
        let Some(resource) = resource::number(known) else {
            let message = format!("unknown limit `{known}`; it is one of {}", resource::names());
            section.report(name.span(), message);
            continue;
        };
        match limit(value.get_ref()) {
            Some((soft, hard)) if soft.unwrap_or(u64::MAX) <= hard.unwrap_or(u64::MAX) => {
                limits.push(ResourceLimit { resource, soft, hard });
            }
            Some(_) => section.report(value.span(), format!("limit `{known}`: soft is above hard")),
            None => {
                let expected = "a number, \"unlimited\", or { soft = …, hard = … }";
                section.wrong::<()>(value, known, expected);
            }
        }
    }
    limits
}

fn limit(value: &DeValue) -> Option<(Option<u64>, Option<u64>)> {
    let Some(table) = value.as_table() else {
        let both = amount(value)?;
        return Some((both, both));
    };
    let known = table.keys().all(|key| ["soft", "hard"].contains(&key.get_ref().as_ref()));
    let amount = |key: &str| amount(table.get(key)?.get_ref());
    known.then_some((amount("soft")?, amount("hard")?))
}

fn amount(value: &DeValue) -> Option<Option<u64>> {
    match value {
        DeValue::String(text) if text == "unlimited" => Some(None),
        other => u64::try_from(integer_in(other)?).ok().map(Some),
    }
}

fn capabilities(section: &mut Section) -> u64 {
    let mut dropped = 0;
    for Placed { value, span } in section.strings("drop-capabilities").unwrap_or_default() {
        match capability::bits(value) {
            Some(bits) => dropped |= bits,
            None => section.report(
                span,
                format!("\"{value}\" is not a capability; write a name such as NET_RAW, or ALL"),
            ),
        }
    }
    dropped
}

fn stop_signal(section: &mut Section) -> Signal {
    let Some(Placed { value, span }) = section.parsed("stop-signal") else { return Signal::TERM };
    if matches!(value, Signal::STOP | Signal::CONT | Signal::CHLD) {
        section.report(span, format!("`stop-signal`: {value} ends no process"));
    }
    value
}

fn success_codes(section: &mut Section) -> Vec<u8> {
    let Some(value) = section.get("success-codes") else { return vec![0] };
    let codes = value.get_ref().as_array().and_then(|items| {
        let code = |item: &DeValue| u8::try_from(integer_in(item)?).ok();
        items.iter().map(|item| code(item.get_ref())).collect()
    });
    match codes {
        Some(codes) => codes,
        None => {
            let expected = "a list of exit codes from 0 to 255, like [0, 143]";
            section.wrong(value, "success-codes", expected).unwrap_or_default()
        }
    }
}
