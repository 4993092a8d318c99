//! Users and groups: from the bundle's names to the kernel's numbers.
//!
//! This reads the files itself: libc's `getpwnam` in a static binary would load shared libraries of the
//! image's libc, nss(5).

use std::collections::BTreeMap;
use std::path::Path;

use strict_toml::{ConfigError, Place};

use crate::bundle::{Account, Identity};
use crate::file::Files;
use crate::sys::spawn::Credentials;

/// The credentials of a service, and the values of its environment variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The credentials to change to; `None`: the init has them already.
    pub credentials: Option<Credentials>,
    /// The user's id.
    pub user: u32,
    /// The primary group's id.
    pub group: u32,
    /// The user's name, if it has an entry.
    pub name: Option<String>,
    /// Its home directory; `/` without an entry.
    pub home: String,
    /// Whether the service has `user`, so that HOME, USER and LOGNAME are set.
    pub is_other_user: bool,
}

/// The accounts in the machine's files. The first entry of a name or number counts.
#[derive(Debug, Default)]
pub struct Accounts {
    users: BTreeMap<String, User>,
    ids: BTreeMap<u32, (String, User)>,
    groups: BTreeMap<String, u32>,
    /// The groups of each user.
    memberships: BTreeMap<String, Vec<u32>>,
    /// Why one of the files could not be read.
    unreadable: Option<String>,
}

#[derive(Clone, Debug)]
struct User {
    id: u32,
    group: u32,
    home: String,
}

impl Accounts {
    /// Reads `/etc/passwd` and `/etc/group`. A missing file has no entries; an unreadable one is an
    /// error only if it is needed.
    pub fn read(files: &mut Files) -> Accounts {
        let mut unreadable = None;
        let mut read = |file: &str| {
            files.list(Path::new(file)).unwrap_or_else(|reason| {
                unreadable = Some(reason);
                String::new()
            })
        };
        let (passwd, group) = (read("/etc/passwd"), read("/etc/group"));
        Accounts { unreadable, ..Accounts::parse(&passwd, &group) }
    }

    fn parse(passwd: &str, group: &str) -> Accounts {
        let mut accounts = Accounts::default();
        for (name, user) in passwd.lines().filter_map(user) {
            let entry = || (name.to_owned(), user.clone());
            accounts.ids.entry(user.id).or_insert_with(entry);
            accounts.users.entry(name.to_owned()).or_insert(user);
        }
        for (name, id, members) in group.lines().filter_map(self::group) {
            accounts.groups.entry(name.to_owned()).or_insert(id);
            for member in members.split(',').filter(|member| !member.is_empty()) {
                accounts.memberships.entry(member.to_owned()).or_default().push(id);
            }
        }
        accounts
    }

    /// Looks up the numbers; `current` has the init's own credentials. The errors have the places of
    /// all missing accounts, and the fix.
    pub fn resolve(
        &self,
        identity: &Identity,
        current: &Credentials,
    ) -> Result<Option<Resolved>, Vec<ConfigError>> {
        if *identity == Identity::default() {
            return Ok(None);
        }
        let mut errors = Vec::new();
        let mut group_of = |(account, place): &(Account, Place)| {
            self.group(account).map_err(|message| errors.push(at(*place, message))).ok()
        };
        let own_group = identity.group.as_ref().map(&mut group_of);
        let listed: Option<Vec<Option<u32>>> = identity
            .supplementary_groups
            .as_ref()
            .map(|accounts| accounts.iter().map(group_of).collect());
        let user = match &identity.user {
            Some((account, place)) => {
                self.user(account).map_err(|message| errors.push(at(*place, message))).ok()
            }
            None => Some(self.user_of_id(current.user)),
        };
        let (Some((name, user)), true) = (user, errors.is_empty()) else { return Err(errors) };
        let group = match own_group {
            Some(group) => group.unwrap_or(user.group),
            None if identity.user.is_none() => current.group,
            None => user.group,
        };
        let groups = match listed {
            Some(groups) => groups.into_iter().flatten().collect(),
            None => self.groups_of(&name, group),
        };
        let wanted = Credentials { user: user.id, group, groups };
        let same_ids = (wanted.user, wanted.group) == (current.user, current.group);
        // Only root can set groups; a process with this user already has all groups that it can have.
        let keeps_groups = identity.supplementary_groups.is_none() && current.user != 0;
        let same = same_ids && (wanted.groups == current.groups || keeps_groups);
        Ok(Some(Resolved {
            user: user.id,
            group,
            name: (!name.is_empty()).then_some(name),
            home: user.home,
            is_other_user: identity.user.is_some(),
            credentials: (!same).then_some(wanted),
        }))
    }

    fn readable(&self) -> Result<(), String> {
        self.unreadable.as_ref().map_or(Ok(()), |reason| Err(format!("can't look it up: {reason}")))
    }

    fn user(&self, account: &Account) -> Result<(String, User), String> {
        self.readable()?;
        match account {
            Account::Id(id) => Ok(self.user_of_id(*id)),
            Account::Name(name) => {
                let found = self.users.get(name).cloned().map(|user| (name.clone(), user));
                found.ok_or_else(|| {
                    format!("user \"{name}\" is not in /etc/passwd; create it in the image, or give `user` a number")
                })
            }
        }
    }

    /// Without an entry there is no primary group; the same number is what images with numeric users
    /// expect, and it is not root's.
    fn user_of_id(&self, id: u32) -> (String, User) {
        let unknown = || (String::new(), User { id, group: id, home: "/".to_owned() });
        self.ids.get(&id).cloned().unwrap_or_else(unknown)
    }

    fn group(&self, account: &Account) -> Result<u32, String> {
        self.readable()?;
        match account {
            Account::Id(id) => Ok(*id),
            Account::Name(name) => self.groups.get(name).copied().ok_or_else(|| {
                format!("group \"{name}\" is not in /etc/group; create it in the image, or use its number")
            }),
        }
    }

    fn groups_of(&self, user: &str, primary: u32) -> Vec<u32> {
        let listed = self.memberships.get(user).into_iter().flatten().copied();
        let mut groups: Vec<u32> = [primary].into_iter().chain(listed).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

/// name:password:UID:GID:comment:directory:shell, passwd(5)
fn user(line: &str) -> Option<(&str, User)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let id = fields.nth(1)?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    Some((name, User { id, group, home }))
}

/// name:password:GID:members, group(5)
fn group(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let id = fields.nth(1)?.parse().ok()?;
    Some((name, id, fields.next().unwrap_or("")))
}

fn at(place: Place, message: String) -> ConfigError {
    ConfigError { place, message }
}

/// The credentials of this process.
pub fn current() -> Credentials {
    let mut groups: Vec<u32> = rustix::process::getgroups()
        .unwrap_or_default()
        .into_iter()
        .map(|group| group.as_raw())
        .collect();
    groups.sort_unstable();
    Credentials {
        user: rustix::process::geteuid().as_raw(),
        group: rustix::process::getegid().as_raw(),
        groups,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::parse(
            "root:x:0:0:root:/root:/bin/sh\n# no entry\nweb:x:33:34::/srv/web:/bin/false\n\
             other:x:33:35::/srv/other:/bin/false\nweb:x:77:78::/srv/second:/bin/false\n",
            "root:x:0:\nweb:x:34:\nlogs:x:50:web,mail\nssl:x:51:mail\nmail:x:8\nweb:x:99:\n",
        )
    }

    fn root() -> Credentials {
        Credentials { user: 0, group: 0, groups: vec![0] }
    }

    fn resolve(identity: Identity) -> Result<Option<Resolved>, Vec<ConfigError>> {
        accounts().resolve(&identity, &root())
    }

    const PLACE: Place = Place { line: 7, column: 8 };

    fn name(name: &str) -> Option<(Account, Place)> {
        Some((Account::Name(name.to_owned()), PLACE))
    }

    fn id(id: u32) -> Option<(Account, Place)> {
        Some((Account::Id(id), PLACE))
    }

    #[test]
    fn a_name_brings_its_groups_and_home() {
        let identity = Identity { user: name("web"), ..Identity::default() };
        let resolved = resolve(identity).unwrap().unwrap();
        assert_eq!(
            resolved.credentials,
            Some(Credentials { user: 33, group: 34, groups: vec![34, 50] })
        );
        assert_eq!((resolved.name.as_deref(), &*resolved.home), (Some("web"), "/srv/web"));
    }

    #[test]
    fn the_first_of_several_entries_counts() {
        let resolved = |user| {
            let resolved = resolve(Identity { user, ..Identity::default() }).unwrap().unwrap();
            (resolved.user, resolved.name, resolved.home)
        };
        let first = (33, Some("web".to_owned()), "/srv/web".to_owned());
        assert_eq!(resolved(name("web")), first);
        assert_eq!(resolved(id(33)), first);
        assert_eq!(resolved(id(77)), (77, Some("web".to_owned()), "/srv/second".to_owned()));
        let other = (33, Some("other".to_owned()), "/srv/other".to_owned());
        assert_eq!(resolved(name("other")), other);
    }

    #[test]
    fn a_number_needs_no_entry() {
        let identity = Identity { user: id(1234), ..Identity::default() };
        let resolved = resolve(identity).unwrap().unwrap();
        assert_eq!(
            resolved.credentials,
            Some(Credentials { user: 1234, group: 1234, groups: vec![1234] })
        );
        assert_eq!((resolved.name, &*resolved.home), (None, "/"));
    }

    #[test]
    fn listed_groups_replace_those_of_the_user() {
        let identity = Identity {
            user: name("web"),
            group: name("ssl"),
            supplementary_groups: Some([name("mail"), id(7)].into_iter().flatten().collect()),
        };
        let credentials = resolve(identity).unwrap().unwrap().credentials.unwrap();
        assert_eq!(credentials, Credentials { user: 33, group: 51, groups: vec![8, 7] });
    }

    #[test]
    fn what_the_init_is_already_needs_no_privilege() {
        let current = Credentials { user: 1000, group: 1000, groups: vec![5] };
        let identity = Identity { user: id(1000), ..Identity::default() };
        let resolved = Accounts::default().resolve(&identity, &current).unwrap().unwrap();
        assert_eq!(resolved.credentials, None);
    }

    #[test]
    fn an_unknown_name_is_named_with_the_fix() {
        let unknown = resolve(Identity { user: name("nobody"), ..Identity::default() });
        let message = "user \"nobody\" is not in /etc/passwd; create it in the image, or give `user` a number";
        assert_eq!(unknown, Err(vec![at(PLACE, message.to_owned())]));
        let all = Identity {
            user: name("nobody"),
            group: name("none"),
            supplementary_groups: Some(
                [name("mail"), name("neither")].into_iter().flatten().collect(),
            ),
        };
        assert_eq!(resolve(all).unwrap_err().len(), 3, "all at once");
    }
}
