//! Every child of the init: which pid has which role. The only place that makes, signals and reaps
//! processes; and what belongs to a role ends with it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, WaitStatus, wait, waitid, waitpid};

use super::learnt::{Learnt, MessageKind, Scheduled};
use crate::bundle::health_check::Purpose;
use crate::error_text::error_text;
use crate::exit::{ExitStatus, INIT_FAILED};
use crate::plan::Plan;
use crate::poll::Registry;
use crate::process_tree as tree;
use crate::signal::Signal;
use crate::supervisor::{ServiceId, Target};
use crate::sys::fork;
use crate::sys::process_ids::session_of;
use crate::sys::signals;
use crate::sys::spawn::Launch;
use crate::sys::wait::{Seen, ended_child};

mod leftovers;
mod main_processes;
mod ownership;
mod start_failure;
mod starts;

use leftovers::Leftovers;
use main_processes::MainProcesses;
use ownership::Users;
use starts::Starts;

pub(super) use ownership::Belonging;
pub(super) use start_failure::StartFailure;

/// What a child is for that is no service's main process. Each leads a session of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Tries a check once.
    Check(ServiceId, Purpose),
    /// Asks a service to end.
    StopCommand(ServiceId),
    /// The command of `on-event`.
    Hook,
    /// Appends to the file of `on-event`.
    EventWriter,
    /// Looks up the paths by which the parent is notified.
    PathLookup,
    /// Reads a new bundle.
    BundleReader,
}

/// Whose process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Service(ServiceId),
    Helper(Role),
    /// It was inherited.
    Nobody,
}

/// A child that was reaped.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) pid: Pid,
    pub(super) owner: Owner,
    pub(super) status: ExitStatus,
    /// Why its program was not executed, if it was not.
    pub(super) failure: Option<StartFailure>,
    /// It has executed its program, which nobody knew yet.
    pub(super) had_started: bool,
}

/// What there is to reap.
#[derive(Debug)]
pub(super) enum Next {
    /// This child was.
    Ended(Box<Ended>),
    /// The main process of this service, which is to be reaped by [`Children::reap_service`].
    Service(ServiceId),
    /// Nothing at the moment.
    Nothing,
    /// Nothing, for there are no children.
    NoChildren,
    /// The kernel could not say.
    Failed,
}

/// What is to become of the processes that a run of a service leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftoverPolicy {
    /// Nobody looks for them: a shutdown ends all that is left, and one command has no next run.
    Ignore,
    /// They may go on until the service runs again.
    KillAtNextRun,
    /// They end with the run.
    Kill,
}

#[derive(Debug, Default)]
pub(super) struct Children {
    services: MainProcesses,
    helpers: BTreeMap<i32, Role>,
    /// Those that have not executed their program yet.
    starts: Starts,
    leftovers: Leftovers,
    users: Users,
    /// Strays that were asked to end, so that none is asked twice, and when each has started.
    asked: BTreeMap<i32, u64>,
    /// Everything is being killed.
    is_killing: bool,
}

impl Children {
    /// Makes the main process of a service. Whether it executes its program is learnt later.
    pub(super) fn spawn_service(
        &mut self,
        id: ServiceId,
        launch: Launch,
        program: &OsStr,
        registry: &Registry,
    ) -> Result<Pid, StartFailure> {
        let (pid, start) = starts::start(launch, program)?;
        self.services.insert(id, pid, registry);
        self.starts.watch(pid, start, registry);
        Ok(pid)
    }

    /// Makes a child that executes this.
    pub(super) fn spawn_helper(
        &mut self,
        role: Role,
        launch: Launch,
        program: &OsStr,
    ) -> Result<Pid, String> {
        let (pid, start) = starts::start(launch, program).map_err(|failure| failure.reason)?;
        self.starts.insert(pid, start);
        self.helpers.insert(raw(pid), role);
        Ok(pid)
    }

    /// Makes a child that does this work, and exits with what it returns.
    pub(super) fn fork_helper(
        &mut self,
        role: Role,
        keep: Option<RawFd>,
        work: impl FnOnce() -> u8,
    ) -> io::Result<Pid> {
        let pid = fork::fork(keep, work)?;
        self.helpers.insert(raw(pid), role);
        Ok(pid)
    }

    /// Why there are no pidfds, the first time it is asked for.
    pub(super) fn take_pidfd_refusal(&mut self) -> Option<io::Error> {
        self.services.take_refusal()
    }

    /// The service's main process, if it has one.
    pub(super) fn main(&self, id: ServiceId) -> Option<Pid> {
        self.services.get(id).map(|process| process.pid)
    }

    /// Whether a service has a main process.
    pub(super) fn has_services(&self) -> bool {
        !self.services.is_empty()
    }

    /// Whether the service's program is not known to run.
    pub(super) fn is_starting(&self, id: ServiceId) -> bool {
        self.main(id).is_none_or(|pid| self.starts.is_under_way(pid))
    }

    /// The child has got further: the service whose program runs now, which is told once.
    pub(super) fn take_executed(&mut self, pid: Pid) -> Option<ServiceId> {
        self.starts.has_executed(pid).then(|| self.services.service(pid))?
    }

    /// What the poll watches of a child that is being started.
    pub(super) fn start_descriptor(&self, pid: i32) -> Option<RawFd> {
        self.starts.descriptor(pid)
    }

    /// The service's pidfd.
    pub(super) fn descriptor(&self, id: ServiceId) -> Option<RawFd> {
        self.services.get(id)?.descriptor()
    }

    /// What the service is to be let into its control group by; `None` where there is none.
    pub(super) fn control_group(&mut self, name: &str) -> Option<OwnedFd> {
        self.leftovers.descriptor(name)
    }

    /// Sends a signal to a service. One that has just ended gets none, and neither does a stranger.
    pub(super) fn signal(&self, id: ServiceId, signal: Signal, target: Target) -> io::Result<()> {
        self.services.signal(id, signal, target)
    }

    /// The same, and says in the log if that is refused.
    pub(super) fn signal_or_say(
        &self,
        plan: &Plan,
        (id, signal, target): (ServiceId, Signal, Target),
        learnt: &mut Learnt,
    ) {
        if let Err(error) = self.signal(id, signal, target) {
            let (name, error) = (plan.name(id), error_text(&error));
            let text = format!("can't send {signal} to service \"{name}\": {error}");
            learnt.remark_rate_limited(MessageKind::SignalRefused(id), None, text);
        }
    }

    /// Whether the service has to wait until what an earlier run has left is gone.
    pub(super) fn defer_start(&mut self, id: ServiceId, name: &str, now: Instant) -> bool {
        self.leftovers.defer_start(id, name, now)
    }

    /// The service is not to be started any more; whether it waited.
    pub(super) fn cancel_start(&mut self, id: ServiceId) -> bool {
        self.leftovers.cancel(id)
    }

    /// The services that need not wait any longer.
    pub(super) fn take_unblocked(&mut self, now: Instant) -> Vec<ServiceId> {
        self.leftovers.take_unblocked(now)
    }

    /// Forgets what services of other names have left, if it is gone.
    pub(super) fn keep_names(&mut self, is_there: impl Fn(&str) -> bool) {
        self.leftovers.keep(is_there);
    }

    /// Kills those that try checks.
    pub(super) fn end_checks(&mut self) {
        self.end_helpers(|role| matches!(role, Role::Check(..)));
    }

    /// Kills the sessions of those with such a role.
    fn end_helpers(&mut self, is_meant: impl Fn(Role) -> bool) {
        let meant = self.helpers.iter().filter(|(_, role)| is_meant(**role));
        meant.filter_map(|(pid, _)| Pid::from_raw(*pid)).for_each(kill_session);
    }

    /// Reaps the service's main process, if it has ended.
    pub(super) fn reap_service(
        &mut self,
        plan: &Plan,
        id: ServiceId,
        policy: LeftoverPolicy,
        learnt: &mut Learnt,
    ) -> Option<Ended> {
        let process = self.services.get(id)?;
        let (pid, group) = (process.pid, process.group());
        if is_zombie(pid) {
            self.look_after_leftovers(&plan.name(id), pid, group, policy);
        }
        let process = self.services.get(id)?;
        match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => Some(self.reaped(pid, exit_status(status))),
            // It has told us of a main process that is another's child, whose exit code we do not
            // get to know.
            Err(rustix::io::Errno::CHILD) if process.has_ended() => {
                if policy == LeftoverPolicy::Kill {
                    self.leftovers.kill(&plan.name(id));
                }
                let text = "has ended; its exit code went to another process, its parent";
                learnt.remark_of(id, text);
                Some(self.reaped(pid, ExitStatus::Code(INIT_FAILED)))
            }
            // It lives, or the wait for any child has just reaped it.
            Ok(None) | Err(_) => None,
        }
    }

    /// The main process has ended, and is not reaped yet: what it leaves behind would be in the way
    /// of its next run.
    fn look_after_leftovers(
        &mut self,
        name: &str,
        main: Pid,
        group: Option<Pid>,
        policy: LeftoverPolicy,
    ) {
        if policy == LeftoverPolicy::Ignore {
            return;
        }
        let kills = policy == LeftoverPolicy::Kill;
        if kills && let Some(group) = group {
            let _ = signals::kill(-raw(group), Signal::KILL);
        }
        if self.may_have_orphans() {
            self.leftovers.remember(name, main, group.filter(|_| kills));
        }
        if kills {
            self.leftovers.kill(name);
        }
    }

    /// Another child has ended, and is not reaped yet: what it was for may have an end, too.
    fn look_after_helper(&mut self, plan: &Plan, pid: Pid) {
        let service = match self.helpers.get(&raw(pid)) {
            // Nothing is to be left of these.
            Some(Role::Check(..) | Role::Hook) => {
                if self.may_have_orphans() {
                    kill_session(pid);
                }
                return;
            }
            // It goes on behind the command's back, until the service has ended.
            Some(Role::StopCommand(id)) => Some(*id),
            Some(Role::EventWriter | Role::PathLookup | Role::BundleReader) => None,
            None => self.services.was_main_of(pid),
        };
        if let Some(id) = service.filter(|_| self.may_have_orphans()) {
            self.leftovers.remember(&plan.name(id), pid, None);
        }
    }

    /// Whether anything is below us that is nobody's: it has become our child.
    fn may_have_orphans(&self) -> bool {
        let is_known = |pid: &i32| self.services.is_service(*pid) || self.helpers.contains_key(pid);
        tree::children().is_none_or(|children| !children.iter().all(is_known))
    }

    /// Reaps what is not a service's main process.
    pub(super) fn reap_next(&mut self, plan: &Plan, learnt: &mut Learnt) -> Next {
        // The group of a service that has ended is to be looked after before it is reaped; one
        // command has nothing of the kind.
        let seen = if plan.is_one_command { Seen::Nothing } else { ended_child() };
        let reaped = match seen {
            Seen::Ended(pid) => {
                if let Some(id) = self.services.service(pid) {
                    return Next::Service(id);
                }
                self.look_after_helper(plan, pid);
                waitpid(Some(pid), WaitOptions::NOHANG)
            }
            Seen::NoneEnded => Ok(None),
            Seen::NoChild => Err(rustix::io::Errno::CHILD),
            Seen::Nothing => loop {
                match wait(WaitOptions::NOHANG) {
                    Err(rustix::io::Errno::INTR) => {}
                    reaped => break reaped,
                }
            },
        };
        match reaped {
            Ok(Some((pid, status))) => Next::Ended(Box::new(self.reaped(pid, exit_status(status)))),
            Ok(None) => {
                if self.is_killing {
                    // What was forked in the meantime is killed, too.
                    self.kill_all(plan, learnt);
                }
                Next::Nothing
            }
            // No child is left, so no descendant is, for each becomes ours when its parent ends;
            // where that is refused, none that we could know of.
            Err(rustix::io::Errno::CHILD) => Next::NoChildren,
            Err(_) => Next::Failed,
        }
    }

    fn reaped(&mut self, pid: Pid, status: ExitStatus) -> Ended {
        let had_started = self.services.service(pid).is_some() && self.starts.has_executed(pid);
        let failure = self.starts.ended(pid);
        let owner = match self.services.remove(pid) {
            Some(id) => {
                // Nobody waits for these any more.
                self.end_helpers(
                    |role| matches!(role, Role::Check(of, _) | Role::StopCommand(of) if of == id),
                );
                self.helpers.retain(|_, role| *role != Role::StopCommand(id));
                Owner::Service(id)
            }
            None => {
                self.asked.remove(&raw(pid));
                self.helpers.remove(&raw(pid)).map_or(Owner::Nobody, Owner::Helper)
            }
        };
        Ended { pid, owner, status, failure, had_started }
    }

    /// Asks what is neither a service nor a service's own child to end, with CONT for what is
    /// stopped. Whether there is no child at all, dead or alive.
    pub(super) fn terminate_rest(&mut self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if matches!(waitid(WaitId::All, look), Err(rustix::io::Errno::CHILD)) {
            return true;
        }
        let own = own_pid();
        let is_ours = |pid| self.services.is_service(pid) || self.helpers.contains_key(&pid);
        let Some(strays) = tree::descendants(own, is_ours) else {
            // Nothing tells who they are; with no service left they are all that there is.
            if own == 1 && self.services.is_empty() {
                let _ = signals::kill(-1, Signal::TERM);
                let _ = signals::kill(-1, Signal::CONT);
            }
            return false;
        };
        for stray in strays {
            if self.asked.insert(stray.pid, stray.started) != Some(stray.started) {
                tree::signal(stray, Signal::TERM);
                tree::signal(stray, Signal::CONT);
            }
        }
        false
    }

    /// Kills every process below the init, now and until none is left.
    pub(super) fn kill_all(&mut self, plan: &Plan, learnt: &mut Learnt) {
        self.is_killing = true;
        let own = own_pid();
        if own == 1 {
            if crate::cgroup::kill_all().is_err() {
                let _ = signals::kill(-1, Signal::KILL);
            }
            return;
        }
        for stray in tree::descendants(own, |_| false).unwrap_or_default() {
            tree::signal(stray, Signal::KILL);
        }
        for id in self.services.ids() {
            for target in [Target::Group, Target::Process] {
                self.signal_or_say(plan, (id, Signal::KILL, target), learnt);
            }
        }
    }

    /// Whether everything is being killed.
    pub(super) fn is_killing(&self) -> bool {
        self.is_killing
    }
}

impl Scheduled for Children {
    fn deadline(&self) -> Option<Instant> {
        self.leftovers.deadline()
    }

    fn put_off(&mut self, gap: Duration, _: Instant) {
        self.leftovers.put_off(gap);
    }
}

/// Makes a child when no other is left, which is not in the table.
pub(super) fn fork_last(work: impl FnOnce() -> u8) -> io::Result<Pid> {
    fork::fork(None, work)
}

/// What became of that child, which exits with an errno; `None`: it still works.
pub(super) fn reap_last(pid: Pid) -> Option<io::Result<()>> {
    match waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(Some((_, status))) => Some(match status.exit_status() {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::ErrorKind::TimedOut.into()),
        }),
        Ok(None) | Err(rustix::io::Errno::INTR) => None,
        // Somebody has set SIGCHLD to be ignored: how it went is not known.
        Err(_) => Some(Ok(())),
    }
}

/// Kills the whole session of a process that has not been reaped, and so has its number and those
/// of its session and its group for itself. One that was just forked may lead neither yet.
pub(super) fn kill_session(leader: Pid) {
    let _ = signals::kill(-raw(leader), Signal::KILL);
    let _ = signals::kill(raw(leader), Signal::KILL);
    if session_of(Some(leader)) == Some(leader) {
        for member in tree::members(raw(leader)).unwrap_or_default() {
            tree::signal(member, Signal::KILL);
        }
    }
}

/// Whether this child of ours lives.
pub(super) fn lives(pid: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(pid), look), Ok(None))
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

fn own_pid() -> i32 {
    raw(rustix::process::getpid())
}

pub(super) fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}
