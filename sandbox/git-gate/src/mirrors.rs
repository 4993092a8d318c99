//! Makes what `serve` needs below the root: the mirrors, the hooks, and nothing that a killed
//! predecessor left half-done.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::{Config, Gate, Ssh, Upstream};
use crate::plan::Plan;
use crate::{filter, git, process, refresh, view};

/// The names by which git calls us, as hooks. git daemon takes no arguments for its hook, so the
/// name says which one it is.
pub(crate) const HOOKS: [&str; 2] = ["access", "pre-receive"];
/// HEAD of a new mirror, until upstream says what it is.
const NO_BRANCH: &str = "--initial-branch=git-gate/unknown";
/// Programs that only say their version take less.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Prepares everything.
///
/// # Errors
/// All that is wrong, with its names.
pub(crate) fn prepare(config: &Config) -> Result<(), Vec<String>> {
    let gate = &config.gate;
    let mut problems = Vec::new();
    for upstream in &config.upstreams {
        problems.extend(upstream.ssh.iter().flat_map(|ssh| unreadable(upstream, ssh)));
    }
    let gitleaks = Plan::new(&gate.gitleaks, Path::new("/")).arguments(["version"]);
    match process::run(&gitleaks, Vec::new(), Instant::now() + START_TIMEOUT) {
        Ok(finished) if finished.status.success() => {}
        Ok(_) => problems.push(format!("{} version fails", gate.gitleaks.display())),
        Err(error) => problems.push(format!("{}: {error}", gate.gitleaks.display())),
    }
    if let Some(rules) = &gate.gitleaks_config {
        let opened = fs::File::open(rules).err();
        problems.extend(opened.map(|error| format!("{}: {error}", rules.display())));
    }
    if problems.is_empty() {
        let made = links(gate)
            .and_then(|()| view::clear(gate))
            .map_err(|error| format!("{}: {error}", gate.root.display()));
        problems.extend(made.err());
    }
    if problems.is_empty() {
        let made = config.upstreams.iter().filter_map(|upstream| mirror(gate, upstream).err());
        problems.extend(made);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn unreadable(upstream: &Upstream, ssh: &Ssh) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, path) in [("key", &ssh.key), ("known-hosts", &ssh.known_hosts)] {
        let problem = match fs::read(path) {
            Ok(text) if text.is_empty() => "is empty".to_owned(),
            Ok(_) => continue,
            Err(error) => format!("can't be read: {error}"),
        };
        let path = path.display();
        problems.push(format!("upstream \"{}\": its `{key}` {path} {problem}", upstream.name));
    }
    problems
}

/// Links to this program: links work where the root is read-only, and where `/git` is mounted
/// with noexec.
fn links(gate: &Gate) -> io::Result<()> {
    let program = std::env::current_exe()?;
    for (folder, names) in [(gate.hooks(), &HOOKS[..]), (gate.programs(), &[filter::NAME])] {
        fs::create_dir_all(&folder)?;
        for name in names {
            let link = folder.join(name);
            if fs::read_link(&link).ok().as_deref() == Some(program.as_path()) {
                continue;
            }
            match fs::remove_file(&link) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => symlink(&program, &link)?,
            }
        }
    }
    Ok(())
}

fn mirror(gate: &Gate, upstream: &Upstream) -> Result<(), String> {
    let path = gate.mirror(upstream);
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let environment = git::environment(std::env::var_os("PATH"));
    let plan = if path.join("HEAD").exists() {
        // Nobody else works in it yet, so what is locked is left over.
        refresh::remove_lock_files(&path).map_err(failed)?;
        git::command(gate, upstream, &environment, &["rev-parse", "--is-bare-repository"])
    } else {
        fs::create_dir_all(&path).map_err(failed)?;
        let arguments = ["init", "--quiet", "--bare", "--template=", NO_BRANCH, "."];
        git::command(gate, upstream, &environment, &arguments)
    };
    match fs::remove_file(gate.own().join(format!("{}.fetched", upstream.name))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let finished = process::run(&plan, Vec::new(), Instant::now() + START_TIMEOUT)?;
    if finished.status.success() {
        return Ok(());
    }
    Err(format!("{}: {} failed: {}", path.display(), plan.name(), finished.stderr.trim_end()))
}
