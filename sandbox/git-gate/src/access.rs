//! The access hook of git daemon: runs before every fetch and every push, and refuses those for
//! which the mirror could not be made equal to upstream.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::config::{self, Config, Upstream};
use crate::{journal, refresh};

/// git daemon shows the client one line, of which it keeps this much (`run_access_hook` of git).
const LONGEST_LINE: usize = 250;

/// Whether the client may go on; `arguments` are the service and the repository's folder, as
/// git-daemon(1) gives them.
pub(crate) fn hook(config: Result<Config, String>, arguments: &[OsString]) -> bool {
    let Some(folder) = arguments.get(1) else { return answer(Err("no repository named".into())) };
    answer(config.and_then(|config| {
        let folder = Path::new(folder);
        // git daemon gives the path with its links resolved.
        let root =
            config.gate.root.canonicalize().map_err(|error| format!("no mirrors: {error}"))?;
        let name = config::name_of(&root, folder)
            .or_else(|| config::name_of(&config.gate.root, folder))
            .ok_or("there is no such repository")?;
        let upstream = config.upstream(name).ok_or("there is no such repository")?;
        bring_up_to_date(&config, upstream, Duration::ZERO)
    }))
}

/// `git-gate refresh NAME [SECONDS]`: the same for smart HTTP, which has no access hook.
pub(crate) fn refresh(config: Result<Config, String>, arguments: &[OsString]) -> bool {
    let text = |index: usize| arguments.get(index).and_then(|argument| argument.to_str());
    answer(config.and_then(|config| {
        let upstream = text(0).and_then(|name| config.upstream(name));
        let upstream = upstream.ok_or("there is no such repository")?;
        let seconds = text(1).and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
        bring_up_to_date(&config, upstream, Duration::from_secs(seconds))
    }))
}

fn bring_up_to_date(config: &Config, upstream: &Upstream, age: Duration) -> Result<(), String> {
    refresh::refresh(config, upstream, age).map_err(|stale| {
        let details = json!({ "reason": stale.reason, "details": stale.details });
        journal::note("refresh-failed", &upstream.name, &details);
        format!("upstream of \"{}\" can't be reached: {}", upstream.name, stale.reason)
    })
}

fn answer(result: Result<(), String>) -> bool {
    let Err(reason) = result else { return true };
    let line: String = format!("git-gate: refused: {reason}")
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .scan(0, |length, letter| {
            *length += letter.len_utf8();
            (*length < LONGEST_LINE).then_some(letter)
        })
        .collect();
    let _ = writeln!(io::stdout().lock(), "{line}");
    false
}
