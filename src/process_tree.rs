//! Processes below the init that are not a service's main process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::signal::Signal;
use crate::sys::{directory, signals};

/// A process; the start time distinguishes it from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pid: i32,
    /// In ticks since boot.
    pub(crate) started: u64,
}

impl Member {
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|stat| !stat.is_zombie && stat.started == self.started)
    }
}

/// All live processes below `root`, parents before children; `None` without a usable `/proc`.
///
/// Leaves out pids for which `skip` returns true, with their descendants.
pub(crate) fn descendants(root: i32, skip: impl Fn(i32) -> bool) -> Option<Vec<Member>> {
    let mut children = BTreeMap::<i32, Vec<Member>>::new();
    for (member, stat) in all()? {
        children.entry(stat.parent).or_default().push(member);
    }
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([root]);
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for &child in children.get(&parent).into_iter().flatten() {
            // A pid may be reused while `/proc` is read, which can look like a cycle.
            if !skip(child.pid) && seen.insert(child.pid) {
                found.push(child);
                open.push(child.pid);
            }
        }
    }
    Some(found)
}

/// All live members of this session; `None` without a usable `/proc`.
pub(crate) fn members(session: i32) -> Option<Vec<Member>> {
    let members = all()?.into_iter().filter(|(_, stat)| stat.session == session);
    Some(members.map(|(member, _)| member).collect())
}

/// All live processes. A zombie can't be signalled, and its children have another parent already.
fn all() -> Option<Vec<(Member, Stat)>> {
    if !is_own_proc() {
        return None;
    }
    let names = directory::entries(Path::new("/proc")).ok()?.flatten();
    let pids = names.filter_map(|(name, _)| name.to_str()?.parse().ok());
    let alive = pids.filter_map(|pid| Some((pid, stat(pid).filter(|stat| !stat.is_zombie)?)));
    Some(alive.map(|(pid, stat)| (Member { pid, started: stat.started }, stat)).collect())
}

/// Our children, live and dead; `None` without CONFIG_PROC_CHILDREN. Only we reap them, so the list is
/// complete.
pub(crate) fn children() -> Option<Vec<i32>> {
    let own = std::process::id();
    let list = fs::read_to_string(format!("/proc/self/task/{own}/children")).ok()?;
    Some(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// Signals the process, and never one that has reused its pid: a pidfd holds it while it is checked.
pub(crate) fn signal(member: Member, signal: Signal) {
    let Some(pid) = Pid::from_raw(member.pid) else { return };
    let pidfd = pidfd_open(pid, PidfdFlags::empty());
    let Some(stat) = stat(member.pid).filter(|stat| stat.started == member.started) else { return };
    let _ = match pidfd {
        Ok(pidfd) => signals::pidfd_send(&pidfd, signal),
        Err(Errno::SRCH) => Ok(()),
        // The pid of our own child is not reused before we reap it.
        Err(_) if u32::try_from(stat.parent) == Ok(std::process::id()) => {
            signals::kill(member.pid, signal)
        }
        Err(_) => Ok(()),
    };
}

/// The first of the process and its ancestors for which `is_end` is true; `None` without one, or
/// without a usable `/proc`.
pub(crate) fn ancestor(mut pid: i32, is_end: impl Fn(i32) -> bool) -> Option<i32> {
    let mut child_started = u64::MAX;
    // Pids may be reused while `/proc` is read, so that it shows a loop.
    for _ in 0..MOST_GENERATIONS {
        if is_end(pid) {
            return Some(pid);
        }
        // A zombie counts too: its last datagram may still be unread.
        let Stat { parent, started, .. } = stat(pid)?;
        // A parent that is younger than its child has reused the pid of the real parent.
        if started > child_started || parent <= 0 {
            return None;
        }
        (pid, child_started) = (parent, started);
    }
    None
}

/// The real and the saved user id of a process.
pub(crate) fn users(pid: i32) -> Option<(u32, u32)> {
    if !is_own_proc() {
        return None;
    }
    users_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// `Uid:`, then the real, effective, saved and file system's, proc(5).
fn users_in(status: &str) -> Option<(u32, u32)> {
    let mut users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace();
    Some((users.next()?.parse().ok()?, users.nth(1)?.parse().ok()?))
}

/// Whether a process has this pid, live or dead.
pub(crate) fn is_there(pid: i32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

/// No process has more ancestors than this.
const MOST_GENERATIONS: usize = 1000;

/// Whether `/proc` shows our own PID namespace. With the numbers of another one we would reach foreign
/// processes, pid_namespaces(7).
pub(crate) fn is_own_proc() -> bool {
    let status = fs::read("/proc/self/status").unwrap_or_default();
    shows_own_numbers(&String::from_utf8_lossy(&status), std::process::id())
}

/// An outer namespace's `/proc` shows us too, with our pid there. `NSpid` has all our pids from that
/// namespace inwards; kernels without such namespaces do not have it, proc(5).
fn shows_own_numbers(status: &str, own: u32) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let number = field("NSpid:").or_else(|| field("Pid:")).unwrap_or_default();
    number.trim().parse() == Ok(own)
}

/// The fields of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Ended, not yet reaped.
    pub(crate) is_zombie: bool,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    /// In ticks since boot.
    pub(crate) started: u64,
}

pub(crate) fn stat(pid: i32) -> Option<Stat> {
    stat_in(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (comm) state ppid pgrp session …`, the 22nd field is the start time, proc(5). The name may
/// contain spaces and parentheses.
fn stat_in(stat: &[u8]) -> Option<Stat> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let is_zombie = fields.next()? == "Z";
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(15)?.parse().ok()?;
    Some(Stat { is_zombie, parent, session, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let rest = "3 9 8 0 -1 4 0 0 0 0 1 2 0 0 20 0 1 0 12345 99 7";
        let stat = Stat { is_zombie: false, parent: 3, session: 8, started: 12345 };
        assert_eq!(stat_in(format!("7 (sh) S {rest}").as_bytes()), Some(stat));
        let zombie = Stat { is_zombie: true, ..stat };
        assert_eq!(stat_in(format!("7 (a) R 1) (b) Z {rest}").as_bytes()), Some(zombie));
        assert_eq!(stat_in(b"7 (sh) S 3 7 7 0"), None);
        assert_eq!(stat_in(b""), None);
    }

    #[test]
    fn the_real_and_the_saved_user_are_read() {
        assert_eq!(users_in("Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t5\t5\t5\n"), Some((1, 3)));
        assert_eq!(users_in("Uid:\t1\n"), None);
    }

    #[test]
    fn a_proc_is_ours_if_it_has_no_other_number_for_us() {
        assert!(shows_own_numbers("Name:\tinit\nPid:\t1\nNSpid:\t1\n", 1));
        assert!(!shows_own_numbers("Pid:\t4711\nNSpid:\t4711\t1\n", 1));
        assert!(!shows_own_numbers("Pid:\t7\nNSpid:\t7\t7\n", 7), "the same by chance");
        assert!(shows_own_numbers("Pid:\t7\nPPid:\t1\n", 7));
        assert!(!shows_own_numbers("", 1), "nothing is mounted");
        assert!(is_own_proc());
    }

    #[test]
    fn a_child_is_found_below_its_parent() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let is_below = |skip: i32| {
            let below = descendants(own, |pid| pid == skip).unwrap();
            below.iter().any(|member| member.pid == pid)
        };
        assert!(is_below(0) && !is_below(pid));
        child.kill().unwrap();
        let is_zombie = || fs::read(format!("/proc/{pid}/stat")).unwrap().contains(&b'Z');
        while !is_zombie() {
            std::thread::yield_now();
        }
        assert!(!is_below(0));
        assert_eq!(ancestor(pid, |pid| pid == own), Some(own), "a zombie has parents, too");
        child.wait().unwrap();
    }
}
