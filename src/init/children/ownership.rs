//! Which service a process belongs to: which processes may send notifications for a service, and which
//! may become its main process.
//!
//! This uses only what the kernel reports and what a process can't change to its advantage: only root
//! can leave a control group, and a process can leave a session only for a new one (setsid(2)). Both
//! are inherited; parents stay until they end. The name of a socket is no proof: every process finds it
//! in `/proc/net/unix`.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::main_processes::has_ended;
use super::{Children, own_pid, raw};
use crate::error_text::error_text;
use crate::plan::Plan;
use crate::poll::Registry;
use crate::process_tree as tree;
use crate::supervisor::ServiceId;
use crate::sys::peer::Peer;
use crate::sys::process_ids::{group_of, session_of};

/// The relation of a process to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::init) enum Belonging {
    /// It is proved to be the service's own.
    Own,
    /// Its parents have ended, and it has its own session: it may belong to any service.
    Orphan,
    /// The process has ended, or `/proc` does not show it.
    Gone,
    /// It belongs to something else.
    Foreign,
}

/// For each user the only service that has run as it; `None`: several.
#[derive(Debug, Default)]
pub(super) struct Users(BTreeMap<u32, Option<String>>);

impl Users {
    /// A service with this name runs as this user.
    pub(super) fn runs(&mut self, user: u32, name: &str) {
        let known = self.0.entry(user).or_insert_with(|| Some(name.to_owned()));
        if known.as_deref() != Some(name) {
            *known = None;
        }
    }

    /// Whether a process of this user below us can only belong to this service, which runs as `own`: no
    /// other service has ever run as that user. (Root can become any user; this does not protect from
    /// root.)
    fn is_only(&self, name: &str, own: u32, user: u32) -> bool {
        match self.0.get(&user) {
            Some(known) => user == own && known.as_deref() == Some(name),
            // Through a setuid program.
            None => user == 0,
        }
    }
}

/// The user of the service.
fn user_of(plan: &Plan, id: ServiceId) -> u32 {
    match plan.identity(id) {
        Some(who) => who.user,
        None => rustix::process::geteuid().as_raw(),
    }
}

impl Children {
    /// The service runs now.
    pub(in crate::init) fn runs(&mut self, plan: &Plan, id: ServiceId) {
        self.users.runs(user_of(plan, id), &plan.name(id));
    }

    /// Whether this is the service's own user.
    pub(in crate::init) fn is_own_user(&self, plan: &Plan, id: ServiceId, user: u32) -> bool {
        user == user_of(plan, id)
    }

    /// Whether a process of this user below us can only belong to this service.
    pub(in crate::init) fn is_only(&self, plan: &Plan, id: ServiceId, user: u32) -> bool {
        self.users.is_only(&plan.name(id), user_of(plan, id), user)
    }

    /// The relation of a process, live or dead, to a service with a main process.
    pub(in crate::init) fn belonging(&self, plan: &Plan, id: ServiceId, pid: i32) -> Belonging {
        let Some(main) = self.services.get(id).map(|process| process.pid) else {
            return Belonging::Foreign;
        };
        let of = |owner: ServiceId| if owner == id { Belonging::Own } else { Belonging::Foreign };
        let known = |number: i32| Pid::from_raw(number).and_then(|pid| self.services.service(pid));
        if let Some(owner) = known(pid) {
            return of(owner);
        }
        let own = own_pid();
        let is_in_our_service = |pid: i32| pid == own || self.helpers.contains_key(&pid);
        let Some(process) = Pid::from_raw(pid).filter(|_| !is_in_our_service(pid)) else {
            return Belonging::Foreign;
        };
        let session =
            session_of(Some(process)).filter(|session| Some(*session) != session_of(None));
        if session.is_some() {
            if session == session_of(Some(main)) {
                return Belonging::Own;
            }
            if self.services.all().any(|other| session_of(Some(other)) == session) {
                return Belonging::Foreign;
            }
        }
        if !tree::is_own_proc() {
            return Belonging::Gone;
        }
        if let Some(owner) = self.leftovers.owner_by_control_group(pid) {
            let is_own = owner == plan.name(id);
            return if is_own { Belonging::Own } else { Belonging::Foreign };
        }
        let is_end = |pid: i32| known(pid).is_some() || is_in_our_service(pid);
        match tree::ancestor(pid, is_end) {
            Some(pid) if pid == own => {
                let group = group_of(Some(process)).and_then(|group| self.services.service(group));
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

    /// Makes another process the service's main one, as for a daemon that forks, if it is certainly the
    /// service's own and the sender may signal it. Returns whether it was not the main process before.
    pub(in crate::init) fn replace_main(
        &mut self,
        plan: &Plan,
        id: ServiceId,
        number: i32,
        sender: Peer,
        registry: &Registry,
    ) -> Result<bool, String> {
        let Some(pid) = Pid::from_raw(number) else { return Ok(false) };
        if self.services.get(id).is_none_or(|process| process.pid == pid) {
            return Ok(false);
        }
        let pidfd = self.prove_main(plan, id, pid, sender)?;
        self.services.replace(id, pid, pidfd, registry);
        Ok(true)
    }

    /// Checks that the process is certainly the service's own, and that the sender may signal it,
    /// because the init will do so. Otherwise returns the reason.
    fn prove_main(
        &self,
        plan: &Plan,
        id: ServiceId,
        pid: Pid,
        sender: Peer,
    ) -> Result<OwnedFd, String> {
        let number = raw(pid);
        // From here on the pidfd identifies it, even if its pid is reused.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
            Errno::SRCH => "which is no process of its own".to_owned(),
            error => format!("which can't be watched ({})", error_text(&error.into())),
        })?;
        let users = tree::users(number);
        let is_its_own = match self.belonging(plan, id, number) {
            Belonging::Own => true,
            Belonging::Orphan => users.is_some_and(|(real, _)| self.is_only(plan, id, real)),
            Belonging::Gone | Belonging::Foreign => false,
        };
        if !is_its_own {
            return Err("which is no process of its own".to_owned());
        }
        // kill(2): the sender's user must be the real or the saved one.
        let may_signal =
            |(real, saved)| real == sender.user || saved == sender.user || sender.user == 0;
        if !users.is_some_and(may_signal) && sender.user != 0 {
            return Err("which is of a user whom it may not signal".to_owned());
        }
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let is_ours = || matches!(waitid(WaitId::PidFd(pidfd.as_fd()), look), Ok(Some(_)));
        // If it has ended, its parent may have reaped it, and the data may be another process's.
        if has_ended(&pidfd) && !is_ours() {
            return Err("which has ended".to_owned());
        }
        Ok(pidfd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_is_the_only_service_s_that_has_run_as_its_user() {
        let mut users = Users::default();
        users.runs(7, "a");
        users.runs(7, "a");
        assert!(users.is_only("a", 7, 7));
        assert!(users.is_only("a", 7, 0), "no other service could have become root");
        assert!(!users.is_only("a", 7, 8), "it could not have become that user");
        users.runs(0, "root");
        assert!(!users.is_only("a", 7, 0));
        assert!(users.is_only("a", 7, 7));
        users.runs(7, "b");
        assert!(!users.is_only("a", 7, 7) && !users.is_only("b", 7, 7));
    }
}
