//! Parses the keys of a `[[service]]` for order, readiness, liveness and restarts.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use strict_toml::{DeValue, Placed, Section};

use super::values::{check_socket_path, command, duration};
use crate::bundle::health_check::{self, Check, HttpTarget, Probe, Readiness};
use crate::bundle::instances::{Instances, MOST_INSTANCES};
use crate::bundle::listen::{FIRST_SOCKET, Listen};
use crate::bundle::{
    LogMode, RestartPolicy, RestartWhen, ServiceType, Settings, WhenRequiredExits,
};
use crate::words::Words;

pub(super) const RESTART_KEYS: [&str; 5] = ["policy", "max", "within", "delay", "max-delay"];
const PROBES: [&str; 5] = ["tcp", "unix", "http", "exec", "file"];
pub(super) const READY_KEYS: [&str; 9] =
    ["tcp", "unix", "http", "exec", "file", "log", "status", "period", "timeout"];
pub(super) const LIVE_KEYS: [&str; 9] =
    ["tcp", "unix", "http", "exec", "file", "status", "period", "timeout", "failures"];

/// The default `start-timeout` of a service with a readiness check.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const READY_PERIOD: Duration = Duration::from_millis(200);
const LIVE_PERIOD: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
const LIVE_FAILURES: u32 = 3;
/// 0 to 2 are the standard streams; the highest number is the usual limit of a process.
const NOTIFY_DESCRIPTORS: std::ops::RangeInclusive<i32> = 3..=1023;

/// References to other services, and their positions.
pub(super) struct Named {
    pub(super) after: Vec<(String, Range<usize>)>,
    pub(super) requires: Vec<(String, Range<usize>)>,
}

/// Parses them into `settings`; the other keys are parsed already.
pub(super) fn read(section: &mut Section, settings: &mut Settings) -> Named {
    settings.kind = section.word("type", ServiceType::TABLE).unwrap_or_default();
    settings.when_required_exits =
        section.word("when-required-exits", WhenRequiredExits::TABLE).unwrap_or_default();
    settings.readiness = readiness(section, settings);
    let start_timeout = duration(section, "start-timeout").map(|timeout| timeout.value);
    settings.start_timeout = start_timeout.or(settings.readiness.as_ref().map(|_| START_TIMEOUT));
    settings.liveness = live(section).map(Box::new);
    settings.watchdog = watchdog(section, settings.readiness.as_ref());
    settings.restart = restart(section);
    settings.stop_command = section.get("stop-command").map(|_| command(section, "stop-command"));
    settings.listen = listen(section, settings.readiness.as_ref());
    settings.instances = instances(section).map(Box::new);
    settings.drain = duration(section, "drain").map_or(Duration::ZERO, |drain| drain.value);
    let named = Named { after: names(section, "after"), requires: names(section, "requires") };
    settings.after = named.after.iter().map(|(name, _)| name.clone()).collect();
    settings.requires = named.requires.iter().map(|(name, _)| name.clone()).collect();
    named
}

fn names(section: &mut Section, key: &str) -> Vec<(String, Range<usize>)> {
    let names = section.strings(key).unwrap_or_default();
    names.into_iter().map(|name| (name.value.to_owned(), name.span)).collect()
}

fn listen(section: &mut Section, readiness: Option<&Readiness>) -> Vec<Listen> {
    let (mut sockets, mut seen) = (Vec::new(), BTreeSet::new());
    for Placed { value, span } in section.strings("listen").unwrap_or_default() {
        match Listen::parse(value) {
            Some(socket) if !seen.insert(socket.clone()) => {
                section.report(span, format!("\"{value}\" is in the list already"));
            }
            Some(socket) => {
                if let Some(path) = value.strip_prefix("unix:") {
                    check_socket_path(section, path, span);
                }
                sockets.push(socket);
            }
            None => section.report(
                span,
                format!(
                    "\"{value}\" is not a socket address; write \"tcp:0.0.0.0:80\", \
                     \"tcp:[::]:80\" or \"unix:/run/web.sock\""
                ),
            ),
        }
    }
    let free = FIRST_SOCKET + i32::try_from(sockets.len()).unwrap_or(i32::MAX);
    if let (Some(Readiness::Descriptor(number)), Some(value)) = (readiness, section.get("notify"))
        && *number < free
    {
        let message = format!(
            "descriptors {FIRST_SOCKET} to {} are the sockets of `listen`; write \"fd:{free}\"",
            free - 1
        );
        section.report(value.span(), message);
    }
    sockets
}

fn instances(section: &mut Section) -> Option<Instances> {
    let count = section.integer("instances", 0..=MOST_INSTANCES);
    let variable = section.string("instances-env");
    let said = section.get("instances-env").or(section.get("instances"))?;
    Some(Instances {
        count: count.unwrap_or(1),
        variable: variable.map(|name| name.value.to_owned()),
        place: section.place(&said.span()),
        bytes: section.bytes(),
    })
}

fn restart(section: &mut Section) -> RestartPolicy {
    let defaults = RestartPolicy::default();
    // Most bundles need only restart = "always".
    if let Some(DeValue::String(_)) = section.get("restart").map(|value| value.get_ref()) {
        let when = section.word("restart", RestartWhen::TABLE).unwrap_or_default();
        return RestartPolicy { when, ..defaults };
    }
    let Some(table) = section.table_like("restart", "a table, like { policy = \"on-failure\" }")
    else {
        return defaults;
    };
    let section = &mut Section::new(table, "restart", section.diagnostics);
    section.only(&RESTART_KEYS, &[("delay-max", "it is called `max-delay`")]);
    let max = section.integer("max", 0..=u32::MAX);
    let span = |section: &mut Section, key, default| {
        duration(section, key).map_or(default, |span| span.value)
    };
    let delay = span(section, "delay", defaults.delay);
    RestartPolicy {
        when: section.word("policy", RestartWhen::TABLE).unwrap_or(RestartWhen::OnFailure),
        max: max.unwrap_or(defaults.max),
        within: span(section, "within", defaults.within),
        delay,
        max_delay: span(section, "max-delay", defaults.max_delay).max(delay),
    }
}

fn readiness(section: &mut Section, settings: &Settings) -> Option<Readiness> {
    let notify = notify(section);
    let ready = ready(section, settings);
    if let Some(value) = section.get("notify")
        && ready.is_some()
    {
        section.report(value.span(), "a service has `notify` or `ready`, not both");
    }
    if settings.kind == ServiceType::Oneshot
        && let Some(value) = section.get("notify").or(section.get("ready"))
    {
        section.report(value.span(), "a oneshot is ready when it has succeeded; leave this out");
    }
    notify.or(ready)
}

fn notify(section: &mut Section) -> Option<Readiness> {
    let expected = "\"systemd\", or \"fd:3\" with a number from 3 to 1023";
    section.text_like("notify", expected, |text| match text.strip_prefix("fd:") {
        Some(number) => {
            let number = number.parse().ok().filter(|number| NOTIFY_DESCRIPTORS.contains(number));
            number.map(Readiness::Descriptor)
        }
        None => (text == "systemd").then_some(Readiness::Systemd),
    })
}

fn ready(section: &mut Section, settings: &Settings) -> Option<Readiness> {
    let span = section.get("ready")?.span();
    let table = section.table_like("ready", "a table, like { tcp = \"127.0.0.1:80\" }")?;
    let section = &mut Section::new(table, "ready", section.diagnostics);
    section.only(&READY_KEYS, &[("within", "it is the service's key `start-timeout`")]);
    if let Some(log) = section.string("log") {
        if settings.log == LogMode::Inherit {
            let message =
                "in log mode \"inherit\" (`log`, or --log) the init does not see its lines";
            section.report(log.span, message);
        } else if log.value.is_empty() || PROBES.iter().any(|probe| section.get(probe).is_some()) {
            section.report(
                log.span,
                "`log` is a part of a line, and can't be combined with other keys",
            );
        }
        return Some(Readiness::Log(log.value.to_owned()));
    }
    Some(Readiness::Check(one_check(section, span, READY_PERIOD)?.into()))
}

fn live(section: &mut Section) -> Option<Check> {
    let span = section.get("live")?.span();
    let table =
        section.table_like("live", "a table, like { http = \"http://127.0.0.1:80/health\" }")?;
    let section = &mut Section::new(table, "live", section.diagnostics);
    section.only(&LIVE_KEYS, &[("threshold", "it is called `failures`")]);
    let failures = section.integer("failures", 1..=1000);
    let mut check = one_check(section, span, LIVE_PERIOD)?;
    check.failures = failures.unwrap_or(LIVE_FAILURES);
    Some(check)
}

fn watchdog(section: &mut Section, readiness: Option<&Readiness>) -> Option<Duration> {
    let Placed { value, span } = duration(section, "watchdog")?;
    if readiness != Some(&Readiness::Systemd) {
        let message = "`watchdog` goes with notify = \"systemd\"; others have `live`";
        section.report(span, message);
    } else if value < SHORTEST_PERIOD {
        section.report(span, "`watchdog` is at least \"10ms\"");
    }
    Some(value)
}

fn one_check(section: &mut Section, span: Range<usize>, period: Duration) -> Option<Check> {
    let given = PROBES.iter().filter(|probe| section.get(probe).is_some()).count();
    if given != 1 {
        section.report(span, format!("a check has one of {}", PROBES.join(", ")));
        return None;
    }
    let period = duration(section, "period").map_or(period, |period| period.value);
    let timeout = duration(section, "timeout").map_or(PROBE_TIMEOUT, |timeout| timeout.value);
    Some(Check {
        probe: probe(section)?,
        period: period.max(SHORTEST_PERIOD),
        timeout,
        failures: 1,
    })
}

fn probe(section: &mut Section) -> Option<Probe> {
    let status = section.integer("status", 100..=599);
    let example = "an address like 127.0.0.1:80 or [::1]:80; names are not looked up";
    let tcp = section.text_like("tcp", example, health_check::address).map(Probe::Tcp);
    let example = "a URL like http://127.0.0.1:8080/health; names are not looked up";
    let http = section.text_like("http", example, health_check::http_target);
    let http = http.map(|target| Probe::Http(HttpTarget { status, ..target }.into()));
    let exec = section.get("exec").map(|_| Probe::Exec(command(section, "exec")));
    if let Some(Placed { value, span }) = section.string("unix") {
        check_socket_path(section, value, span);
    }
    let unix = section.path("unix").map(Probe::Unix);
    let file = section.path("file").map(Probe::File);
    tcp.or(http).or(exec).or(unix).or(file)
}
