//! `supervise pipelock-config`: prints a configuration that lets these hosts through, or
//! checks one.

use std::collections::BTreeSet;
use std::io;
use std::path::{Display, Path};

use supervise::files::{MAX_CONFIG, read_all, read_bounded};
use supervise::host::HostPattern;
use supervise::pipelock_check::objections;
use supervise::pipelock_config::{
    Hosts, headers_of_routes, hosts_of_routes, pipelock_config, with_headers_ignored,
};

use super::{say, warn};

pub(crate) fn run(routes: Option<&Path>, hosts: Vec<String>) -> Result<(), String> {
    let mut all = Hosts::default();
    let mut headers = BTreeSet::new();
    if let Some(path) = routes {
        let text = read_routes(path)?;
        let wrong = |problem| format!("{}: {problem}", name(path));
        all = hosts_of_routes(&text).map_err(wrong)?;
        headers = headers_of_routes(&text).map_err(wrong)?;
    }
    for host in hosts {
        all.allowed.insert(HostPattern::try_from(host)?);
    }
    if all.allowed.is_empty() {
        warn("no host is named, so this configuration allows nothing");
    }
    say(&with_headers_ignored(&pipelock_config(&all), &headers))
}

/// For whoever starts pipelock: each problem on a line of its own.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    let name = name(path);
    let text = read(path).map_err(|error| format!("{name}: {error}"))?;
    let found = objections(&text).map_err(|problem| format!("{name}: {problem}"))?;
    for objection in &found {
        warn(&format!("{name}: {objection}"));
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{name} would let through what pipelock is there to refuse; change that, or make one with \
         supervise pipelock-config"
    ))
}

fn read_routes(path: &Path) -> Result<String, String> {
    let name = name(path);
    let text = read(path).map_err(|error| {
        format!("{name}: {error}; --routes takes the routes.yaml of egress, or - for stdin")
    })?;
    if is_stdin(path) && text.is_empty() {
        warn("stdin is empty; docker run passes it on with -i");
    }
    Ok(text)
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn name(path: &Path) -> Display<'_> {
    if is_stdin(path) { Path::new("stdin").display() } else { path.display() }
}

fn read(path: &Path) -> io::Result<String> {
    match is_stdin(path) {
        true => read_all(io::stdin(), MAX_CONFIG),
        false => read_bounded(path, MAX_CONFIG),
    }
}
