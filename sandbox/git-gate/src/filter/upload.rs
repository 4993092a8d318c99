//! `git upload-pack` that gives away only what a ref reaches. git itself gives whatever the
//! repository has to whom its protocol's version 2 lets ask for it (gitprotocol-v2(5): "wants can
//! be anything"), and what a deleted branch left is there for long.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use serde_json::json;

use super::packets::{self, Packet};
use super::{PARTING, code, drain, spawn, usual_path};
use crate::config::{Gate, Upstream};
use crate::push::is_id;
use crate::{git, journal, process};

/// A request that names more is none that git makes.
const LONGEST_REQUEST: usize = 16 << 20;

pub(super) fn upload(gate: &Gate, upstream: &Upstream, git: Command) -> io::Result<ExitCode> {
    let (mut child, mut stdin) = spawn(git, Stdio::inherit())?;
    let refused = Arc::new(OnceLock::new());
    let (reason, gate, of) = (Arc::clone(&refused), gate.clone(), upstream.clone());
    // Beside the wait for git's end, as a client may send nothing more before it hears of that.
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        let result = pass(&mut input, &mut stdin, |wanted| unreachable(&gate, &of, wanted));
        if let Err(Some(why)) = result {
            let _ = reason.set(why);
        }
        // Without the rest of the request git ends, and says nothing.
        drop((stdin, input));
    });
    let status = child.wait()?;
    let Some(reason) = refused.get() else { return Ok(code(status)) };
    packets::write(&packets::error(&format!("git-gate: refused: {reason}")))?;
    journal::note("fetch-refused", &upstream.name, &json!({ "reason": reason }));
    let _ = drain(io::stdin()).recv_timeout(PARTING);
    Ok(ExitCode::FAILURE)
}

/// Passes requests on. What asks for objects is held back up to its end, and they are looked for
/// all at once. An error without a reason is one that git or the client know themselves.
fn pass(
    input: &mut impl Read,
    git: &mut impl Write,
    unreachable: impl Fn(&HashSet<String>) -> Result<Option<String>, String>,
) -> Result<(), Option<String>> {
    let mut held = Vec::new();
    let mut wanted = HashSet::new();
    loop {
        let Some(packet) = packets::read_from_client(input)? else { return Ok(()) };
        wanted.extend(want(&packet)?);
        if wanted.is_empty() {
            git.write_all(&packet.0).map_err(|_| None)?;
            continue;
        }
        held.extend_from_slice(&packet.0);
        if held.len() > LONGEST_REQUEST {
            return Err(Some("it asks for too much at once".to_owned()));
        }
        if packet.is_flush() {
            if let Some(id) = unreachable(&wanted).map_err(Some)? {
                return Err(Some(format!("no ref reaches object {id}")));
            }
            git.write_all(&held).map_err(|_| None)?;
            held.clear();
            wanted.clear();
        }
    }
}

/// The object that a line asks for, in every version of the protocol.
fn want(packet: &Packet) -> Result<Option<String>, Option<String>> {
    let Some(rest) = packet.contents().strip_prefix(b"want ") else { return Ok(None) };
    let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    let id = String::from_utf8_lossy(&rest[..end]).to_lowercase();
    if is_id(&id) {
        Ok(Some(id))
    } else {
        Err(Some("it requests an id that is not an object".to_owned()))
    }
}

/// One of these objects that no ref reaches, if there is one.
fn unreachable(
    gate: &Gate,
    upstream: &Upstream,
    wanted: &HashSet<String>,
) -> Result<Option<String>, String> {
    let environment = git::environment(usual_path(gate));
    let deadline = Instant::now() + gate.times.fetch;
    let refs = ["for-each-ref", "--format=%(objectname)"];
    let plan = git::command(gate, upstream, &environment, &refs);
    let named = process::run(&plan, Vec::new(), deadline)?.text();
    let named: HashSet<&str> = named.lines().collect();
    let mut rest: HashSet<&str> = wanted.iter().map(String::as_str).collect();
    rest.retain(|id| !named.contains(id));
    if rest.is_empty() {
        return Ok(None);
    }
    // Only who fetches by id comes here, or has left files out of a clone before. The newest first,
    // and what belongs to a commit right behind it.
    let walk = ["rev-list", "--objects", "--in-commit-order", "--no-object-names", "--all"];
    let plan = git::command(gate, upstream, &environment, &walk);
    let failed = |error: io::Error| format!("the mirror can't be read: {error}");
    let mut command = plan.command();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::with_capacity(1 << 16, stdout).lines() {
            rest.remove(line.map_err(failed)?.as_str());
            if rest.is_empty() || Instant::now() > deadline {
                break;
            }
        }
    }
    child.kill().map_err(failed)?;
    child.wait().map_err(failed)?;
    Ok(rest.into_iter().next().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[&str]) -> Vec<u8> {
        let packet = |line: &&str| match *line {
            "" => "0000".to_owned(),
            line => format!("{:04x}{line}", line.len() + 4),
        };
        lines.iter().map(packet).collect::<String>().into_bytes()
    }

    /// What reaches git if only `a…` is reached, and the reason for the client.
    fn passed(lines: &[&str]) -> (Vec<u8>, Option<String>) {
        let mut git = Vec::new();
        let unreachable =
            |wanted: &HashSet<String>| Ok(wanted.iter().find(|id| !id.starts_with('a')).cloned());
        let result = pass(&mut request(lines).as_slice(), &mut git, unreachable);
        (git, result.err().flatten())
    }

    #[test]
    fn only_requests_for_what_is_reached_pass() {
        let (good, bad) =
            (format!("want {}", "a".repeat(40)), format!("want {}\n", "b".repeat(40)));
        for lines in [
            &["command=ls-refs", "peel", ""][..],
            &[&good, &good, "", "have x", "done"],
            &["command=fetch", "ofs-delta", &good, "done", "", "command=fetch", &good, ""],
        ] {
            assert_eq!(passed(lines), (request(lines), None));
        }
        let (git, reason) = passed(&["command=fetch", &good, &bad, "done", ""]);
        assert_eq!(git, request(&["command=fetch"]));
        assert!(reason.unwrap().starts_with("no ref reaches object bbbb"));
        let capabilities = bad.trim().to_owned() + " multi_ack";
        assert!(passed(&[&capabilities, ""]).1.is_some());
        assert!(passed(&["want HEAD", ""]).1.unwrap().contains("not an object"));
    }
}
