//! Why git could not reach the upstream, in words that a client may read: git's own may name
//! paths, hosts and users. Pure.

use crate::push::Update;

/// What git or ssh say, and what that means. The first that fits counts.
const KNOWN: [(&str, &str); 23] = [
    ("Host key verification failed", "its host key is not the pinned one"),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key is not the pinned one"),
    ("No user exists for uid", "the gate's user is not in /etc/passwd, so ssh does not run"),
    ("UNPROTECTED PRIVATE KEY FILE", "ssh does not take the gate's key: others may read its file"),
    ("Load key", "the gate's key can't be read"),
    ("Permission denied (", "it does not accept the gate's key"),
    ("Connection refused", "the connection was refused"),
    ("timed out", "the connection timed out"),
    ("Could not resolve hostname", "its name can't be resolved"),
    ("Could not resolve host", "its name can't be resolved"),
    ("No route to host", "there is no route to it"),
    ("Network is unreachable", "the network is unreachable"),
    ("Connection reset", "it reset the connection"),
    ("Connection closed", "it closed the connection"),
    ("does not appear to be a git repository", "it has no such repository"),
    ("Repository not found", "it has no such repository"),
    ("repository not found", "it has no such repository"),
    ("stale info", "it has moved on meanwhile; fetch and try again"),
    ("does not support --atomic", "it can't take several refs at once (atomic push)"),
    ("No space left on device", "the gate's disk is full"),
    ("Read-only file system", "the gate can't write to its mirror"),
    ("transport '", "its protocol is not allowed"),
    ("shallow update not allowed", "a shallow repository can't be pushed from"),
];

/// What git's stderr says about a failure.
pub(crate) fn reason(stderr: &str) -> &'static str {
    let known = KNOWN.iter().find(|(text, _)| stderr.contains(text));
    known.map_or("git failed; the gate's log has its words", |(_, meaning)| meaning)
}

/// What `git push --porcelain` says of the refs that were refused, with the upstream's reasons.
/// These are for the client: they are what it would read without the gate.
pub(crate) fn refused_refs(stdout: &str) -> Vec<String> {
    stdout
        .lines()
        .filter_map(|line| line.strip_prefix("!\t"))
        .filter_map(|line| {
            let (refs, why) = line.split_once('\t')?;
            let name = refs.split_once(':').map_or(refs, |(_, name)| name);
            Some(format!("{name}: {}", why.replace(['[', ']'], "")))
        })
        .collect()
}

/// Whether `git push --porcelain` names each of these refs as taken.
pub(crate) fn took_all(stdout: &str, updates: &[Update]) -> bool {
    let taken: Vec<&str> = stdout
        .lines()
        .filter(|line| line.starts_with([' ', '+', '-', '*', '=']))
        .filter_map(|line| line.split('\t').nth(1)?.split_once(':').map(|(_, name)| name))
        .collect();
    updates.iter().all(|update| taken.contains(&update.name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_taken_when_each_ref_is() {
        let update = |name: &str| Update { old: None, new: None, name: name.to_owned() };
        let updates = [update("refs/heads/a"), update("refs/heads/b")];
        let output = "To x\n*\t1:refs/heads/a\t[new branch]\n \t2:refs/heads/b\t1..2\nDone\n";
        assert!(took_all(output, &updates));
        assert!(!took_all(&output.replace("*\t1", "!\t1"), &updates));
        assert!(!took_all("Everything up-to-date\n", &updates));
    }

    #[test]
    fn what_people_meet_is_named() {
        let stderr = "git@10.1.2.3: Permission denied (publickey).\r\nfatal: Could not read";
        assert_eq!(reason(stderr), "it does not accept the gate's key");
        let stderr = "ssh: connect to host x port 22: Connection refused\r\n";
        assert_eq!(reason(stderr), "the connection was refused");
        let both =
            "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.";
        assert_eq!(reason(both), "its host key is not the pinned one");
    }

    #[test]
    fn what_is_not_known_stays_in_the_log() {
        let reason = reason("fatal: https://user:secret@host/: odd");
        assert!(!reason.contains("secret"));
    }

    #[test]
    fn refused_refs_have_the_upstreams_reasons() {
        let stdout = "To ssh://x\n*\ta:refs/heads/ok\t[new branch]\n\
                      !\tb:refs/heads/main\t[remote rejected] (protected branch)\n\
                      !\t:refs/heads/x\t[rejected] (stale info)\nDone\n";
        let expected = [
            "refs/heads/main: remote rejected] (protected branch)",
            "refs/heads/x: rejected] (stale info)",
        ];
        let expected = expected.map(|text| text.replace(']', ""));
        assert_eq!(refused_refs(stdout), expected);
    }
}
