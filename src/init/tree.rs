//! The processes below the init that are no service's main process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Everything below `root`, parents before children; `None` if `/proc` does not show it.
///
/// The subtree below a pid that `skip` names is left out, and so is that pid.
pub(super) fn descendants(root: i32, skip: impl Fn(i32) -> bool) -> Option<Vec<i32>> {
    let children = children_by_parent()?;
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([root]);
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for &child in children.get(&parent).into_iter().flatten() {
            // Pids may be reused while `/proc` is read, so that it shows a loop.
            if !skip(child) && seen.insert(child) {
                found.push(child);
                open.push(child);
            }
        }
    }
    Some(found)
}

/// The first of the process and its ancestors that `is_end` knows; `None` if there is none, or
/// `/proc` does not show them.
pub(super) fn ancestor(mut pid: i32, is_end: impl Fn(i32) -> bool) -> Option<i32> {
    // Pids may be reused while `/proc` is read, so that it shows a loop.
    for _ in 0..MOST_GENERATIONS {
        if is_end(pid) {
            return Some(pid);
        }
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        // A zombie counts too: what it said just before its end is still to be heard.
        pid = parent_in(&stat).map(|(_, parent)| parent).filter(|parent| *parent > 0)?;
    }
    None
}

/// Whether there is a process of this number, dead or alive.
pub(super) fn is_there(pid: i32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

/// No process has more ancestors than this.
const MOST_GENERATIONS: usize = 1000;

fn children_by_parent() -> Option<BTreeMap<i32, Vec<i32>>> {
    if !is_own_proc() {
        return None;
    }
    let mut children = BTreeMap::<i32, Vec<i32>>::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that has ended in the meantime has nothing to say.
        let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { continue };
        // A zombie can't be signalled any more, but its children are somebody's already.
        if let Some((state, parent)) = parent_in(&stat)
            && state != b"Z"
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    Some(children)
}

/// Whether `/proc` is mounted for our own PID namespace. By another's numbers we would meet
/// strangers, pid_namespaces(7).
pub(super) fn is_own_proc() -> bool {
    let status = fs::read("/proc/self/status").unwrap_or_default();
    shows_own_numbers(&String::from_utf8_lossy(&status), std::process::id())
}

/// An outer namespace's `/proc` shows us too, by our number there. `NSpid` has all our numbers
/// from that namespace inwards; it is missing where there are no such namespaces, proc(5).
fn shows_own_numbers(status: &str, own: u32) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let number = field("NSpid:").or_else(|| field("Pid:")).unwrap_or_default();
    number.trim().parse() == Ok(own)
}

/// The state and the parent: `pid (comm) state ppid …`, proc(5). The name may hold spaces and
/// parentheses of its own.
fn parent_in(stat: &[u8]) -> Option<(&[u8], i32)> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = stat.get(after_name..)?.split(|byte| *byte == b' ').skip(1);
    let state = fields.next()?;
    let parent = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    Some((state, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent_in(b"7 (sh) S 3 7 7 0"), Some((&b"S"[..], 3)));
        assert_eq!(parent_in(b"7 (a) R 1) (b) Z 42 7 7 0"), Some((&b"Z"[..], 42)));
        assert_eq!(parent_in(b""), None);
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
        assert!(descendants(own, |_| false).unwrap().contains(&pid));
        assert!(!descendants(own, |skipped| skipped == pid).unwrap().contains(&pid));
        child.kill().unwrap();
        let is_zombie = || fs::read(format!("/proc/{pid}/stat")).unwrap().contains(&b'Z');
        while !is_zombie() {
            std::thread::yield_now();
        }
        assert!(!descendants(own, |_| false).unwrap().contains(&pid));
        assert_eq!(ancestor(pid, |pid| pid == own), Some(own), "a zombie has parents, too");
        child.wait().unwrap();
    }
}
