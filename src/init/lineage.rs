//! Whose a process is: which of them may speak for a service, and which may become its main one.
//!
//! What counts is what the kernel says, and what no process can change to its own advantage: a
//! control group is left by root only, and a session only for a new one (setsid(2)); both are
//! inherited, and so are parents, until they end. The name of a socket is no proof: everybody finds
//! it in `/proc/net/unix`.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::notification::Said;
use super::repeats::Topic;
use super::token::Source;
use super::{Init, processes, tree};
use crate::error_text::error_text;
use crate::supervisor::ServiceId;
use crate::sys::peer::Peer;
use crate::sys::process_ids::{group_of, session_of};

/// What is known of a process with regard to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belonging {
    /// It is the service's, which is proved.
    Own,
    /// Its parents are gone, and it has a session of its own: it may be anybody's.
    Orphan,
    /// There is no such process any more, or `/proc` does not show it.
    Gone,
    /// It is somebody else's.
    Foreign,
}

/// Who may have left a process behind that nothing else tells of.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    /// For each user the one service that has run as it; `None`: there were several.
    ran_as: BTreeMap<u32, Option<String>>,
    /// Services of whose runs the log has said already that something was not heeded.
    complained_of: BTreeSet<ServiceId>,
}

impl Lineage {
    /// A service of this name runs as this user.
    pub(super) fn runs(&mut self, user: u32, name: &str) {
        let known = self.ran_as.entry(user).or_insert_with(|| Some(name.to_owned()));
        if known.as_deref() != Some(name) {
            *known = None;
        }
    }

    /// Whether a process of this user, below us, can only be this service's, which runs as
    /// `own`: no other service has ever run as that user. (One of root may become anybody, but
    /// what root does nobody can be protected from.)
    fn is_only(&self, name: &str, own: u32, user: u32) -> bool {
        match self.ran_as.get(&user) {
            Some(known) => user == own && known.as_deref() == Some(name),
            // By a setuid program.
            None => user == 0,
        }
    }

    /// The service's run has ended.
    pub(super) fn end(&mut self, id: ServiceId) {
        self.complained_of.remove(&id);
    }
}

impl Init {
    pub(super) fn user_of(&self, id: ServiceId) -> u32 {
        match &self.plan.identities[id.0] {
            Some(who) => who.user,
            None => rustix::process::geteuid().as_raw(),
        }
    }

    /// Whether it is a child of ours that does something for us.
    pub(super) fn is_helper(&self, pid: i32) -> bool {
        self.helpers.is_running(pid)
            || self.hooks.is_running(pid)
            || self.event_file.is_writer(pid)
            || self.upward.is_scout(pid)
            || self.reloads.is_reader(pid)
    }

    /// Whose the process is, dead or alive, with regard to a service that has a main process.
    pub(super) fn belonging(&self, id: ServiceId, pid: i32) -> Belonging {
        let Some(main) = self.processes.get(id).map(|process| process.pid) else {
            return Belonging::Foreign;
        };
        let of = |owner: ServiceId| if owner == id { Belonging::Own } else { Belonging::Foreign };
        let known = |number: i32| Pid::from_raw(number).and_then(|pid| self.processes.service(pid));
        if let Some(owner) = known(pid) {
            return of(owner);
        }
        let own = i32::try_from(std::process::id()).unwrap_or(1);
        let is_in_our_service = |pid: i32| pid == own || self.is_helper(pid);
        let Some(process) = Pid::from_raw(pid).filter(|_| !is_in_our_service(pid)) else {
            return Belonging::Foreign;
        };
        let session =
            session_of(Some(process)).filter(|session| Some(*session) != session_of(None));
        if session.is_some() {
            if session == session_of(Some(main)) {
                return Belonging::Own;
            }
            if self.processes.all().any(|other| session_of(Some(other)) == session) {
                return Belonging::Foreign;
            }
        }
        if !tree::is_own_proc() {
            return Belonging::Gone;
        }
        if let Some(owner) = self.remnants.owner_by_control_group(pid) {
            let is_own = owner == self.plan.name(id);
            return if is_own { Belonging::Own } else { Belonging::Foreign };
        }
        let is_end = |pid: i32| known(pid).is_some() || is_in_our_service(pid);
        match tree::ancestor(pid, is_end) {
            Some(pid) if pid == own => {
                let group = group_of(Some(process)).and_then(|group| self.processes.service(group));
                if group.is_some_and(|owner| owner != id) {
                    return Belonging::Foreign;
                }
                Belonging::Orphan
            }
            Some(pid) => known(pid).map_or(Belonging::Foreign, of),
            None if tree::is_there(pid) => Belonging::Foreign,
            None => Belonging::Gone,
        }
    }

    /// Whether what a process says is for the service. One that is gone can't be asked whose it
    /// was (programs that say one thing and end are common): what it says is heeded if it can do
    /// no harm.
    pub(super) fn may_say(
        &self,
        id: ServiceId,
        (sender, belonging): (Peer, Belonging),
        said: &Said,
    ) -> bool {
        let own = self.user_of(id);
        let is_only = || self.lineage.is_only(&self.plan.name(id), own, sender.user);
        match belonging {
            Belonging::Own => true,
            Belonging::Foreign => false,
            Belonging::Orphan => is_only(),
            Belonging::Gone => is_only() || sender.user == own && is_harmless(said),
        }
    }

    /// The service says that another process is its main one, as after a fork of a daemon.
    pub(super) fn main_process_is(&mut self, id: ServiceId, number: i32, sender: Peer) {
        let Some(pid) = Pid::from_raw(number) else { return };
        if self.processes.get(id).is_none_or(|process| process.pid == pid) {
            return;
        }
        match self.prove_main(id, pid, sender) {
            Ok(pidfd) => {
                let token = Source::Process(id).token();
                self.processes.replace(id, pid, pidfd, self.poll.registry(), token);
                let name = self.plan.name(id);
                if !self.options.quiet {
                    let text = format!("service \"{name}\" says that its main process is {number}");
                    self.say_in_turn(Topic::MainProcess(id), text);
                }
            }
            Err(reason) => self.do_not_heed(id, &format!("says MAINPID={number}, {reason}")),
        }
    }

    /// Says it once in a run, since whoever speaks may do so without end.
    pub(super) fn do_not_heed(&mut self, id: ServiceId, what: &str) {
        if self.lineage.complained_of.insert(id) {
            self.say_of(id, &format!("{what}: not heeded"));
        }
    }

    /// The process is certainly the service's own, and the sender may signal it: we do so for it
    /// from here on. Or the reason why that is not so.
    fn prove_main(&self, id: ServiceId, pid: Pid, sender: Peer) -> Result<OwnedFd, String> {
        let number = pid.as_raw_nonzero().get();
        // From here on it can't be mistaken for one that gets its number later.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
            Errno::SRCH => "which is no process of its own".to_owned(),
            error => format!("which can't be watched ({})", error_text(&error.into())),
        })?;
        let users = tree::users(number);
        let is_its_own = match self.belonging(id, number) {
            Belonging::Own => true,
            Belonging::Orphan => users.is_some_and(|(real, _)| {
                self.lineage.is_only(&self.plan.name(id), self.user_of(id), real)
            }),
            Belonging::Gone | Belonging::Foreign => false,
        };
        if !is_its_own {
            return Err("which is no process of its own".to_owned());
        }
        // kill(2): the sender's user has to be the real or the saved one.
        let may_signal =
            |(real, saved)| real == sender.user || saved == sender.user || sender.user == 0;
        if !users.is_some_and(may_signal) && sender.user != 0 {
            return Err("which is of a user whom it may not signal".to_owned());
        }
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let is_ours = || {
            use std::os::fd::AsFd;
            matches!(waitid(WaitId::PidFd(pidfd.as_fd()), look), Ok(Some(_)))
        };
        // One that has ended was perhaps reaped by its parent, and what was read is another's.
        if processes::has_ended(&pidfd) && !is_ours() {
            return Err("which has ended".to_owned());
        }
        Ok(pidfd)
    }
}

/// Whether this can't get a service ended or blamed.
fn is_harmless(said: &Said) -> bool {
    match said {
        Said::Ready | Said::Extend(_) | Said::Status(_) | Said::Alive | Said::Reloading => true,
        Said::Dead | Said::Watchdog(_) | Said::Stopping | Said::MainProcess(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_is_the_only_service_s_that_has_run_as_its_user() {
        let mut lineage = Lineage::default();
        lineage.runs(7, "a");
        lineage.runs(7, "a");
        assert!(lineage.is_only("a", 7, 7));
        assert!(lineage.is_only("a", 7, 0), "no other service could have become root");
        assert!(!lineage.is_only("a", 7, 8), "it could not have become that user");
        lineage.runs(0, "root");
        assert!(!lineage.is_only("a", 7, 0));
        assert!(lineage.is_only("a", 7, 7));
        lineage.runs(7, "b");
        assert!(!lineage.is_only("a", 7, 7) && !lineage.is_only("b", 7, 7));
    }
}
