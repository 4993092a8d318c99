//! Tells the outside of what happens: runs a command for each event, and appends it to a file
//! (`event_file`). The init waits for neither, and remembers no more than it must.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::Value;

use super::checking::no_output;
use super::event_file::RETRY;
use super::remnants::kill_session;
use super::repeats::Topic;
use super::starts::Refusal;
use super::{Init, launch};
use crate::bundle::OnEvent;
use crate::error_text::error_text;
use crate::exit::ExitStatus;
use crate::words::Words;

/// The variable in which a command finds the event.
pub(super) const VARIABLE: &str = "SIDECAR_INIT_EVENT";
/// How many commands run at once.
const MOST_RUNNING: usize = 4;
/// How many events wait for their command; more are dropped, and counted.
const MOST_WAITING: usize = 256;
/// How long a command may take.
const LONGEST_RUN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Hooks {
    waiting: VecDeque<String>,
    /// Each command's pid, and until when it may run.
    running: BTreeMap<i32, Instant>,
    /// When it is tried again to make a process, after the kernel has refused one.
    retry_at: Option<Instant>,
}

impl Hooks {
    pub(super) fn is_running(&self, pid: i32) -> bool {
        self.running.contains_key(&pid)
    }

    /// From here on no command is started; how many events had not had theirs.
    fn give_up(&mut self) -> usize {
        std::mem::take(&mut self.waiting).len()
    }

    /// Whether a command waits that may be started now.
    pub(super) fn are_due(&self) -> bool {
        let is_held_up = self.running.len() >= MOST_RUNNING || self.retry_at.is_some();
        !self.waiting.is_empty() && !is_held_up
    }

    /// Nobody ran for so long.
    pub(super) fn put_off(&mut self, gap: Duration) {
        self.running.values_mut().for_each(|until| *until += gap);
    }

    /// When a command has taken too long, or is started after all.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.running.values().copied().chain(self.retry_at).min()
    }
}

/// Whether anybody outside is told of this event.
pub(super) fn is_wanted(on_event: &OnEvent, event: &str) -> bool {
    let is_named =
        on_event.events.is_empty() || on_event.events.iter().any(|kind| kind.word() == event);
    is_named && (on_event.file.is_some() || !on_event.command.is_empty())
}

impl Init {
    /// Appends the event to the file, and has its command wait for its turn.
    pub(super) fn hand_out(&mut self, event: &Value) {
        let OnEvent { command, file, .. } = &self.plan.bundle.on_event;
        let (has_command, has_file) = (!command.is_empty(), file.is_some());
        let line = event.to_string();
        if has_file {
            self.append_event(&line);
        }
        if has_command && self.hooks.waiting.len() < MOST_WAITING {
            self.hooks.waiting.push_back(line);
        } else if has_command {
            let text = "an event was dropped: the command of `on-event` is too slow";
            self.say_in_turn(Topic::EventDropped, text.to_owned());
        }
    }

    pub(super) fn give_up_hooks(&mut self) {
        let lost = self.hooks.give_up();
        if lost > 0 {
            self.say(&format!("{lost} events were not told to the command of `on-event` in time"));
        }
    }

    /// Starts the commands whose turn has come, and ends those that take too long.
    pub(super) fn run_hooks(&mut self, now: Instant) {
        for (pid, until) in &mut self.hooks.running {
            if *until <= now
                && let Some(pid) = Pid::from_raw(*pid)
            {
                kill_session(pid);
                // It is reaped soon.
                *until = now + LONGEST_RUN;
            }
        }
        self.hooks.retry_at = self.hooks.retry_at.filter(|at| *at > now);
        // A reload may have taken the command away.
        if self.plan.bundle.on_event.command.is_empty() {
            self.hooks.waiting.clear();
        }
        while self.hooks.are_due()
            && let Some(event) = self.hooks.waiting.pop_front()
        {
            match self.start_hook(&event) {
                Ok(pid) => {
                    self.hooks.running.insert(pid.as_raw_nonzero().get(), now + LONGEST_RUN);
                }
                // Processes, memory or descriptors lack at the moment.
                Err(reason) => {
                    self.hook_refused(&reason);
                    self.hooks.waiting.push_front(event);
                    self.hooks.retry_at = Some(now + RETRY);
                    // At the end nobody waits for it.
                    self.unfinished.reaping = true;
                }
            }
        }
    }

    fn start_hook(&mut self, event: &str) -> Result<Pid, String> {
        let failed = |error: io::Error| error_text(&error);
        let command = self.plan.bundle.on_event.command.clone();
        let mut launch = launch::hook(&self.plan, &command, (VARIABLE.into(), event.into()))?;
        let (input, output) = (self.empty_input().map_err(failed)?, no_output().map_err(failed)?);
        launch.standard = [Some(input.as_fd()), Some(output.as_fd()), Some(output.as_fd())];
        let program = command.first().cloned().unwrap_or_else(OsString::new);
        let (pid, start) = launch::start(launch, &program).map_err(|(_, reason)| reason)?;
        self.starts.insert(pid, start);
        Ok(pid)
    }

    /// Whether it was a hook's command that was just reaped.
    pub(super) fn hook_ended(
        &mut self,
        pid: Pid,
        status: ExitStatus,
        refusal: Option<&Refusal>,
    ) -> bool {
        let was_hook = self.hooks.running.remove(&pid.as_raw_nonzero().get()).is_some();
        match refusal {
            _ if !was_hook || status == ExitStatus::Code(0) => {}
            Some((_, reason)) => self.hook_refused(reason),
            None => {
                let text = format!("the command of `on-event` {status}");
                self.say_in_turn(Topic::HookFailed, text);
            }
        }
        was_hook
    }

    fn hook_refused(&mut self, reason: &str) {
        let text = format!("can't run the command of `on-event`: {reason}");
        self.say_in_turn(Topic::HookFailed, text);
    }
}
