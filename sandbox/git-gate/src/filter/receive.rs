//! `git receive-pack` within limits: what a pack would unpack to is seen before git unpacks it, and
//! memory is limited for git, the hook and all that they start. Whatever git refuses before the hook
//! runs is told to the client in one sentence, and noted in the gate's log.

use std::io::{self, Read, Write};
use std::process::{ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Instant;

use serde_json::json;

use super::pack::Check;
use super::packets::{self, Packet};
use super::{PARTING, code, drain, spawn};
use crate::config::{Gate, Limits, Upstream};
use crate::lock::{self, Lock, Work};
use crate::notice::Ongoing;
use crate::scan::finding::printable;
use crate::{journal, memory};

/// The commands of a push take less: the hook takes a thousand refs.
const LONGEST_HEAD: usize = 4 << 20;
/// So much of git's complaints is kept for the log.
const MOST_WORDS: usize = 4000;

/// What both directions know.
#[derive(Default)]
struct Push {
    /// The client reads progress beside the report.
    has_side_band: AtomicBool,
    /// Why git does not get the rest.
    refused: OnceLock<String>,
    /// Held while git unpacks.
    turn: Mutex<Option<Lock>>,
}

impl Push {
    fn say(&self, line: &str) {
        if self.has_side_band.load(Ordering::Acquire) {
            let _ = packets::write(&packets::progress(line));
        }
    }
}

pub(super) fn receive(gate: &Gate, upstream: &Upstream, git: Command) -> io::Result<ExitCode> {
    memory::limit(gate.limits.memory)?;
    let (mut child, stdin) = spawn(git, Stdio::piped())?;
    let push = Arc::new(Push::default());
    let sent = send(gate, stdin, &push);
    let mut report = Report::default();
    if let Some(mut stdout) = child.stdout.take() {
        while let Ok(Some(packet)) = packets::read(&mut stdout) {
            report.pass(&packet, &push, &gate.limits)?;
        }
    }
    let status = child.wait()?;
    let reason = push.refused.get().map(|reason| refusal(reason)).or(report.reason);
    let reason =
        reason.or_else(|| (!status.success()).then(|| format!("git receive-pack: {status}")));
    if let Some(reason) = reason {
        let details = printable(report.words.as_bytes());
        journal::note(
            "push-failed",
            &upstream.name,
            &json!({ "reason": reason, "details": details }),
        );
        // Whoever is refused may still be sending.
        let _ = sent.recv_timeout(PARTING);
    }
    Ok(code(status))
}

fn refusal(reason: &str) -> String {
    format!("refused: {reason}; upstream has received nothing")
}

/// Gives git what the client sends, as far as it may have it. What it returns is closed when the
/// client has sent all.
fn send(gate: &Gate, mut git: ChildStdin, push: &Arc<Push>) -> Receiver<()> {
    let (sender, ended) = mpsc::channel();
    let (gate, push) = (gate.clone(), Arc::clone(push));
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        if let Err(Some(reason)) =
            pass(&mut input, &mut git, gate.limits, &push, || wait(&gate, &push))
        {
            push.say(&refusal(&reason));
            let _ = push.refused.set(reason);
        }
        drop((git, input));
        let _ = drain(io::stdin()).recv();
        drop(sender);
    });
    ended
}

/// Waits until no other push is unpacked.
fn wait(gate: &Gate, push: &Arc<Push>) -> Result<(), String> {
    let told = Arc::clone(push);
    let ongoing = Ongoing::every_time(move || told.say("waiting for another push"));
    let turn = lock::turn(gate, Work::Unpack, Instant::now() + gate.times.push)?;
    drop(ongoing);
    if let Ok(mut held) = push.turn.lock() {
        *held = Some(turn);
    }
    Ok(())
}

/// Passes a push on; `wait` is called before git gets the last of it, once all is here. An error
/// without a reason is one that git or the client know themselves.
fn pass(
    input: &mut impl Read,
    git: &mut impl Write,
    limits: Limits,
    push: &Push,
    wait: impl FnOnce() -> Result<(), String>,
) -> Result<(), Option<String>> {
    let mut wait = Some(wait);
    let mut length = 0;
    loop {
        let Some(packet) = packets::read_from_client(input)? else { return Ok(()) };
        if asks_for_side_band(packet.contents()) {
            push.has_side_band.store(true, Ordering::Release);
        }
        length += packet.0.len();
        if length > LONGEST_HEAD {
            return Err(Some("it names too many refs; push them in parts".to_owned()));
        }
        git.write_all(&packet.0).map_err(|_| None)?;
        if packet.is_flush() {
            break;
        }
    }
    let mut check = Check::new(limits);
    let (mut bytes, mut held) = (vec![0; 1 << 16], Vec::new());
    loop {
        let count = match input.read(&mut bytes) {
            Ok(0) => return git.write_all(&held).map_err(|_| None),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Err(None),
        };
        check.feed(&bytes[..count]).map_err(Some)?;
        held.extend_from_slice(&bytes[..count]);
        // git does most of its work once it has the end of the last object. Until all is here, others
        // would wait for a client that may be slow.
        if check.wants_its_sum() {
            continue;
        }
        if check.has_ended()
            && let Some(wait) = wait.take()
        {
            wait().map_err(Some)?;
        }
        git.write_all(&held).map_err(|_| None)?;
        held.clear();
    }
}

/// The first command has the client's capabilities behind a NUL; before it a shallow clone says where
/// it ends (gitprotocol-pack(5)).
fn asks_for_side_band(command: &[u8]) -> bool {
    let mut parts = command.splitn(2, |byte| *byte == 0);
    let capabilities = parts.nth(1).unwrap_or_default();
    capabilities.split(u8::is_ascii_whitespace).any(|word| word == b"side-band-64k")
}

/// What git answers.
#[derive(Default)]
struct Report {
    /// Its complaints, without what the hook said.
    words: String,
    /// Why it did not take the push, if that was before the hook ran.
    reason: Option<String>,
}

impl Report {
    /// Gives a packet to the client, with an explanation before it where that is needed.
    fn pass(&mut self, packet: &Packet, push: &Push, limits: &Limits) -> io::Result<()> {
        let contents = packet.contents();
        let text = || String::from_utf8_lossy(contents.get(1..).unwrap_or_default());
        // The hook speaks first of all, or git says that nothing was unpacked.
        // An empty packet only says that it goes on.
        let is_unpacked = match contents.first() {
            Some(2) => text().starts_with("git-gate: "),
            Some(1) => contents.len() > 1,
            _ => true,
        };
        if is_unpacked && let Ok(mut turn) = push.turn.lock() {
            turn.take();
        }
        match contents.first() {
            Some(2) => {
                let is_known = push.refused.get().is_some();
                if !text().starts_with("git-gate: ") && self.words.len() < MOST_WORDS {
                    self.words.push_str(&text());
                }
                // Only that its input broke off, which we did.
                if is_known { Ok(()) } else { packets::write(packet) }
            }
            Some(1) => {
                if push.refused.get().is_none() {
                    self.explain(&text(), push, limits);
                }
                packets::write(packet)
            }
            _ => packets::write(packet),
        }
    }

    /// Says why git unpacked nothing. The refs that it refuses by itself it gives reasons for.
    fn explain(&mut self, report: &str, push: &Push, limits: &Limits) {
        if let Some((_, why)) = report.split_once("unpack ") {
            if why.starts_with("ok\n") {
                if memory::ran_out(&self.words) {
                    // The hook itself, which can't say it any more.
                    let reason = refusal(&unpacked_nothing(&self.words, limits));
                    push.say(&reason);
                    self.reason = Some(reason);
                    return;
                }
                let declined =
                    |line: &&str| line.contains("ng refs/") && !line.contains("hook declined");
                self.reason = report.lines().find(declined).and_then(|line| {
                    Some(format!("refused: {}", printable(line.split_once("ng ")?.1.as_bytes())))
                });
                return;
            }
            let reason = refusal(&unpacked_nothing(&self.words, limits));
            push.say(&reason);
            self.reason = Some(reason);
        }
    }
}

/// What git's complaints mean.
fn unpacked_nothing(words: &str, limits: &Limits) -> String {
    if memory::ran_out(words) {
        return format!("to unpack it takes more than max-memory ({} bytes)", limits.memory);
    }
    if words.contains("exceeds maximum allowed size") {
        return format!("it is larger than max-push-size ({} bytes)", limits.push);
    }
    if words.contains("fsck error") || words.contains("error in object") {
        return "an object of it is malformed, as git says above".to_owned();
    }
    "git could not unpack it, for the reason above".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_band_is_asked_for_by_its_name() {
        assert!(asks_for_side_band(b"a b refs/heads/x\0 report-status side-band-64k agent=x\n"));
        assert!(!asks_for_side_band(b"a b refs/heads/side-band-64k\0report-status"));
        assert!(!asks_for_side_band(b"a side-band-64k"));
    }

    #[test]
    fn only_what_may_pass_reaches_git() {
        let limits = Limits { sessions: 1, push: 1, file: 9, scan: 9, memory: 1 << 30 };
        let mut git = Vec::new();
        let input = b"0009a\0b c0000PACK\0\0\0\x02\0\0\0\x01\x95\x0a";
        let error = pass(&mut &input[..], &mut git, limits, &Push::default(), || Ok(()))
            .unwrap_err()
            .unwrap();
        assert!(error.contains("unpacks to 165 bytes"), "{error}");
        assert_eq!(git, b"0009a\0b c0000");
        let error = pass(&mut &b"GET / HTTP"[..], &mut git, limits, &Push::default(), || Ok(()))
            .unwrap_err();
        assert!(error.unwrap().contains("does not speak git's protocol"));
        let long = packets::progress(&"x".repeat(60_000)).0.repeat(80);
        let error =
            pass(&mut long.as_slice(), &mut git, limits, &Push::default(), || Ok(())).unwrap_err();
        assert!(error.unwrap().contains("too many refs"));
    }

    #[test]
    fn others_are_made_to_wait_only_once_all_is_here() {
        let limits = Limits { sessions: 1, push: 1, file: 9, scan: 9, memory: 1 << 30 };
        let blob = b"\x31x\x9cK\x04\0\0b\0b";
        let pack = [b"0009a\0b c0000PACK\0\0\0\x02\0\0\0\x01", &blob[..], &[7; 20]].concat();
        for (length, is_whole) in [(pack.len(), true), (pack.len() - 1, false)] {
            let (mut git, mut waited) = (Vec::new(), false);
            let wait = || {
                waited = true;
                Ok(())
            };
            // In two reads, as a slow client sends it.
            let mut input = pack[..40].chain(&pack[40..length]);
            pass(&mut input, &mut git, limits, &Push::default(), wait).unwrap();
            assert_eq!(waited, is_whole);
            assert_eq!(git, pack[..length]);
        }
    }

    #[test]
    fn each_of_gits_complaints_becomes_one_sentence() {
        let limits = Limits { sessions: 1, push: 7, file: 9, scan: 9, memory: 8 };
        for (words, meaning) in [
            ("fatal: Out of memory, malloc failed (tried to allocate 9 bytes)\n", "max-memory (8"),
            ("fatal: pack exceeds maximum allowed size\n", "max-push-size (7"),
            ("error: object 1: hasDotgit: x\nfatal: fsck error in packed object\n", "malformed"),
            ("fatal: early EOF\n", "could not unpack it"),
        ] {
            assert!(unpacked_nothing(words, &limits).contains(meaning), "{words}");
        }
    }
}
