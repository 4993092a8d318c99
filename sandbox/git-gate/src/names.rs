//! Which names a pushed ref may have: only those that nobody can take for an object's id, for
//! HEAD, or for another ref. git looks a short name up in several places, and takes the first
//! (gitrevisions(7)); a name that stands for two things makes git choose, or refuse. Pure.

use std::collections::HashMap;

use crate::push::Update;

/// What git keeps beside HEAD and what ends in `_HEAD` (is_root_ref in git's refs.c).
const OTHER_ROOT_REFS: [&str; 5] = [
    "AUTO_MERGE",
    "BISECT_EXPECTED_REV",
    "NOTES_MERGE_PARTIAL",
    "NOTES_MERGE_REF",
    "MERGE_AUTOSTASH",
];

/// Whether these updates leave all names clear; `there` are the refs that upstream has.
///
/// What is deleted may have any name, so that one that upstream has already can be taken away.
/// What is there already may share its short name, since others have chosen that.
///
/// # Errors
/// The first name that is not clear, with the reason.
pub(crate) fn check<'a>(
    updates: &'a [Update],
    there: impl IntoIterator<Item = &'a str>,
) -> Result<(), String> {
    let kept = updates.iter().filter(|update| update.new.is_some());
    for update in kept.clone() {
        if let Some(what) = taken_for(&update.name) {
            return Err(format!(
                "git can take the name {} for {what}; choose another one",
                update.name
            ));
        }
    }
    let is_gone = |name: &str| updates.iter().any(|one| one.name == name && one.new.is_none());
    let mut owners: HashMap<&str, Vec<&str>> = HashMap::new();
    let there = there.into_iter().filter(|name| !is_gone(name));
    for name in there.chain(kept.clone().map(|update| update.name.as_str())) {
        for short in short_names(name) {
            owners.entry(short).or_default().push(name);
        }
    }
    for update in kept.filter(|update| update.old.is_none()) {
        for short in short_names(&update.name) {
            let others = owners.get(short).map(Vec::as_slice).unwrap_or_default();
            if let Some(other) = others.iter().find(|other| **other != update.name) {
                return Err(format!(
                    "\"{short}\" would be both {} and {other}; choose another name",
                    update.name
                ));
            }
        }
    }
    Ok(())
}

/// All names by which git finds this ref, the full one among them (gitrevisions(7), `<refname>`).
fn short_names(name: &str) -> impl Iterator<Item = &str> {
    let remote = name.strip_prefix("refs/remotes/");
    let shorter = ["refs/", "refs/tags/", "refs/heads/", "refs/remotes/"];
    std::iter::once(name)
        .chain(shorter.into_iter().filter_map(move |prefix| name.strip_prefix(prefix)))
        .chain(remote.and_then(|rest| rest.strip_suffix("/HEAD")))
}

/// What else git could see in this name.
fn taken_for(name: &str) -> Option<&'static str> {
    // Tools compare the last part alone too, as git ls-remote does. git-replace(1) names its refs
    // by ids on purpose.
    let last = name.rsplit('/').next().filter(|_| !name.starts_with("refs/replace/"));
    for short in short_names(name).skip(1).chain(last) {
        if matches!(short.len(), 40 | 64) && short.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some("an object's id");
        }
        if short == "@" || is_root_ref(short) {
            return Some("git's own HEAD or the like");
        }
        if short.starts_with("refs/") {
            return Some("the full name of another ref");
        }
    }
    None
}

fn is_root_ref(name: &str) -> bool {
    let is_upper = |byte: u8| byte.is_ascii_uppercase() || byte == b'_' || byte == b'-';
    let is_head = name == "HEAD" || name.ends_with("_HEAD");
    (is_head && name.bytes().all(is_upper)) || OTHER_ROOT_REFS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(name: &str, old: bool, new: bool) -> Update {
        let id = |is: bool| is.then(|| "a".repeat(40));
        Update { old: id(old), new: id(new), name: name.to_owned() }
    }

    fn made(name: &str, there: &[&str]) -> Result<(), String> {
        check(&[update(name, false, true)], there.iter().copied())
    }

    #[test]
    fn usual_names_are_clear() {
        for name in [
            "refs/heads/main",
            "refs/heads/feature/HEADER",
            "refs/heads/head",
            "refs/heads/deadbeef",
            "refs/tags/v1.0",
            "refs/notes/commits",
            "refs/replace/0123456789abcdef0123456789abcdef01234567",
            "refs/heads/préf",
            "refs/heads/HEAD/x",
        ] {
            assert_eq!(made(name, &["refs/heads/other", "refs/tags/v1"]), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_name_that_git_could_misread_is_refused() {
        let (short, long, upper) = ("0f".repeat(20), "0f".repeat(32), "0F".repeat(20));
        let mut names: Vec<String> = [&short, &long, &upper]
            .into_iter()
            .flat_map(|id| {
                ["refs/", "refs/heads/", "refs/tags/", "refs/remotes/", "refs/x/", "refs/heads/x/"]
                    .map(|space| format!("{space}{id}"))
            })
            .collect();
        names.push(format!("refs/remotes/{short}/HEAD"));
        for name in [
            "refs/HEAD",
            "refs/heads/HEAD",
            "refs/tags/FETCH_HEAD",
            "refs/x/ORIG_HEAD",
            "refs/remotes/origin/HEAD",
            "refs/heads/@",
            "refs/heads/AUTO_MERGE",
            "refs/heads/refs/heads/main",
            "refs/tags/refs/x",
            "refs/refs/heads/main",
        ] {
            names.push(name.to_owned());
        }
        for name in names {
            assert!(made(&name, &[]).unwrap_err().contains(&name), "{name}");
            let moved = update(&name, true, true);
            assert!(check(&[moved], [name.as_str()]).is_err(), "{name}");
            let deleted = update(&name, true, false);
            assert_eq!(check(&[deleted], [name.as_str()]), Ok(()), "{name}");
        }
    }

    #[test]
    fn no_new_name_is_another_ones_too() {
        let there = ["refs/heads/x", "refs/tags/v1", "refs/remotes/o/y"];
        let pairs = [("refs/tags/x", "x"), ("refs/heads/v1", "v1"), ("refs/heads/o/y", "o/y")];
        for (name, short) in pairs {
            let error = made(name, &there).unwrap_err();
            assert!(error.starts_with(&format!("\"{short}\" would be both {name}")), "{error}");
        }
        assert!(made("refs/heads/tags/v1", &there).is_err());
        let both = [update("refs/heads/z", false, true), update("refs/tags/z", false, true)];
        assert!(check(&both, []).is_err());
        // One of a pair that upstream has may move, and one may take the other's place.
        let pair = ["refs/heads/x", "refs/tags/x"];
        assert_eq!(check(&[update("refs/heads/x", true, true)], pair), Ok(()));
        let swapped = [update("refs/heads/x", true, false), update("refs/tags/x", false, true)];
        assert_eq!(check(&swapped, ["refs/heads/x"]), Ok(()));
    }
}
