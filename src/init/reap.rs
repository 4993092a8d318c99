//! Reaping: the services' processes, and whatever the init has inherited.

use std::time::Instant;

use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, WaitStatus, wait, waitid, waitpid};

use super::helpers::Job;
use super::remnants::kill_session;
use super::token::Source;
use super::{Init, tree};
use crate::exit::{ExitStatus, INIT_FAILED};
use crate::signal::Signal;
use crate::supervisor::{Event, ServiceId};
use crate::sys::signals;
use crate::sys::wait::{Seen, ended_child};

/// How many zombies are reaped before signals and deadlines have their turn. A storm of orphans
/// takes more turns, and none of them long.
const BATCH: usize = 128;

impl Init {
    /// The pidfd says that the service's process has ended. Such reports come in the order of
    /// the deaths, which a wait for any child does not keep: so the first to fail is known.
    pub(super) fn reap_service(&mut self, id: ServiceId) {
        // Before it ended it may have said that another process is the main one now.
        self.read_notifications(id);
        let Some(process) = self.processes.get(id) else { return };
        let (pid, group) = (process.pid, process.group());
        if is_zombie(pid) {
            self.look_after_remnants(id, pid, group);
        }
        let Some(process) = self.processes.get(id) else { return };
        match waitpid(Some(process.pid), WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => self.reaped(pid, exit_status(status)),
            // It has told us of a main process that is another's child, whose exit code we do not
            // get to know.
            Err(rustix::io::Errno::CHILD) if process.has_ended() => {
                if self.supervisor.ends_with_its_rest(id) {
                    self.remnants.kill(&self.plan.name(id));
                }
                self.say_of(id, "has ended; its exit code went to another process, its parent");
                self.reaped(pid, ExitStatus::Code(INIT_FAILED));
            }
            // It lives, or the wait for any child has just reaped it.
            Ok(None) | Err(_) => {}
        }
        // Its own orphans came to us at its death.
        self.unfinished.reaping = true;
    }

    /// The main process has ended, and is not reaped yet: what it leaves behind would be in the way
    /// of its next run. Once the shutdown has begun there is none, and all is swept.
    fn look_after_remnants(&mut self, id: ServiceId, main: Pid, group: Option<Pid>) {
        if self.plan.is_one_command || self.supervisor.shutdown_deadline().is_some() {
            return;
        }
        let kills = self.supervisor.ends_with_its_rest(id);
        if kills && let Some(group) = group {
            let _ = signals::kill(-group.as_raw_nonzero().get(), Signal::KILL);
        }
        let name = self.plan.name(id);
        if self.may_have_left_something() {
            self.remnants.remember(&name, main, group.filter(|_| kills));
        }
        if kills {
            self.remnants.kill(&name);
        }
    }

    /// Another child has ended, and is not reaped yet: what it was for may have an end, too.
    fn look_after_child(&mut self, pid: Pid) {
        match self.helpers.job(pid) {
            // Nothing is to be left of a check.
            Some(Job::Check(..)) if self.may_have_left_something() => kill_session(pid),
            // It goes on behind the command's back, until the service has ended.
            Some(Job::StopCommand(id)) if self.may_have_left_something() => {
                self.remnants.remember(&self.plan.name(id), pid, None);
            }
            Some(_) => {}
            // Nor of a hook.
            None if self.hooks.is_running(pid.as_raw_nonzero().get()) => {
                if self.may_have_left_something() {
                    kill_session(pid);
                }
            }
            None => {
                if let Some(id) = self.processes.was_main_of(pid)
                    && self.may_have_left_something()
                {
                    self.remnants.remember(&self.plan.name(id), pid, None);
                }
            }
        }
    }

    /// Whether anything is below us that is nobody's: it has become our child.
    fn may_have_left_something(&self) -> bool {
        let is_known = |pid: i32| self.processes.is_service(pid) || self.is_helper(pid);
        tree::children().is_none_or(|children| !children.into_iter().all(is_known))
    }

    /// Reaps what has ended, a batch of it.
    pub(super) fn reap_orphans(&mut self) {
        if !std::mem::take(&mut self.unfinished.reaping) {
            return;
        }
        if let Some(terminal) = &self.terminal {
            terminal.after_child_signal();
        }
        let mut has_polled = false;
        for _ in 0..BATCH {
            // The kernel goes through all children in a wait for any of them; once is enough.
            let reaped = match self.look_at_children() {
                Seen::Ended(pid) => {
                    if let Some(id) = self.processes.service(pid) {
                        // It has ended since the poll, and perhaps another one before it: wait(2)
                        // does not say in which order, but the poll does.
                        if !std::mem::replace(&mut has_polled, true) {
                            self.poll_again();
                        }
                        self.reap_service(id);
                        continue;
                    }
                    self.look_after_child(pid);
                    waitpid(Some(pid), WaitOptions::NOHANG)
                }
                Seen::NoneEnded => Ok(None),
                Seen::NoChild => Err(rustix::io::Errno::CHILD),
                Seen::Nothing => wait(WaitOptions::NOHANG),
            };
            match reaped {
                Ok(Some((pid, status))) => self.reaped(pid, exit_status(status)),
                Ok(None) => return self.kill_newcomers(),
                Err(rustix::io::Errno::INTR) => {}
                // No child is left, so no descendant is, for each becomes ours when its parent ends;
                // where that is refused, none that we could know of.
                Err(rustix::io::Errno::CHILD) => return self.tree_is_empty(),
                // SIGCHLD, which has told of it, will not come again.
                Err(_) => {
                    return self.poll.registry().look_again(Source::Signals.token());
                }
            }
        }
        self.unfinished.reaping = true;
    }

    /// Nothing is left below the init; unless an event is still to be told to the outside.
    pub(super) fn tree_is_empty(&mut self) {
        self.unfinished.end = !self.has_events_to_tell();
    }

    /// Whether children are to be made that tell of events.
    pub(super) fn has_events_to_tell(&self) -> bool {
        self.hooks.are_due() || self.event_file.is_due()
    }

    /// Who is next to be reaped: the group of a service that has ended is to be looked after
    /// before that.
    fn look_at_children(&self) -> Seen {
        if self.plan.is_one_command { Seen::Nothing } else { ended_child() }
    }

    fn reaped(&mut self, pid: Pid, status: ExitStatus) {
        if let Some(id) = self.processes.service(pid) {
            self.learn_start_of(id);
        }
        let refusal = self.starts.ended(pid);
        let Some(id) = self.processes.remove(pid) else {
            self.asked.remove(&pid.as_raw_nonzero().get());
            self.reloads.reaped(pid);
            if !self.scout_ended(pid, status)
                && !self.event_writer_ended(pid, status)
                && !self.hook_ended(pid, status, refusal.as_ref())
            {
                self.helper_ended(pid, status, refusal);
            }
            return;
        };
        self.end_checks(id);
        if self.plan.foreground == Some(id)
            && let Some(terminal) = &mut self.terminal
        {
            terminal.take_back();
        }
        self.logs.service_ended(id, self.poll.registry());
        if let Some(refusal) = refusal {
            self.plan.replace(id);
            return self.start_failed(id, refusal);
        }
        self.history.ended(id, Instant::now(), status);
        self.plan.replace(id);
        self.facts.push(Event::Exited(id, status));
    }

    /// While everything is being killed, what was forked in the meantime is too.
    fn kill_newcomers(&mut self) {
        if self.killing {
            self.kill_all();
        }
    }
}

/// Whether this child of ours has ended, and waits to be reaped.
fn is_zombie(pid: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(pid), look), Ok(Some(_)))
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    let signal = status.terminating_signal().and_then(Signal::from_number);
    match signal {
        Some(signal) => ExitStatus::Signal(signal),
        // wait(2) gives the low eight bits of what the process passed to exit.
        None => ExitStatus::Code(status.exit_status().unwrap_or(0) as u8),
    }
}
