//! The services' main processes: their pids and pidfds.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::init::token::Source;
use crate::poll::{Registry, look};
use crate::signal::Signal;
use crate::supervisor::{ServiceId, Target};
use crate::sys::process_ids::{group_of, session_of};
use crate::sys::signals;

/// A main process that is not reaped yet. Until then its pid and the id of its group are not reused.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    /// The process that we have started, which MAINPID may have replaced; `None`: it was reaped.
    first: Option<Pid>,
    /// Reports its end, and signals it; `None` without pidfds.
    pidfd: Option<OwnedFd>,
}

#[derive(Debug, Default)]
pub(super) struct MainProcesses {
    by_service: Vec<Option<Process>>,
    by_pid: BTreeMap<i32, ServiceId>,
    /// First main processes of runs that continue with another one.
    replaced: BTreeMap<i32, ServiceId>,
    /// The kernel or a seccomp profile has refused pidfd_open(2); it is not tried again.
    pidfd_refused: bool,
    /// The reason, until it is taken.
    refusal: Option<io::Error>,
}

impl MainProcesses {
    /// Another process becomes the service's main process.
    pub(super) fn replace(&mut self, id: ServiceId, pid: Pid, pidfd: OwnedFd, registry: &Registry) {
        let Some(Some(process)) = self.by_service.get_mut(id.0) else { return };
        Source::Process(id).register(&pidfd, registry);
        self.by_pid.remove(&process.pid.as_raw_nonzero().get());
        self.by_pid.insert(pid.as_raw_nonzero().get(), id);
        if Some(process.pid) == process.first {
            self.replaced.insert(process.pid.as_raw_nonzero().get(), id);
        }
        (process.pid, process.pidfd) = (pid, Some(pidfd));
    }

    /// Adds a process that was just started; it leads its own group.
    pub(super) fn insert(&mut self, id: ServiceId, pid: Pid, registry: &Registry) {
        let pidfd = match self.pidfd_refused {
            true => None,
            false => match open_pidfd(id, pid, registry) {
                Ok(pidfd) => Some(pidfd),
                Err(error) if is_lasting(&error) => {
                    self.pidfd_refused = true;
                    self.refusal = Some(error);
                    None
                }
                // Out of descriptors or memory: SIGCHLD reports this process, the next one may get a
                // pidfd.
                Err(_) => None,
            },
        };
        if self.by_service.len() <= id.0 {
            self.by_service.resize_with(id.0 + 1, || None);
        }
        self.by_service[id.0] = Some(Process { pid, first: Some(pid), pidfd });
        self.by_pid.insert(pid.as_raw_nonzero().get(), id);
    }

    /// Why pidfds are not available; only at the first call.
    pub(super) fn take_refusal(&mut self) -> Option<io::Error> {
        self.refusal.take()
    }

    /// Removes a process that was just reaped; `None`: it is not a main process.
    pub(super) fn remove(&mut self, pid: Pid) -> Option<ServiceId> {
        // It was replaced before, so only its number is freed.
        if let Some(id) = self.replaced.remove(&pid.as_raw_nonzero().get())
            && let Some(Some(process)) = self.by_service.get_mut(id.0)
        {
            process.first = None;
        }
        let id = self.by_pid.remove(&pid.as_raw_nonzero().get())?;
        let process = self.by_service.get_mut(id.0)?.take()?;
        if let Some(first) = process.first {
            self.replaced.remove(&first.as_raw_nonzero().get());
        }
        Some(id)
    }

    pub(super) fn get(&self, id: ServiceId) -> Option<&Process> {
        self.by_service.get(id.0)?.as_ref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_pid.is_empty()
    }

    /// The service whose first main process it was, if another one has replaced it.
    pub(super) fn was_main_of(&self, pid: Pid) -> Option<ServiceId> {
        self.replaced.get(&pid.as_raw_nonzero().get()).copied()
    }

    /// The services that have one.
    pub(super) fn ids(&self) -> Vec<ServiceId> {
        self.by_pid.values().copied().collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Pid> {
        self.by_service.iter().flatten().map(|process| process.pid)
    }

    pub(super) fn is_service(&self, pid: i32) -> bool {
        self.by_pid.contains_key(&pid)
    }

    /// The service whose main process it is.
    pub(super) fn service(&self, pid: Pid) -> Option<ServiceId> {
        self.by_pid.get(&pid.as_raw_nonzero().get()).copied()
    }

    /// Signals a service. A signal for a service that has just ended never reaches another process: an
    /// entry is removed when its process is reaped.
    pub(super) fn signal(&self, id: ServiceId, signal: Signal, target: Target) -> io::Result<()> {
        let Some(process) = self.get(id) else { return Ok(()) };
        let group = process.group().filter(|_| target == Target::Group);
        let sent = match group.map(|group| signals::kill(-group.as_raw_nonzero().get(), signal)) {
            // A process that was just forked has not created its group yet: it is alone.
            Some(Err(error)) if error.raw_os_error() == Some(libc::ESRCH) => process.signal(signal),
            Some(sent) => sent,
            None => process.signal(signal),
        };
        match sent {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }
}

/// Whether the next call will fail in the same way: the kernel has no such call, or a seccomp profile
/// forbids it.
fn is_lasting(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EACCES | libc::ENODEV))
}

fn open_pidfd(id: ServiceId, pid: Pid, registry: &Registry) -> io::Result<OwnedFd> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    Source::Process(id).register(&pidfd, registry);
    Ok(pidfd)
}

/// Whether the process has ended, reaped or not, pidfd_open(2).
pub(super) fn has_ended(pidfd: &OwnedFd) -> bool {
    look(pidfd, PollFlags::IN).is_ok_and(|seen| !seen.is_empty())
}

impl Process {
    /// Whether it has certainly ended, even if its parent, which is not us, has not reaped it yet.
    pub(super) fn has_ended(&self) -> bool {
        self.pidfd.as_ref().is_some_and(has_ended)
    }

    /// The process group of the service; `None` if it may contain foreign processes: then only the
    /// process itself is signalled. A group is part of one session (setpgid(2)), so no process can
    /// enter a group in a session that began below us; in our own session every process can.
    pub(super) fn group(&self) -> Option<Pid> {
        if self.is_first() {
            return Some(self.pid);
        }
        let (group, session) = (group_of(Some(self.pid))?, session_of(Some(self.pid))?);
        let is_alone = group == self.pid || Some(session) != session_of(None);
        // If it has ended, its parent may have reaped it, and the numbers may be reused.
        let is_certain = is_alone && Some(group) != group_of(None) && !self.has_ended();
        is_certain.then_some(group)
    }

    /// Whether it is the process that we have started, which only we can reap.
    fn is_first(&self) -> bool {
        self.first == Some(self.pid)
    }

    /// Signals only this process.
    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.pid.as_raw_nonzero().get();
        match self.pidfd.as_ref().map(|pidfd| signals::pidfd_send(pidfd, signal)) {
            // The call may be missing or forbidden (ENOSYS, EPERM); the pid is just as safe for a
            // process that only we reap.
            Some(Err(error)) if self.is_first() && error.raw_os_error() != Some(libc::ESRCH) => {
                signals::kill(pid, signal)
            }
            Some(sent) => sent,
            None => signals::kill(pid, signal),
        }
    }

    /// The pidfd, if there is one.
    pub(super) fn descriptor(&self) -> Option<i32> {
        self.pidfd.as_ref().map(OwnedFd::as_raw_fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::Poll;

    #[test]
    fn a_signal_for_a_group_reaches_a_process_that_has_not_made_it_yet() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let (mut processes, poll, id) =
            (MainProcesses::default(), Poll::new().unwrap(), ServiceId(0));
        processes.insert(id, pid, poll.registry());
        processes.signal(id, Signal::KILL, Target::Group).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn a_number_that_is_free_again_is_not_the_first_ones_any_more() {
        let own = std::process::id();
        let [own, other] = [own, std::os::unix::process::parent_id()]
            .map(|pid| Pid::from_raw(i32::try_from(pid).unwrap()).unwrap());
        let (mut processes, poll, id) =
            (MainProcesses::default(), Poll::new().unwrap(), ServiceId(0));
        let replace = |processes: &mut MainProcesses, pid| {
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
            processes.replace(id, pid, pidfd, poll.registry());
        };
        processes.insert(id, own, poll.registry());
        replace(&mut processes, other);
        assert_eq!(processes.was_main_of(own), Some(id));
        assert_eq!(processes.remove(own), None, "the run goes on");
        replace(&mut processes, own);
        assert!(!processes.get(id).unwrap().is_first());
        assert_eq!(processes.remove(own), Some(id));
    }
}
