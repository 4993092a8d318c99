//! `supervise pipelock-config`: prints a configuration that lets these hosts through.

use std::collections::BTreeSet;
use std::path::Path;

use supervise::files::{MAX_CONFIG, read_all, read_bounded};
use supervise::host::HostPattern;
use supervise::pipelock_config::{hosts_of_routes, pipelock_config};

use super::{say, warn};

pub(crate) fn run(routes: Option<&Path>, hosts: Vec<String>) -> Result<(), String> {
    let mut all = BTreeSet::new();
    if let Some(path) = routes {
        all.extend(read_routes(path)?);
    }
    for host in hosts {
        all.insert(HostPattern::try_from(host)?);
    }
    if all.is_empty() {
        warn("no host is named, so this configuration allows nothing");
    }
    say(&pipelock_config(&all))
}

fn read_routes(path: &Path) -> Result<Vec<HostPattern>, String> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { Path::new("stdin") } else { path }.display();
    let text = match is_stdin {
        true => read_all(std::io::stdin(), MAX_CONFIG),
        false => read_bounded(path, MAX_CONFIG),
    };
    let text = text.map_err(|error| {
        format!("{name}: {error}; --routes takes the routes.yaml of egress, or - for stdin")
    })?;
    if is_stdin && text.is_empty() {
        warn("stdin is empty; docker run passes it on with -i");
    }
    hosts_of_routes(&text).map_err(|problem| format!("{name}: {problem}"))
}
