//! The pre-receive hook: scans a push as a whole, and hands it on as a whole. Nothing of it is in
//! the mirror yet: receive-pack holds the objects in a quarantine, and drops them if we fail.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;

use crate::config::{self, Config, Gate, Upstream};
use crate::lock::Work;
use crate::notice::{Ongoing, say};
use crate::push::{self, Update};
use crate::scan::Scan;
use crate::scan::finding::{self, Finding, printable};
use crate::view::View;
use crate::{git, journal, lock, names, process, quarantine, reason};

/// A thousand refs take less.
const MOST_INPUT: u64 = 4 << 20;
/// So many lines of the upstream's are passed on.
const MOST_REMARKS: usize = 50;

/// Why a push is refused.
enum Refusal {
    /// It has these.
    Findings(Vec<Finding>),
    /// Something failed, and this is said to the client; `details` are for the gate's log.
    Failure { lines: Vec<String>, details: String },
}

impl From<String> for Refusal {
    fn from(reason: String) -> Refusal {
        let lines = vec![format!("refused: {reason}; upstream has received nothing")];
        Refusal::Failure { lines, details: String::new() }
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Refusal {
        Refusal::from(reason.to_owned())
    }
}

/// Whether the push has reached upstream.
pub(crate) fn hook(config: Result<Config, String>) -> bool {
    let found = config.and_then(|config| {
        let upstream = here(&config)?;
        Ok((config, upstream))
    });
    let (config, upstream) = match found {
        Ok(found) => found,
        Err(reason) => {
            say(&format!("refused: {reason}"));
            return false;
        }
    };
    let mut updates = Vec::new();
    let result = receive(&config, &upstream, &mut updates);
    match result {
        Ok(()) => {
            let refs: Vec<String> = updates.iter().map(Update::describe).collect();
            journal::note("pushed", &upstream.name, &json!({ "refs": refs }));
            true
        }
        Err(Refusal::Findings(findings)) => {
            let lines = finding::message(&upstream.name, &findings);
            lines.iter().for_each(|line| say(line));
            let found: Vec<String> = findings.iter().map(Finding::fingerprint).collect();
            // Not the names of the refs: a secret may be in one of them.
            let details = json!({ "fingerprints": found });
            journal::note("push-refused", &upstream.name, &details);
            false
        }
        Err(Refusal::Failure { lines, details }) => {
            lines.iter().for_each(|line| say(line));
            let details = json!({ "reason": lines.first(), "details": details });
            journal::note("push-failed", &upstream.name, &details);
            false
        }
    }
}

/// The upstream of the mirror that receive-pack runs us in.
fn here(config: &Config) -> Result<Upstream, String> {
    let unknown = "this mirror is not in the gate's configuration";
    let root = config.gate.root.canonicalize().map_err(|error| error.to_string())?;
    let here = std::env::current_dir().map_err(|error| error.to_string())?;
    let name = config::name_of(&root, &here).ok_or(unknown)?;
    Ok(config.upstream(name).ok_or(unknown)?.clone())
}

fn receive(config: &Config, upstream: &Upstream, updates: &mut Vec<Update>) -> Result<(), Refusal> {
    let deadline = Instant::now() + config.gate.times.push;
    let mut input = Vec::new();
    let read = io::stdin().lock().take(MOST_INPUT + 1).read_to_end(&mut input);
    if read.is_err() || input.len() as u64 > MOST_INPUT {
        return Err("the list of refs can't be read".into());
    }
    *updates = push::updates(&input)?;
    let brings_objects = updates.iter().any(|update| update.new.is_some());
    let environment = environment(brings_objects)?;
    let view = View::make(&config.gate, upstream, &environment, deadline)?;
    names::check(updates, view.names.iter().map(String::as_str))?;
    if brings_objects {
        scan(config, upstream, &view.environment, updates, deadline)?;
    }
    forward(&config.gate, upstream, &view.environment, updates, deadline)
}

/// Without the quarantine the scan would see none of the pushed objects, or the wrong ones. Only a
/// push that deletes and does nothing else has none.
fn environment(has_quarantine: bool) -> Result<Vec<(String, OsString)>, Refusal> {
    let mut environment = git::environment(std::env::var_os("PATH"));
    for name in git::QUARANTINE {
        match std::env::var_os(name) {
            Some(value) => environment.push((name.to_owned(), value)),
            None if has_quarantine => {
                return Err(format!("receive-pack gave its hook no {name}").into());
            }
            None => {}
        }
    }
    Ok(environment)
}

fn scan(
    config: &Config,
    upstream: &Upstream,
    environment: &[(String, OsString)],
    updates: &[Update],
    deadline: Instant,
) -> Result<(), Refusal> {
    let ongoing = Ongoing::begin(|| "waiting for the scan of another push".to_owned());
    let _turn = lock::turn(&config.gate, Work::Scan, deadline)?;
    drop(ongoing);
    let done = Arc::new(AtomicUsize::new(0));
    let scan =
        Scan { gate: &config.gate, upstream, environment, updates, deadline, done: done.clone() };
    let extent = scan.extent()?;
    quarantine::check(&config.gate, upstream, environment, &extent.ids(), deadline)?;
    let all = extent.objects();
    say(&format!("scanning {} commits, {all} objects", extent.commits()));
    let ongoing = Ongoing::begin(move || {
        format!("still scanning, {} of {all} objects", done.load(Ordering::Relaxed))
    });
    let scanned = scan.run(&extent)?;
    drop(ongoing);
    if scanned.incomplete > 0 {
        let count = scanned.incomplete;
        say(&format!(
            "note: {count} archives could not be decoded whole, and were scanned as they are"
        ));
    }
    let approved = approved(&config.gate, upstream);
    let is_new = |finding: &Finding| !approved.contains(&finding.fingerprint());
    let findings: Vec<Finding> = scanned.findings.into_iter().filter(is_new).collect();
    if findings.is_empty() { Ok(()) } else { Err(Refusal::Findings(findings)) }
}

/// A file that is missing or can't be read approves nothing.
fn approved(gate: &Gate, upstream: &Upstream) -> HashSet<String> {
    match std::fs::read_to_string(&gate.approved) {
        Ok(text) => finding::approved(&text, &upstream.name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => HashSet::new(),
        Err(error) => {
            let details = json!({ "reason": error.to_string() });
            journal::note("approvals-unreadable", &upstream.name, &details);
            HashSet::new()
        }
    }
}

fn forward(
    gate: &Gate,
    upstream: &Upstream,
    environment: &[(String, OsString)],
    updates: &[Update],
    deadline: Instant,
) -> Result<(), Refusal> {
    let ongoing = Ongoing::begin(|| "still handing it to upstream".to_owned());
    let lock = lock::acquire(gate, upstream, deadline)?;
    let plan = git::push(gate, upstream, environment, updates);
    let finished = process::run(&plan, Vec::new(), deadline).map_err(unclear)?;
    drop(ongoing);
    remarks(&finished.stderr);
    let output = finished.text();
    if !finished.status.success() || !reason::took_all(&output, updates) {
        let why = reason::reason(&finished.stderr);
        let mut lines = vec![format!("refused: upstream did not take the push: {why}")];
        let refs = reason::refused_refs(&output);
        lines.extend(
            refs.iter().take(MOST_REMARKS).map(|line| format!("  {}", printable(line.as_bytes()))),
        );
        return Err(Refusal::Failure { lines, details: finished.stderr });
    }
    // Upstream has it: from here on nothing makes it undone, so nothing may make it fail.
    if let Err(error) = lock.keep_until_parent_ends() {
        journal::note("lock-not-kept", &upstream.name, &json!({ "reason": error.to_string() }));
    }
    Ok(())
}

/// A push that was broken off may have arrived; the next fetch shows it.
fn unclear(reason: String) -> Refusal {
    let line = format!("failed: {reason}; upstream may have the push or not, fetch to see");
    Refusal::Failure { lines: vec![line], details: String::new() }
}

/// What upstream says to who pushes, the address of a new merge request for example.
fn remarks(stderr: &str) {
    let lines = stderr.lines().filter_map(|line| line.strip_prefix("remote: "));
    for line in lines.take(MOST_REMARKS) {
        say(&format!("upstream: {}", printable(line.trim_end().as_bytes())));
    }
}
