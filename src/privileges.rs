//! Finds missing privileges of a plan before a service starts or stops: capabilities(7),
//! user_namespaces(7).

use std::collections::BTreeMap;
use std::fs;

use rustix::thread::{CapabilitySet, capabilities, capability_is_in_bounding_set};
use strict_toml::listed;

use crate::plan::Plan;
use crate::sys::spawn::Credentials;

/// The privileges of this process.
#[derive(Clone, Debug)]
struct Privileges {
    effective: CapabilitySet,
    bounding: CapabilitySet,
    /// The real and the effective user.
    users: [u32; 2],
    user_ids: Ids,
    group_ids: Ids,
    /// A user namespace may forbid setgroups(2) permanently.
    may_set_groups: bool,
}

/// The ids of a user namespace: the first of each range, and the length.
#[derive(Clone, Debug)]
struct Ids(Vec<(u32, u32)>);

/// One line for each part of the plan that will not work.
pub fn warnings(plan: &Plan) -> Vec<String> {
    let drops = plan.bundle.services.iter().any(|service| service.drop_capabilities != 0);
    let changes =
        plan.ids().filter_map(|id| plan.identity(id)).any(|who| who.credentials.is_some());
    if drops || changes { Privileges::read().warnings(plan) } else { Vec::new() }
}

impl Privileges {
    /// Asks the kernel. What it does not report is assumed to be allowed.
    fn read() -> Privileges {
        let all = CapabilitySet::all();
        let is_held = |bit: &CapabilitySet| capability_is_in_bounding_set(*bit).unwrap_or(false);
        Privileges {
            effective: capabilities(None).map_or(all, |sets| sets.effective),
            bounding: all.iter().filter(is_held).collect(),
            users: [rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw()],
            user_ids: Ids::read("/proc/self/uid_map"),
            group_ids: Ids::read("/proc/self/gid_map"),
            may_set_groups: groups_may_be_set(),
        }
    }

    fn warnings(&self, plan: &Plan) -> Vec<String> {
        let mut not_started = BTreeMap::<String, Vec<&str>>::new();
        let mut not_stopped = Vec::new();
        for (service, looked_up) in plan.bundle.services.iter().zip(&plan.looked_up) {
            let who = looked_up.identity.as_ref();
            let credentials = who.and_then(|who| who.credentials.as_ref());
            let obstacle = credentials.and_then(|new| self.obstacle(new)).or_else(|| {
                self.drop_obstacle(service.drop_capabilities, service.no_new_privileges)
            });
            if let Some(obstacle) = obstacle {
                not_started.entry(obstacle).or_default().push(&service.name);
            } else if credentials.is_some_and(|new| !self.may_signal(new)) {
                not_stopped.push(&*service.name);
            }
        }
        let unstarted = not_started.into_iter().map(|(obstacle, names)| {
            format!("{obstacle}, so that these can't be started: {}", listed(&names, ", "))
        });
        let unstopped = (!not_stopped.is_empty()).then(|| {
            format!(
                "CAP_KILL is missing, so that these, which run as another user, can't be signalled \
                 or stopped: {}",
                listed(&not_stopped, ", ")
            )
        });
        unstarted.chain(unstopped).collect()
    }

    /// Why a process can't change to these credentials.
    fn obstacle(&self, new: &Credentials) -> Option<String> {
        let Credentials { user, group, groups } = new;
        if !self.user_ids.contain(*user) {
            return Some(format!("this user namespace does not map user {user}"));
        }
        let mut all = [group].into_iter().chain(groups);
        if let Some(unmapped) = all.find(|group| !self.group_ids.contain(**group)) {
            return Some(format!("this user namespace does not map group {unmapped}"));
        }
        if !self.may_set_groups {
            return Some("this user namespace does not allow setgroups(2)".to_owned());
        }
        let is_this_user = self.users.contains(user);
        let needed = match is_this_user {
            true => CapabilitySet::SETGID,
            false => CapabilitySet::SETGID | CapabilitySet::SETUID,
        };
        self.missing(needed)
    }

    /// Why a process can't drop these capabilities from its bounding set; capabilities(7).
    fn drop_obstacle(&self, dropped: u64, no_new_privileges: bool) -> Option<String> {
        let dropped = CapabilitySet::from_bits_truncate(dropped) & self.bounding;
        if dropped.is_empty() || no_new_privileges {
            return None;
        }
        let missing = self.missing(CapabilitySet::SETPCAP)?;
        Some(format!("{missing} (`drop-capabilities` without `no-new-privileges`)"))
    }

    /// Whether we may signal a process with these credentials, kill(2).
    fn may_signal(&self, other: &Credentials) -> bool {
        self.users.contains(&other.user) || self.effective.contains(CapabilitySet::KILL)
    }

    fn missing(&self, needed: CapabilitySet) -> Option<String> {
        let missing = needed - self.effective;
        let names: Vec<String> =
            missing.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
        match &names[..] {
            [] => None,
            [name] => Some(format!("{name} is missing")),
            names => Some(format!("{} are missing", names.join(" and "))),
        }
    }
}

/// The missing ones of these capabilities, as text.
pub fn missing(needed: CapabilitySet) -> Option<String> {
    Privileges::read().missing(needed)
}

/// Whether setgroups(2) is allowed at all, user_namespaces(7).
pub fn groups_may_be_set() -> bool {
    fs::read_to_string("/proc/self/setgroups").map_or(true, |word| word.trim() != "deny")
}

impl Ids {
    /// A kernel without user namespaces has no such file, and every id is valid.
    fn read(file: &str) -> Ids {
        let text = fs::read_to_string(file);
        text.map_or(Ids(vec![(0, u32::MAX)]), |text| Ids::parse(&text))
    }

    /// One range `FIRST OUTSIDE COUNT` per line.
    fn parse(map: &str) -> Ids {
        let range = |line: &str| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.nth(1)?.ok()?))
        };
        Ids(map.lines().filter_map(range).collect())
    }

    fn contain(&self, id: u32) -> bool {
        self.0.iter().any(|(first, count)| id >= *first && id - first < *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root in a container with every privilege that these tests use.
    fn root() -> Privileges {
        Privileges {
            effective: CapabilitySet::all(),
            bounding: CapabilitySet::all(),
            users: [0, 0],
            user_ids: Ids::parse("         0          0 4294967295\n"),
            group_ids: Ids::parse("0 0 4294967295"),
            may_set_groups: true,
        }
    }

    fn without(missing: CapabilitySet) -> Privileges {
        Privileges { effective: CapabilitySet::all() - missing, ..root() }
    }

    fn who(user: u32, group: u32, groups: &[u32]) -> Credentials {
        Credentials { user, group, groups: groups.to_vec() }
    }

    #[test]
    fn what_keeps_a_service_from_its_user_is_named() {
        let web = who(33, 33, &[33, 50]);
        assert_eq!(root().obstacle(&web), None);
        let obstacle = |privileges: Privileges| privileges.obstacle(&web).unwrap();
        let both = CapabilitySet::SETUID | CapabilitySet::SETGID;
        assert_eq!(obstacle(without(both)), "CAP_SETGID and CAP_SETUID are missing");
        assert_eq!(obstacle(without(CapabilitySet::SETGID)), "CAP_SETGID is missing");
        assert_eq!(without(CapabilitySet::SETUID).obstacle(&who(0, 5, &[])), None, "it is that");

        let ids = || Ids::parse("0 1000 1\n30 2000 10\n");
        let mapped = Privileges { user_ids: ids(), group_ids: ids(), ..root() };
        assert_eq!(obstacle(mapped.clone()), "this user namespace does not map group 50");
        assert_eq!(mapped.obstacle(&who(39, 30, &[])), None);
        let unmapped = mapped.obstacle(&who(40, 30, &[])).unwrap();
        assert_eq!(unmapped, "this user namespace does not map user 40");
        let denied = Privileges { may_set_groups: false, ..root() };
        assert_eq!(obstacle(denied), "this user namespace does not allow setgroups(2)");
    }

    #[test]
    fn only_what_can_be_regained_has_to_be_dropped_for_good() {
        let weak = without(CapabilitySet::SETPCAP);
        assert!(weak.drop_obstacle(u64::MAX, false).unwrap().starts_with("CAP_SETPCAP is missing"));
        assert_eq!(weak.drop_obstacle(u64::MAX, true), None);
        assert_eq!(weak.drop_obstacle(0, false), None);
        let bounded = Privileges { bounding: CapabilitySet::empty(), ..weak };
        assert_eq!(bounded.drop_obstacle(u64::MAX, false), None);
        assert_eq!(root().drop_obstacle(u64::MAX, false), None);
    }

    #[test]
    fn only_root_with_the_capability_and_the_user_itself_can_signal() {
        assert!(root().may_signal(&who(33, 33, &[])));
        let weak = without(CapabilitySet::KILL);
        assert!(!weak.may_signal(&who(33, 33, &[])));
        assert!(Privileges { users: [0, 33], ..weak }.may_signal(&who(33, 33, &[])));
    }
}
