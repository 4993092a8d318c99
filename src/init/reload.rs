//! Reads the bundle again, and goes on by it.
//!
//! A child reads and checks it: that takes its time, and a file system that does not answer would
//! hold up the init for ever. What comes back is the plan, or what is wrong.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use mio::Interest;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use serde_json::{Value, json};

use super::Init;
use super::control::Mode;
use super::own_file::look_at;
use super::sockets::{self, Sockets};
use super::token::Source;
use crate::error_text::error_text;
use crate::file::Files;
use crate::nearest::listed;
use crate::plan::Plan;
use crate::source::Source as BundleSource;
use crate::supervisor::{Changes, End, ServiceId, State};
use crate::sys::fork::fork;
use crate::sys::memory;
use crate::wire::Wire;

/// How long the child may take.
const LONGEST_READING: Duration = Duration::from_secs(10);
/// How much of its answer is taken before others have their turn.
const SHARE: usize = 1024 * 1024;
/// A longer answer is none: what a bundle may be made of is bounded.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// A new plan, or why there is none; and what is odd about the bundle.
type Answer = (Vec<String>, Result<Plan, String>);

#[derive(Debug, Default)]
pub(super) struct Reloads {
    reading: Option<Reading>,
    /// What the child has found out, until the init goes on by it.
    answer: Option<Answer>,
    /// The clients who have asked for what is going on.
    asked: Vec<usize>,
    /// Somebody has asked since the child began, who may have changed the file again.
    again: bool,
    /// The clients among those.
    asked_again: Vec<usize>,
}

/// A child that reads the bundle.
#[derive(Debug)]
struct Reading {
    /// `None`: it has been reaped.
    pid: Option<Pid>,
    pipe: OwnedFd,
    said: Vec<u8>,
    until: Instant,
}

impl Reloads {
    /// When the child has taken too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.reading.as_ref().map(|reading| reading.until)
    }

    /// Nobody ran for so long.
    pub(super) fn put_off(&mut self, gap: Duration) {
        self.reading.iter_mut().for_each(|reading| reading.until += gap);
    }

    pub(super) fn descriptor(&self) -> Option<RawFd> {
        self.reading.as_ref().map(|reading| reading.pipe.as_raw_fd())
    }

    /// Whether it is the child that reads the bundle.
    pub(super) fn is_reader(&self, pid: i32) -> bool {
        let reader = self.reading.as_ref().and_then(|reading| reading.pid);
        reader.is_some_and(|reader| reader.as_raw_nonzero().get() == pid)
    }

    /// The child was reaped: its number is another's soon. What it has said is still in the pipe.
    pub(super) fn reaped(&mut self, pid: Pid) {
        if let Some(reading) = &mut self.reading
            && reading.pid == Some(pid)
        {
            reading.pid = None;
        }
    }

    fn is_under_way(&self) -> bool {
        self.reading.is_some() || self.answer.is_some()
    }

    /// Takes what the child has said, a share of it. Whether there may be more.
    fn read(&mut self) -> bool {
        let Some(reading) = &mut self.reading else { return false };
        let mut buffer = [0; 64 * 1024];
        for _ in 0..SHARE / buffer.len() {
            let answer = match rustix::io::read(&reading.pipe, &mut buffer) {
                Ok(0) => parse(&reading.said),
                Ok(count) if reading.said.len() + count <= LONGEST_ANSWER => {
                    reading.said.extend_from_slice(&buffer[..count]);
                    continue;
                }
                Ok(_) => (Vec::new(), Err("it makes a plan that is too large".to_owned())),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return false,
                Err(error) => (Vec::new(), Err(error_text(&error.into()))),
            };
            self.end(answer);
            return false;
        }
        true
    }

    /// The child is not needed any more.
    fn end(&mut self, answer: Answer) {
        let reading = self.reading.take();
        if let Some(pid) = reading.and_then(|reading| reading.pid) {
            // It is not reaped yet, so the number is still its own. If even this does not end it,
            // nobody waits for it.
            let _ = kill_process(pid, Signal::KILL);
        }
        self.answer = Some(answer);
    }
}

/// Makes the child; returns the end of the pipe from which its answer comes.
fn start_reading(source: &BundleSource, sockets: &Sockets) -> io::Result<(Pid, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    let keep = [writer.as_raw_fd()];
    let mut writer = File::from(writer);
    let pid = fork(&keep, || {
        // It is of no use without the init, however that ends.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        u8::from(writer.write_all(&read_bundle(source, sockets)).is_err())
    })?;
    Ok((pid, reader))
}

/// The child's work: all that is to be known of the bundle. The init makes and removes sockets
/// itself, so the child looks first whether their file systems answer.
fn read_bundle(source: &BundleSource, sockets: &Sockets) -> Vec<u8> {
    let mut warnings = Vec::new();
    let plan = source.plan(&mut Files::default(), &mut warnings);
    sockets.paths().chain(plan.iter().flat_map(sockets::paths_of)).for_each(look_at);
    let mut said = Vec::new();
    warnings.encode(&mut said);
    plan.is_ok().encode(&mut said);
    match plan {
        Ok(plan) => said.extend(plan.to_bytes()),
        Err(refusal) => refusal.reason.encode(&mut said),
    }
    said
}

fn parse(mut said: &[u8]) -> Answer {
    let input = &mut said;
    let answer = |input: &mut &[u8]| -> Option<Answer> {
        let warnings = Vec::<String>::decode(input)?;
        Some(match bool::decode(input)? {
            true => (warnings, Ok(Plan::from_bytes(input)?)),
            false => (warnings, Err(String::decode(input)?)),
        })
    };
    answer(input).unwrap_or_else(|| {
        let reason = "the process that read it has ended before it was done; was there too little \
                      memory?";
        (Vec::new(), Err(reason.to_owned()))
    })
}

impl Init {
    /// Somebody wants the bundle to be read again: a client, who is told what came of it, or a
    /// signal.
    ///
    /// # Errors
    /// If it can't be read now; the log says it, too.
    pub(super) fn ask_for_reload(&mut self, client: Option<usize>) -> Result<(), String> {
        if self.reloads.is_under_way() {
            self.reloads.again = true;
            self.reloads.asked_again.extend(client);
        } else {
            self.begin_reload().inspect_err(|reason| self.not_reloaded(reason))?;
            self.reloads.asked.extend(client);
        }
        if let Some(number) = client {
            self.stream(number, Mode::Reload);
        }
        Ok(())
    }

    fn begin_reload(&mut self) -> Result<(), String> {
        if self.supervisor.shutdown_deadline().is_some() {
            return Err("the bundle is shutting down".to_owned());
        }
        let source = self.options.source.as_ref().ok_or("it did not come from a file")?;
        let (pid, pipe) = start_reading(source, &self.sockets).map_err(|error| {
            format!("can't make a process that reads it: {}", error_text(&error))
        })?;
        self.poll.registry().register(&pipe, Source::Reload.token(), Interest::READABLE);
        let until = Instant::now() + LONGEST_READING;
        self.reloads.reading = Some(Reading { pid: Some(pid), pipe, said: Vec::new(), until });
        Ok(())
    }

    /// The poll has said that the child has got further.
    pub(super) fn reload_went_on(&mut self) {
        self.unfinished.reload = self.reloads.read();
    }

    /// Goes on by the new bundle when all of it is there. What is wrong with it leaves everything
    /// as it was. All that was learnt before is told to the core by now, so that it and we mean
    /// the same by each id.
    pub(super) fn go_on_with_reload(&mut self, now: Instant) {
        if std::mem::take(&mut self.unfinished.reload) {
            self.reload_went_on();
        }
        if self.reloads.deadline().is_some_and(|until| until <= now) {
            let longest = humantime::format_duration(LONGEST_READING);
            let reason = format!("reading it took longer than {longest}; does a file system hang?");
            self.reloads.end((Vec::new(), Err(reason)));
        }
        let Some((warnings, plan)) = self.reloads.answer.take() else { return };
        warnings.iter().for_each(|warning| self.say(warning));
        let reloaded =
            plan.and_then(|plan| self.go_on_by(plan)).map(|changes| self.reloaded(&changes));
        if let Err(reason) = &reloaded {
            self.not_reloaded(reason);
        }
        let asked = std::mem::take(&mut self.reloads.asked);
        self.answer_reload(asked, &reloaded, now);
        // Reading the plan took far more than what is kept of it.
        memory::give_back();
        if std::mem::take(&mut self.reloads.again) {
            let asked = std::mem::take(&mut self.reloads.asked_again);
            match self.begin_reload() {
                Ok(()) => self.reloads.asked = asked,
                Err(reason) => {
                    self.not_reloaded(&reason);
                    self.answer_reload(asked, &Err(reason), now);
                }
            }
        }
    }

    /// The bundle comes down: nobody needs another one.
    pub(super) fn give_up_reload(&mut self, now: Instant) {
        if self.reloads.is_under_way() {
            let reason = Err("the bundle is shutting down".to_owned());
            self.reloads.end((Vec::new(), reason));
            self.go_on_with_reload(now);
        }
    }

    fn answer_reload(&mut self, asked: Vec<usize>, reloaded: &Result<Value, String>, now: Instant) {
        let answer = match reloaded {
            Ok(more) => {
                let mut answer = more.clone();
                answer["ok"] = true.into();
                answer
            }
            Err(reason) => json!({"ok": false, "error": reason}),
        };
        for number in asked {
            if let Some(control) = &mut self.control {
                control.waited(number, now);
            }
            self.give(number, &answer, now);
        }
    }

    fn not_reloaded(&mut self, reason: &str) {
        self.say(&format!("bundle not reloaded: {reason}"));
    }

    /// Tells of the changes; returns them for whoever asked.
    fn reloaded(&mut self, changes: &Changes) -> Value {
        let text = self.describe(changes);
        self.tell(&format!("bundle reloaded: {text}"));
        let names = |ids: &[ServiceId]| -> Vec<String> {
            ids.iter().map(|id| self.plan.name(*id)).collect()
        };
        let more = json!({
            "started": names(&changes.started),
            "restarted": names(&changes.restarted),
            "stopped": names(&changes.stopped),
        });
        self.publish("reloaded", None, more.clone());
        more
    }

    fn go_on_by(&mut self, plan: Plan) -> Result<Changes, String> {
        if self.supervisor.shutdown_deadline().is_some() {
            return Err("the bundle is shutting down".to_owned());
        }
        let (processes, supervisor) = (&self.processes, &self.supervisor);
        let is_alive = |id| processes.get(id).is_some();
        let is_gone =
            |id| matches!(supervisor.state(id), State::Gone(End::Stopped)) && !is_alive(id);
        self.sockets.open(&plan)?;
        let changes = self.plan.reload(plan, is_alive, is_gone);
        self.sockets.close_others(&self.plan);
        for id in changes.started.iter().filter(|id| self.processes.get(**id).is_none()) {
            self.history.forget(*id);
            self.logs.forget(*id);
        }
        let names: BTreeSet<String> = self.plan.names().into_iter().collect();
        self.remnants.keep(|name| names.contains(name));
        if self.control.is_some() {
            self.logs.keep(self.plan.bundle.services.len());
        }
        self.supervisor.reload(self.plan.policy.clone(), &changes, Instant::now());
        Ok(changes)
    }

    fn describe(&self, changes: &Changes) -> String {
        let Changes { started, restarted, stopped } = changes;
        let parts: Vec<String> = [("new", started), ("changed", restarted), ("gone", stopped)]
            .into_iter()
            .filter(|(_, ids)| !ids.is_empty())
            .map(|(word, ids)| {
                let names: Vec<String> = ids.iter().map(|id| self.plan.name(*id)).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                format!("{word}: {}", listed(&names, ", "))
            })
            .collect();
        if parts.is_empty() { "nothing has changed".to_owned() } else { parts.join("; ") }
    }
}
