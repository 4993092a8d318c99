//! Processes that a run of a service has left behind: in its session, which no other process can enter,
//! and in its control group, if it has one. No run begins before they are gone, or a
//! second has passed.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process_group};

use super::raw;
use crate::cgroup::{self, OwnGroup, ServiceGroup};
use crate::process_tree::{self as tree, Member};
use crate::signal::Signal;
use crate::supervisor::ServiceId;
use crate::sys::process_ids::session_of;

/// A process in uninterruptible sleep does not die of KILL; after this time the start does not wait for
/// it.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How often a session is searched for processes that were forked meanwhile.
const MOST_ROUNDS: usize = 4;

/// By the services' names, which outlive their ids: a reload may remove a service, and another one
/// bring it back.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    of: BTreeMap<String, OfService>,
    /// The init's own control group, once found.
    own_group: Option<OwnGroup>,
    /// Control groups can't be created here.
    has_no_control_groups: bool,
    /// Services whose start waits, and until when at most.
    waiting: Vec<(ServiceId, String, Instant)>,
}

#[derive(Debug, Default)]
struct OfService {
    sessions: Vec<Session>,
    control_group: Option<ServiceGroup>,
}

/// A session that has outlived a process of the service.
#[derive(Debug)]
struct Session {
    number: i32,
    /// Its members at that time. While one of them is in it, its number can't be another session's.
    members: Vec<Member>,
    /// The group that was killed, if `/proc` does not show the members.
    group: Option<Pid>,
}

impl Leftovers {
    /// The descriptor for joining the service's control group; `None` if it has none.
    pub(super) fn descriptor(&mut self, name: &str) -> Option<OwnedFd> {
        let has_one = self.of.get(name).is_some_and(|of| of.control_group.is_some());
        if !has_one && !self.has_no_control_groups {
            match self.make_control_group(name) {
                Ok(group) => {
                    self.of.entry(name.to_owned()).or_default().control_group = Some(group);
                }
                Err(_) => self.has_no_control_groups = true,
            }
        }
        self.of.get(name)?.control_group.as_ref()?.descriptor().ok()
    }

    fn make_control_group(&mut self, name: &str) -> io::Result<ServiceGroup> {
        let own = match self.own_group.take() {
            Some(own) => own,
            None => OwnGroup::find()?,
        };
        ServiceGroup::make(self.own_group.insert(own), name)
    }

    /// A process of the service is a zombie, so its pid and its session's id are not reused yet: stores
    /// the members of its session. `killed` is the group that has got KILL already.
    pub(super) fn remember(&mut self, name: &str, ended: Pid, killed: Option<Pid>) {
        let own = session_of(None);
        let session = session_of(Some(ended)).filter(|session| Some(*session) != own);
        let Some(session) = session.map(raw) else { return };
        let (members, group) = match tree::members(session) {
            Some(members) => (members, None),
            None => (Vec::new(), killed),
        };
        if group.is_some() || !members.is_empty() {
            let sessions = &mut self.of.entry(name.to_owned()).or_default().sessions;
            sessions.push(Session { number: session, members, group });
        }
    }

    /// The service's run has ended: kills all known left-over processes.
    pub(super) fn kill(&mut self, name: &str) {
        if let Some(of) = self.of.get_mut(name) {
            of.kill();
        }
    }

    /// The service whose control group contains the process.
    pub(super) fn owner_by_control_group(&self, pid: i32) -> Option<&str> {
        let mut groups =
            self.of.iter().filter_map(|(name, of)| Some((name, of.control_group.as_ref()?)));
        let first = groups.next()?;
        let path = cgroup::path_of(pid)?;
        let found = std::iter::once(first).chain(groups).find(|(_, group)| group.holds(&path));
        found.map(|(name, _)| name.as_str())
    }

    /// Forgets services that do not exist any more and have left no processes.
    pub(super) fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.of.retain(|name, of| is_there(name) || !of.is_gone());
    }

    /// Whether the start has to wait; then `take_unblocked` returns the service later.
    pub(super) fn defer_start(&mut self, id: ServiceId, name: &str, now: Instant) -> bool {
        let Some(of) = self.of.get_mut(name) else { return false };
        if !of.is_gone() {
            of.kill();
        }
        if of.is_gone() {
            of.sessions.clear();
            return false;
        }
        self.waiting.push((id, name.to_owned(), now + LONGEST_WAIT));
        true
    }

    /// The services that can start now.
    pub(super) fn take_unblocked(&mut self, now: Instant) -> Vec<ServiceId> {
        let Leftovers { of, waiting, .. } = self;
        let mut free = Vec::new();
        waiting.retain(|(id, name, until)| {
            let Some(of) = of.get_mut(name) else {
                free.push(*id);
                return false;
            };
            let is_free = *until <= now || of.is_gone();
            if is_free {
                of.sessions.clear();
                free.push(*id);
            }
            !is_free
        });
        free
    }

    /// Cancels a waiting start; returns whether there was one.
    pub(super) fn cancel(&mut self, id: ServiceId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|(other, ..)| *other != id);
        self.waiting.len() < before
    }

    /// Extends the waits by a suspension, in which nothing could end.
    pub(super) fn put_off(&mut self, gap: Duration) {
        self.waiting.iter_mut().for_each(|(.., until)| *until += gap);
    }

    /// When the next wait is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|(.., until)| *until).min()
    }
}

impl OfService {
    fn kill(&mut self) {
        self.sessions.iter_mut().for_each(Session::kill);
        if let Some(control_group) = &self.control_group {
            let _ = control_group.kill();
        }
    }

    fn is_gone(&self) -> bool {
        self.sessions.iter().all(Session::is_gone)
            && self.control_group.as_ref().is_none_or(ServiceGroup::is_empty)
    }
}

impl Session {
    /// Kills all members, if it is certainly the same session.
    fn kill(&mut self) {
        for _ in 0..MOST_ROUNDS {
            let Some(now) = tree::members(self.number) else { return };
            if !now.iter().any(|member| self.members.contains(member)) {
                return;
            }
            let new = now.iter().any(|member| !self.members.contains(member));
            self.members = now;
            for member in &self.members {
                tree::signal(*member, Signal::KILL);
            }
            if !new {
                return;
            }
        }
    }

    fn is_gone(&self) -> bool {
        self.members.iter().all(|member| !member.is_alive())
            && self.group.is_none_or(|group| test_kill_process_group(group) == Err(Errno::SRCH))
    }
}
