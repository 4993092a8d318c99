//! How git is called: its environment, its settings, and the command lines. Pure.
//!
//! Nothing is left to files that somebody else could write: settings come by the environment,
//! which is also the one place beside the system's and the user's files where git obeys
//! `safe.directory` (git-config(1)).

use std::ffi::OsString;
use std::path::Path;

use crate::config::{Gate, Upstream};
use crate::plan::Plan;
use crate::push::Update;
use crate::ssh;

/// What receive-pack tells its hooks of the quarantine, githooks(5) and git-receive-pack(1).
/// Without these the hook would not see what was pushed.
pub(crate) const QUARANTINE: [&str; 4] =
    ["GIT_DIR", "GIT_QUARANTINE_PATH", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"];

/// Where programs are looked for if the gate itself was not told.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The environment of every child; `path` is where it finds programs.
pub(crate) fn environment(path: Option<OsString>) -> Vec<(String, OsString)> {
    let path = path.filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into());
    let mut environment = vec![("PATH".to_owned(), path)];
    for (name, value) in [
        // The reasons are read from git's messages, so they have to be the English ones.
        ("LC_ALL", "C"),
        ("HOME", "/nonexistent"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        // With refs/replace a client could show the scan other objects than those it pushes.
        ("GIT_NO_REPLACE_OBJECTS", "1"),
    ] {
        environment.push((name.to_owned(), value.into()));
    }
    environment
}

/// Settings as git takes them from its environment, `GIT_CONFIG_COUNT` in git-config(1).
pub(crate) fn settings(pairs: &[(String, OsString)]) -> Vec<(String, OsString)> {
    let mut environment = vec![("GIT_CONFIG_COUNT".to_owned(), pairs.len().to_string().into())];
    for (number, (key, value)) in pairs.iter().enumerate() {
        environment.push((format!("GIT_CONFIG_KEY_{number}"), key.into()));
        environment.push((format!("GIT_CONFIG_VALUE_{number}"), value.clone()));
    }
    environment
}

/// The settings of all that works in these mirrors.
pub(crate) fn mirror_settings<'a>(
    gate: &Gate,
    upstreams: impl IntoIterator<Item = &'a Upstream>,
) -> Vec<(String, OsString)> {
    let mut pairs: Vec<(String, OsString)> = upstreams
        .into_iter()
        .map(|upstream| ("safe.directory".to_owned(), gate.mirror(upstream).into()))
        .collect();
    pairs.push(("core.hooksPath".to_owned(), gate.hooks().into()));
    pairs.push(("receive.maxInputSize".to_owned(), gate.limits.push.to_string().into()));
    // Sent while a client waits for the gate's work, whose silence would else end the session.
    // Five seconds is git's own choice.
    let keep_alive = (gate.times.idle.as_secs() / 3).clamp(1, 5).to_string();
    for key in ["receive.keepAlive", "uploadpack.keepAlive"] {
        pairs.push((key.to_owned(), keep_alive.clone().into()));
    }
    for (key, value) in [
        // Bigger ones are streamed to the disk, not held in memory.
        ("core.bigFileThreshold", "32m"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("receive.autogc", "false"),
        // What may be deleted or rewritten is for the upstream to say.
        ("receive.denyDeletes", "false"),
        ("receive.denyDeleteCurrent", "ignore"),
        ("receive.denyNonFastForwards", "false"),
        ("receive.advertisePushOptions", "false"),
        // Malformed objects and names of files that harm who checks them out (git-fsck(1)). With
        // these three what git itself only mentions is refused too: no git of today writes it.
        ("receive.fsckObjects", "true"),
        ("receive.fsck.badFilemode", "error"),
        ("receive.fsck.badTagName", "error"),
        ("uploadpack.allowFilter", "true"),
        ("http.receivepack", "true"),
        ("diff.renames", "false"),
        ("log.showSignature", "false"),
    ] {
        pairs.push((key.to_owned(), value.into()));
    }
    pairs
}

/// A git command in this mirror. What the hook was told of its quarantine goes in `environment`.
pub(crate) fn command(
    gate: &Gate,
    upstream: &Upstream,
    environment: &[(String, OsString)],
    arguments: &[&str],
) -> Plan {
    Plan::new("git", &gate.mirror(upstream))
        .arguments(arguments)
        .environment(environment)
        .environment(&settings(&mirror_settings(gate, [upstream])))
}

/// A git command that talks to the upstream.
fn remote_command(
    gate: &Gate,
    upstream: &Upstream,
    environment: &[(String, OsString)],
    arguments: &[&str],
) -> Plan {
    let protocols: Vec<&str> = gate.protocols.iter().map(|protocol| protocol.name()).collect();
    let plan = command(gate, upstream, environment, arguments)
        .variable("GIT_ALLOW_PROTOCOL", protocols.join(":"));
    match &upstream.ssh {
        Some(ssh) => {
            plan.variable("GIT_SSH_COMMAND", ssh::command(ssh)).variable("GIT_SSH_VARIANT", "ssh")
        }
        None => plan,
    }
}

/// Makes the mirror's refs those of the upstream, all or none.
pub(crate) fn fetch(gate: &Gate, upstream: &Upstream, environment: &[(String, OsString)]) -> Plan {
    let fixed = ["fetch", "--quiet", "--atomic", "--prune", "--no-tags", "--no-write-fetch-head"];
    let more = ["--no-auto-maintenance", "--no-recurse-submodules"];
    let what = ["--", upstream.url.as_str(), "+refs/*:refs/*"];
    remote_command(gate, upstream, environment, &[&fixed[..], &more, &what].concat())
}

/// Asks what the upstream's HEAD names.
pub(crate) fn ask_head(
    gate: &Gate,
    upstream: &Upstream,
    environment: &[(String, OsString)],
) -> Plan {
    let arguments = ["ls-remote", "--quiet", "--symref", "--", upstream.url.as_str(), "HEAD"];
    remote_command(gate, upstream, environment, &arguments)
}

/// The branch in the answer to `ask_head`.
pub(crate) fn head(answer: &str) -> Option<&str> {
    let line = answer.lines().find_map(|line| line.strip_prefix("ref: "))?;
    let (name, of) = line.split_once('\t')?;
    (of == "HEAD").then_some(name).filter(|name| name.starts_with("refs/heads/"))
}

/// Hands the push on: all of it or nothing, and only if the upstream is where the client saw it.
///
/// `environment` has to be that of a view, in which no ref can have the name of an id.
///
/// The upstream is named by its URL: for a named remote git would want to move its tracking refs,
/// which the quarantine forbids.
pub(crate) fn push(
    gate: &Gate,
    upstream: &Upstream,
    environment: &[(String, OsString)],
    updates: &[Update],
) -> Plan {
    let mut arguments: Vec<String> =
        ["push", "--porcelain", "--atomic", "--no-verify", "--no-follow-tags", "--no-signed"]
            .map(str::to_owned)
            .into();
    arguments.push("--recurse-submodules=no".to_owned());
    arguments.extend(updates.iter().map(Update::lease));
    arguments.extend(["--".to_owned(), upstream.url.clone()]);
    arguments.extend(updates.iter().map(Update::refspec));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    remote_command(gate, upstream, environment, &arguments)
}

/// Where git has programs that are no part of its main one. They are run from there by themselves,
/// as git would put this folder before the one in which they have to look for git.
pub(crate) fn ask_programs() -> Plan {
    Plan::new("git", Path::new("/")).arguments(["--exec-path"])
}

/// `git daemon` for one connection, on stdin and stdout; `programs` is where it is.
pub(crate) fn daemon(gate: &Gate, programs: &Path, access: &Path) -> Plan {
    let seconds = |time: std::time::Duration| time.as_secs().to_string();
    let arguments: [OsString; 10] = [
        "--inetd".into(),
        "--log-destination=none".into(),
        "--export-all".into(),
        "--enable=receive-pack".into(),
        "--informative-errors".into(),
        with("--base-path=", gate.root.as_os_str()),
        with("--access-hook=", access.as_os_str()),
        format!("--init-timeout={}", seconds(gate.times.request)).into(),
        format!("--timeout={}", seconds(gate.times.idle)).into(),
        gate.root.clone().into(),
    ];
    Plan::new(programs.join("git-daemon"), Path::new("/")).arguments(arguments)
}

fn with(option: &str, value: &std::ffi::OsStr) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(value);
    argument
}

#[cfg(test)]
mod tests;
