//! Every child of the init, and its role. The only place that creates and reaps processes. When a role
//! ends, its processes end too.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, wait, waitid, waitpid};

use super::learnt::{Learnt, MessageKind, Scheduled};
use crate::bundle::health_check::Purpose;
use crate::error_text::error_text;
use crate::exit::{ExitStatus, INIT_FAILED};
use crate::plain_command::Begun;
use crate::plan::Plan;
use crate::poll::Registry;
use crate::process_tree as tree;
use crate::signal::Signal;
use crate::supervisor::{ServiceId, Target};
use crate::sys::fork;
use crate::sys::process_ids::session_of;
use crate::sys::signals;
use crate::sys::spawn::Launch;
use crate::sys::wait::{Seen, ended_child, exit_status};

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

/// How long a look at all children may wait after a service's death.
const LOOK_DELAY: Duration = Duration::from_millis(5);

/// The role of a child that is not a service's main process. Each leads its own session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs a check once.
    Check(ServiceId, Purpose),
    /// Stops a service.
    StopCommand(ServiceId),
    /// The command of `on-event`.
    Hook,
    /// Appends to the `on-event` file.
    EventWriter,
    /// Looks up the paths for notifications of the parent.
    PathLookup,
    /// Reads a new bundle.
    BundleReader,
}

/// The role of an ended process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Service(ServiceId),
    Helper(Role),
    /// An orphan.
    Nobody,
}

/// A child that was reaped.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) pid: Pid,
    pub(super) owner: Owner,
    pub(super) status: ExitStatus,
    /// Why its exec failed, if it did.
    pub(super) failure: Option<StartFailure>,
    /// Its exec succeeded, and that was not reported yet.
    pub(super) had_started: bool,
}

/// The next child to reap.
#[derive(Debug)]
pub(super) enum Next {
    /// Removes a reaped child from the tables.
    Ended(Box<Ended>),
    /// The main process of this service has ended; [`Children::reap_service`] reaps it.
    Service(ServiceId),
    /// None at the moment.
    Nothing,
    /// There are no children.
    NoChildren,
    /// The kernel returned an error.
    Failed,
}

/// What to do with the processes that a run of a service leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftoverPolicy {
    /// Nothing: a shutdown ends all processes, and one command has no next run.
    Ignore,
    /// They may run until the service starts again.
    KillAtNextRun,
    /// They are killed with the run.
    Kill,
}

#[derive(Debug, Default)]
pub(super) struct Children {
    services: MainProcesses,
    helpers: BTreeMap<i32, Role>,
    /// Children before exec.
    starts: Starts,
    leftovers: Leftovers,
    users: Users,
    /// Left-over processes that got a signal already, with their start times.
    asked: BTreeMap<i32, u64>,
    /// Everything is being killed.
    is_killing: bool,
    /// When to look for other children that have ended, if that can wait.
    look_at: Option<Instant>,
}

impl Children {
    /// Forks the main process of a service. The result of its exec comes later.
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

    /// Adds the command that the short way has started. Returns its end, if it is reaped already.
    pub(super) fn adopt(
        &mut self,
        id: ServiceId,
        program: &OsStr,
        Begun { pid, paths, report, status, .. }: Begun,
        registry: &Registry,
    ) -> Option<Ended> {
        let start = report.map(|report| starts::adopted(program, paths, report));
        let Some(status) = status else {
            self.services.insert(id, pid, registry);
            if let Some(start) = start {
                self.starts.watch(pid, start, registry);
            }
            return None;
        };
        start.into_iter().for_each(|start| self.starts.insert(pid, start));
        let had_started = self.starts.has_executed(pid);
        let failure = self.starts.ended(pid);
        Some(Ended { pid, owner: Owner::Service(id), status, failure, had_started })
    }

    /// Forks a child that executes this.
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

    /// Forks a child that does this work, and exits with its result.
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

    /// Why pidfds are not available; only at the first call.
    pub(super) fn take_pidfd_refusal(&mut self) -> Option<io::Error> {
        self.services.take_refusal()
    }

    pub(super) fn main(&self, id: ServiceId) -> Option<Pid> {
        self.services.get(id).map(|process| process.pid)
    }

    pub(super) fn has_services(&self) -> bool {
        !self.services.is_empty()
    }

    /// Whether the service's exec is not confirmed yet.
    pub(super) fn is_starting(&self, id: ServiceId) -> bool {
        self.main(id).is_none_or(|pid| self.starts.is_under_way(pid))
    }

    /// The child has made progress: the service whose exec has succeeded, reported once.
    pub(super) fn take_executed(&mut self, pid: Pid) -> Option<ServiceId> {
        self.starts.has_executed(pid).then(|| self.services.service(pid))?
    }

    /// The descriptor that reports the progress of a start.
    pub(super) fn start_descriptor(&self, pid: i32) -> Option<RawFd> {
        self.starts.descriptor(pid)
    }

    pub(super) fn descriptor(&self, id: ServiceId) -> Option<RawFd> {
        self.services.get(id)?.descriptor()
    }

    /// The descriptor for joining the service's control group; `None` if it has none.
    pub(super) fn control_group(&mut self, name: &str) -> Option<OwnedFd> {
        self.leftovers.descriptor(name)
    }

    /// Signals a service. A process that has just ended gets no signal, and neither does a foreign one.
    pub(super) fn signal(&self, id: ServiceId, signal: Signal, target: Target) -> io::Result<()> {
        self.services.signal(id, signal, target)
    }

    /// The same, and logs a failure.
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

    /// Whether the start has to wait until processes of an earlier run are gone.
    pub(super) fn defer_start(&mut self, id: ServiceId, name: &str, now: Instant) -> bool {
        // The new run must not see the zombies of what the last one has left.
        self.look_at = self.look_at.map(|at| at.min(now));
        self.leftovers.defer_start(id, name, now)
    }

    /// Cancels a waiting start; returns whether there was one.
    pub(super) fn cancel_start(&mut self, id: ServiceId) -> bool {
        self.leftovers.cancel(id)
    }

    /// The services that can start now.
    pub(super) fn take_unblocked(&mut self, now: Instant) -> Vec<ServiceId> {
        self.leftovers.take_unblocked(now)
    }

    /// Forgets left-over processes of other service names, if they are gone.
    pub(super) fn keep_names(&mut self, is_there: impl Fn(&str) -> bool) {
        self.leftovers.keep(is_there);
    }

    /// Kills the children of all checks.
    pub(super) fn end_checks(&mut self) {
        self.end_helpers(|role| matches!(role, Role::Check(..)));
    }

    /// A service has ended and is reaped. Its SIGCHLD may hide that of another child, so all children are
    /// looked at, but waitid(2) walks through them: while other services run, that can wait. Returns
    /// whether it waits.
    pub(super) fn look_later(&mut self) -> bool {
        let can_wait = !self.services.is_empty() && !self.is_killing;
        let later = self.look_at.unwrap_or_else(|| Instant::now() + LOOK_DELAY);
        self.look_at = can_wait.then_some(later);
        can_wait
    }

    /// Whether all children are looked at later.
    pub(super) fn looks_later(&self) -> bool {
        self.look_at.is_some()
    }

    /// A deadline is over, so nothing that has happened before can wait. Returns whether a look has waited.
    pub(super) fn take_look(&mut self) -> bool {
        self.look_at.take().is_some()
    }

    /// Kills the sessions of children with such a role.
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
        if policy != LeftoverPolicy::Ignore && is_zombie(pid) {
            self.look_after_leftovers(&plan.name(id), pid, group, policy);
        }
        let process = self.services.get(id)?;
        match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => Some(self.reaped(pid, exit_status(status))),
            // MAINPID named a process that is not our child, so we do not get its exit code.
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

    /// The main process has ended and is not reaped yet: finds the processes that it leaves behind.
    fn look_after_leftovers(
        &mut self,
        name: &str,
        main: Pid,
        group: Option<Pid>,
        policy: LeftoverPolicy,
    ) {
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

    /// Another child has ended and is not reaped yet: ends other processes of its role.
    fn look_after_helper(&mut self, plan: &Plan, pid: Pid) {
        let service = match self.helpers.get(&raw(pid)) {
            // These leave no processes behind.
            Some(Role::Check(..) | Role::Hook) => {
                if self.may_have_orphans() {
                    kill_session(pid);
                }
                return;
            }
            // Its processes may run until the service has ended.
            Some(Role::StopCommand(id)) => Some(*id),
            Some(Role::EventWriter | Role::PathLookup | Role::BundleReader) => None,
            None => self.services.was_main_of(pid),
        };
        if let Some(id) = service.filter(|_| self.may_have_orphans()) {
            self.leftovers.remember(&plan.name(id), pid, None);
        }
    }

    /// Whether there may be orphans among our children.
    fn may_have_orphans(&self) -> bool {
        let is_known = |pid: &i32| self.services.is_service(*pid) || self.helpers.contains_key(pid);
        tree::children().is_none_or(|children| !children.iter().all(is_known))
    }

    /// Reaps a child that is not a service's main process.
    pub(super) fn reap_next(&mut self, plan: &Plan, learnt: &mut Learnt) -> Next {
        // The session of an ended service is checked before the reap; one command has nothing to check.
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
                self.look_at = None;
                if self.is_killing {
                    // Kills processes that were forked meanwhile, too.
                    self.kill_all(plan, learnt);
                }
                Next::Nothing
            }
            // No child is left, so no descendant is: each becomes our child when its parent ends. Where
            // we are not a subreaper, there is none that we know of.
            Err(rustix::io::Errno::CHILD) => Next::NoChildren,
            Err(_) => Next::Failed,
        }
    }

    /// This child was reaped.
    pub(super) fn reaped(&mut self, pid: Pid, status: ExitStatus) -> Ended {
        let had_started = self.services.service(pid).is_some() && self.starts.has_executed(pid);
        let failure = self.starts.ended(pid);
        let owner = match self.services.remove(pid) {
            Some(id) => {
                // Their results are not needed any more.
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

    /// Sends TERM, and CONT for stopped processes, to every process that belongs to no service. Returns
    /// whether there is no child at all, live or dead.
    pub(super) fn terminate_rest(&mut self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if matches!(waitid(WaitId::All, look), Err(rustix::io::Errno::CHILD)) {
            return true;
        }
        let own = own_pid();
        let is_ours = |pid| self.services.is_service(pid) || self.helpers.contains_key(&pid);
        let Some(strays) = tree::descendants(own, is_ours) else {
            // Without a list of our children: with no service left, these are all processes.
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

    /// Kills every process below the init, until none is left.
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

    pub(super) fn is_killing(&self) -> bool {
        self.is_killing
    }
}

impl Scheduled for Children {
    fn deadline(&self) -> Option<Instant> {
        self.leftovers.deadline().into_iter().chain(self.look_at).min()
    }

    fn put_off(&mut self, gap: Duration, _: Instant) {
        self.leftovers.put_off(gap);
    }
}

/// Forks a child after all others have ended; it is not in the table.
pub(super) fn fork_last(work: impl FnOnce() -> u8) -> io::Result<Pid> {
    fork::fork(None, work)
}

/// The result of that child, which exits with an errno; `None`: it still runs.
pub(super) fn reap_last(pid: Pid) -> Option<io::Result<()>> {
    match waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(Some((_, status))) => Some(match status.exit_status() {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::ErrorKind::TimedOut.into()),
        }),
        Ok(None) | Err(rustix::io::Errno::INTR) => None,
        // SIGCHLD is ignored: the result is unknown.
        Err(_) => Some(Ok(())),
    }
}

/// Kills the whole session of a process that is not reaped yet, so its pid and the numbers of its
/// session and group are not reused. A process that was just forked may lead neither yet.
pub(super) fn kill_session(leader: Pid) {
    let _ = signals::kill(-raw(leader), Signal::KILL);
    let _ = signals::kill(raw(leader), Signal::KILL);
    if session_of(Some(leader)) == Some(leader) {
        for member in tree::members(raw(leader)).unwrap_or_default() {
            tree::signal(member, Signal::KILL);
        }
    }
}

pub(super) fn lives(pid: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(pid), look), Ok(None))
}

/// Whether this child of ours has ended and is not reaped yet.
fn is_zombie(pid: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(pid), look), Ok(Some(_)))
}

fn own_pid() -> i32 {
    raw(rustix::process::getpid())
}

pub(super) fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}
