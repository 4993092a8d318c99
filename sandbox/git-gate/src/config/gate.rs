//! The table `[gate]`: the gate's own settings, all of which have defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use strict_toml::{DeTable, Diagnostics, Placed, Section};

use super::values::{duration, line, path, size};
use super::{Gate, Limits, Protocol, Times};

pub(super) const KEYS: [&str; 18] = [
    "root",
    "listen",
    "http-listen",
    "health-listen",
    "gitleaks",
    "gitleaks-config",
    "approved-fingerprints",
    "protocols",
    "request-timeout",
    "idle-timeout",
    "session-timeout",
    "fetch-timeout",
    "push-timeout",
    "max-sessions",
    "max-push-size",
    "max-file-size",
    "max-scan-size",
    "max-memory",
];

/// With less gitleaks can't begin.
const LEAST_MEMORY: u64 = 256 << 20;

const PROTOCOLS: [Protocol; 3] = [Protocol::Ssh, Protocol::Https, Protocol::File];

pub(super) fn gate<'text>(table: &DeTable<'text>, diagnostics: &mut Diagnostics<'text>) -> Gate {
    let mut section = Section::new(table, "[gate]", diagnostics);
    section.only(&KEYS, &[]);
    Gate {
        root: path(&mut section, "root").unwrap_or_else(|| PathBuf::from("/git")),
        listen: listen(&mut section, "listen", ([0, 0, 0, 0], 9418)),
        http_listen: listen(&mut section, "http-listen", ([0, 0, 0, 0], 9420)),
        health_listen: listen(&mut section, "health-listen", ([127, 0, 0, 1], 9421)),
        gitleaks: path(&mut section, "gitleaks")
            .unwrap_or_else(|| PathBuf::from("/usr/bin/gitleaks")),
        gitleaks_config: path(&mut section, "gitleaks-config"),
        approved: path(&mut section, "approved-fingerprints")
            .unwrap_or_else(|| PathBuf::from("/etc/git-gate/approved-fingerprints")),
        protocols: protocols(&mut section),
        times: times(&mut section),
        limits: limits(&mut section),
    }
}

fn listen(section: &mut Section, key: &str, default: ([u8; 4], u16)) -> Option<SocketAddr> {
    let Some(text) = line(section, key) else { return Some(default.into()) };
    if text.value == "off" {
        return None;
    }
    let address = text.value.parse();
    if address.is_err() {
        let message =
            format!("`{key}` is an address and a port, like \"0.0.0.0:9418\", or \"off\"");
        section.report(text.span, message);
    }
    address.ok()
}

fn protocols(section: &mut Section) -> Vec<Protocol> {
    let Some(words) = section.strings("protocols") else { return vec![Protocol::Ssh] };
    let mut protocols = Vec::new();
    for word in words {
        match PROTOCOLS.iter().find(|protocol| protocol.name() == word.value) {
            Some(protocol) => protocols.push(*protocol),
            None => section.report(word.span, "`protocols` are \"ssh\", \"https\" and \"file\""),
        }
    }
    protocols
}

fn times(section: &mut Section) -> Times {
    let seconds = Duration::from_secs;
    let request = duration(section, "request-timeout");
    let idle = duration(section, "idle-timeout");
    let session = duration(section, "session-timeout");
    let fetch = duration(section, "fetch-timeout");
    let push = duration(section, "push-timeout");
    let value = |placed: &Option<Placed<Duration>>, default| {
        placed.as_ref().map_or(seconds(default), |placed| placed.value)
    };
    let times = Times {
        request: value(&request, 10),
        idle: value(&idle, 60),
        session: value(&session, 1800),
        fetch: value(&fetch, 120),
        push: value(&push, 600),
    };
    for (key, placed, value) in [
        ("request-timeout", request, times.request),
        ("idle-timeout", idle, times.idle),
        ("fetch-timeout", fetch, times.fetch),
        ("push-timeout", push, times.push),
    ] {
        if value > times.session {
            let place = placed.or_else(|| duration(section, "session-timeout"));
            let span = place.map_or(0..0, |placed| placed.span);
            let message = format!(
                "`{key}` ({}) is longer than `session-timeout` ({}), which would never let it end",
                humantime::format_duration(value),
                humantime::format_duration(times.session)
            );
            section.report(span, message);
        }
    }
    times
}

fn limits(section: &mut Section) -> Limits {
    let file = size(section, "max-file-size").unwrap_or(50 << 20);
    Limits {
        sessions: section.integer("max-sessions", 1..=1000).unwrap_or(16),
        push: size(section, "max-push-size").unwrap_or(512 << 20),
        file,
        scan: size(section, "max-scan-size").unwrap_or(2 << 30),
        memory: memory(section, file),
    }
}

/// gitleaks takes eight times a file's size for its diff, and git three times for its changes.
fn memory(section: &mut Section, file: u64) -> u64 {
    let least = file.saturating_mul(3).max(LEAST_MEMORY);
    let Some(memory) = size(section, "max-memory") else {
        return file.saturating_mul(10).max(512 << 20);
    };
    if memory < least
        && let Some(value) = section.get("max-memory")
    {
        let message = format!(
            "`max-memory` is too little; with this `max-file-size` it is at least \"{}MiB\"",
            least.div_ceil(1 << 20)
        );
        section.report(value.span(), message);
    }
    memory
}
