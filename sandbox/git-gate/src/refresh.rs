//! Makes a mirror equal to its upstream, or says why that failed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::config::{Config, Gate, Upstream};
use crate::reason::reason;
use crate::{filter, git, lock, process};

/// Why the mirror is not up to date.
#[derive(Debug)]
pub(crate) struct Stale {
    /// For the client.
    pub(crate) reason: String,
    /// For the gate's log.
    pub(crate) details: String,
}

impl From<String> for Stale {
    fn from(reason: String) -> Stale {
        Stale { reason, details: String::new() }
    }
}

/// Fetches from upstream. If somebody has done that since we were asked, or within `newer_than`,
/// then there is nothing left to do.
pub(crate) fn refresh(
    config: &Config,
    upstream: &Upstream,
    newer_than: Duration,
) -> Result<(), Stale> {
    let gate = &config.gate;
    let deadline = Instant::now() + gate.times.fetch;
    let asked = now();
    let _lock = lock::acquire(gate, upstream, deadline)?;
    let stamp = gate.own().join(format!("{}.fetched", upstream.name));
    if is_fresh(read(&stamp), asked.saturating_sub(newer_than), now()) {
        return Ok(());
    }
    let environment = git::environment(filter::usual_path(gate));
    let began = now();
    fetch(gate, upstream, &environment, deadline)?;
    set_head(gate, upstream, &environment, deadline)?;
    // Only a note for others; without it they fetch again.
    let _ = fs::write(&stamp, began.as_nanos().to_string());
    Ok(())
}

/// Whether a fetch that began at `began` is new enough. A note from before a reboot may lie in the
/// future, since the clock began anew.
fn is_fresh(began: Option<Duration>, asked: Duration, now: Duration) -> bool {
    began.is_some_and(|began| began >= asked && began <= now)
}

fn read(stamp: &Path) -> Option<Duration> {
    Some(Duration::from_nanos(fs::read_to_string(stamp).ok()?.parse().ok()?))
}

/// The same clock in every process, and nobody sets it.
fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

fn fetch(
    gate: &Gate,
    upstream: &Upstream,
    environment: &[(String, OsString)],
    deadline: Instant,
) -> Result<(), Stale> {
    let plan = git::fetch(gate, upstream, environment);
    let mut finished = process::run(&plan, Vec::new(), deadline)?;
    // A lock file that is there although we have the lock is from somebody who was killed.
    if !finished.status.success() && finished.stderr.contains(".lock': File exists") {
        remove_lock_files(&gate.mirror(upstream)).map_err(|error| error.to_string())?;
        finished = process::run(&plan, Vec::new(), deadline)?;
    }
    if finished.status.success() {
        return Ok(());
    }
    Err(Stale { reason: reason(&finished.stderr).to_owned(), details: finished.stderr })
}

/// A HEAD that names no branch makes clones warn, and check nothing out. What upstream's names is
/// asked only then, as that takes a connection of its own.
fn set_head(
    gate: &Gate,
    upstream: &Upstream,
    environment: &[(String, OsString)],
    deadline: Instant,
) -> Result<(), Stale> {
    let run = |arguments: &[&str]| {
        process::run(&git::command(gate, upstream, environment, arguments), Vec::new(), deadline)
    };
    let branch = match &upstream.default_branch {
        Some(branch) => {
            let branch = format!("refs/heads/{branch}");
            if run(&["symbolic-ref", "HEAD"])?.text().trim_end() == branch {
                return Ok(());
            }
            branch
        }
        None => {
            if run(&["rev-parse", "--quiet", "--verify", "HEAD^{commit}"])?.status.success() {
                return Ok(());
            }
            let plan = git::ask_head(gate, upstream, environment);
            let answer = process::run(&plan, Vec::new(), deadline)?;
            let Some(branch) = git::head(&answer.text()).map(str::to_owned) else { return Ok(()) };
            branch
        }
    };
    let finished = run(&["symbolic-ref", "HEAD", &branch])?;
    if finished.status.success() {
        return Ok(());
    }
    Err(Stale { reason: "its HEAD can't be set".to_owned(), details: finished.stderr })
}

/// Removes git's lock files of refs. Only for who has the lock.
pub(crate) fn remove_lock_files(mirror: &Path) -> io::Result<()> {
    for name in ["HEAD.lock", "packed-refs.lock", "shallow.lock", "config.lock"] {
        match fs::remove_file(mirror.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    remove_below(&mirror.join("refs"))
}

fn remove_below(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path())?;
        } else if entry.path().extension().is_some_and(|extension| extension == "lock") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fetch_since_the_question_answers_it() {
        let seconds = Duration::from_secs;
        assert!(!is_fresh(None, seconds(1), seconds(9)));
        assert!(!is_fresh(Some(seconds(4)), seconds(5), seconds(9)));
        assert!(is_fresh(Some(seconds(5)), seconds(5), seconds(9)));
        assert!(!is_fresh(Some(seconds(10)), seconds(5), seconds(9)), "from before a reboot");
    }

    #[test]
    fn lock_files_go_and_refs_stay() {
        let folder = tempfile::tempdir().unwrap();
        let refs = folder.path().join("refs/heads/topic");
        fs::create_dir_all(&refs).unwrap();
        for name in ["one", "two.lock"] {
            fs::write(refs.join(name), "").unwrap();
        }
        fs::write(folder.path().join("packed-refs.lock"), "").unwrap();
        remove_lock_files(folder.path()).unwrap();
        assert!(refs.join("one").exists());
        assert!(!refs.join("two.lock").exists());
        assert!(!folder.path().join("packed-refs.lock").exists());
    }
}
