//! A finding as the client reads it, and the fingerprint by which an operator approves it. Pure.

use std::collections::HashSet;
use std::fmt::Write;

use sha2::{Digest, Sha256};
use visible::is_visible;

use super::report::Raw;

/// More are not listed; the push is refused either way.
pub(crate) const MOST_LISTED: usize = 50;

/// Something that looks like a secret. The secret itself is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) rule: String,
    /// The path of the file, or `<commit message>` and the like; printable.
    pub(crate) place: String,
    pub(crate) line: usize,
    pub(crate) commit: Option<String>,
    /// The object of which the commit is still to be asked.
    pub(crate) object: Option<String>,
    /// SHA-256 of the secret, in hexadecimal.
    pub(crate) hash: String,
}

impl Finding {
    pub(crate) fn new(rule: &str, place: &str, line: usize, secret: &str) -> Finding {
        let mut hash = String::new();
        for byte in Sha256::digest(secret) {
            let _ = write!(hash, "{byte:02x}");
        }
        let (rule, place) = (rule.to_owned(), place.to_owned());
        Finding { rule, place, line, commit: None, object: None, hash }
    }

    /// What an operator approves: the same secret in the same file, whatever the commit.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{}:{}:{}", self.rule, self.place, self.hash)
    }
}

/// Makes any bytes one line of readable text. What is not printable becomes `%` and two digits, so
/// that no path can write on a terminal or look like another.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if !is_visible(letter) || letter == '%' {
                for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "%{byte:02X}");
                }
            } else {
                text.push(letter);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Everything that was found, so that it can be left out of what is shown: a path may hold one too.
pub(crate) struct Secrets<'a>(Vec<&'a str>);

impl<'a> Secrets<'a> {
    pub(crate) fn of(found: impl IntoIterator<Item = &'a Raw>) -> Secrets<'a> {
        let mut secrets: Vec<&str> = found.into_iter().map(|raw| raw.secret.as_str()).collect();
        // The longest first, as others may be parts of it. A rule that asks for a name alone has
        // an empty one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.retain(|secret| !secret.is_empty());
        Secrets(secrets)
    }

    /// The printable form of a path, without them.
    pub(crate) fn hidden_in(&self, path: &[u8]) -> String {
        let mut text = printable(path);
        for secret in &self.0 {
            text = text.replace(&printable(secret.as_bytes()), "***");
        }
        text
    }
}

/// The fingerprints that are approved for this repository: of lines `REPOSITORY FINGERPRINT`, with
/// comments behind `#` at their begin.
pub(crate) fn approved(text: &str, repository: &str) -> HashSet<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(char::is_whitespace))
        .filter(|(name, _)| *name == repository)
        .map(|(_, fingerprint)| fingerprint.trim().to_owned())
        .collect()
}

/// Each secret in each place once, the first one first.
pub(crate) fn distinct(findings: Vec<Finding>) -> Vec<Finding> {
    let mut seen = HashSet::new();
    findings.into_iter().filter(|finding| seen.insert(finding.fingerprint())).collect()
}

/// What the client reads.
pub(crate) fn message(repository: &str, findings: &[Finding]) -> Vec<String> {
    let mut lines = vec![match findings.len() {
        1 => "refused: 1 possible secret in this push; upstream has received nothing".to_owned(),
        count => {
            format!("refused: {count} possible secrets in this push; upstream has received nothing")
        }
    }];
    for finding in findings.iter().take(MOST_LISTED) {
        let Finding { rule, place, line, commit, .. } = finding;
        let commit = match commit {
            Some(commit) => format!(", commit {}", commit.get(..12).unwrap_or(commit)),
            None => String::new(),
        };
        lines.push(format!("  {rule} in {place}, line {line}{commit}"));
        lines.push(format!("    fingerprint {}", finding.fingerprint()));
    }
    if findings.len() > MOST_LISTED {
        lines.push(format!("  and {} more", findings.len() - MOST_LISTED));
    }
    lines.push(
        "remove each one from every commit that has it (git commit --amend, git rebase)".into(),
    );
    lines.push(format!(
        "if one is no secret, ask for an exception through supervise: repository {repository}, and \
         the fingerprint"
    ));
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finding(secret: &str) -> Finding {
        let mut finding = Finding::new("aws", "a b.env", 3, secret);
        finding.commit = Some("0123456789abcdef".to_owned());
        finding
    }

    #[test]
    fn the_secret_is_nowhere_in_the_message() {
        let text = message("app", &[finding("AKIASECRET")]).join("\n");
        assert!(!text.contains("AKIASECRET"));
        assert!(text.contains("  aws in a b.env, line 3, commit 0123456789ab\n"), "{text}");
        assert!(text.contains("1 possible secret in"));
    }

    #[test]
    fn a_fingerprint_is_rule_place_and_hash() {
        let expected =
            "aws:a b.env:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(finding("").fingerprint(), expected);
        assert_eq!(distinct(vec![finding("x"), finding("x"), finding("y")]).len(), 2);
    }

    #[test]
    fn no_path_shows_a_secret() {
        let raw = |secret: &str| Raw {
            rule: String::new(),
            secret: secret.to_owned(),
            line: 1,
            file: String::new(),
            commit: String::new(),
        };
        let found = [raw("key"), raw("keykey%"), raw("")];
        let secrets = Secrets::of(&found);
        assert_eq!(secrets.hidden_in(b"a/keykey%/key.txt"), "a/***/***.txt");
        assert_eq!(secrets.hidden_in(b"plain\n"), "plain%0A");
    }

    #[test]
    fn approvals_are_for_one_repository() {
        let text =
            "# why\napp aws:a b.env:12\n\n  app\tx:y:z  \nlib aws:c:34\nbroken\n#app q:r:s\n";
        let expected = ["aws:a b.env:12", "x:y:z"].map(str::to_owned);
        assert_eq!(approved(text, "app"), HashSet::from(expected));
        assert!(approved("", "app").is_empty());
    }

    #[test]
    fn many_are_counted() {
        let many: Vec<Finding> = (0..60).map(|number| finding(&number.to_string())).collect();
        let lines = message("app", &many);
        assert!(lines.contains(&"  and 10 more".to_owned()));
        assert!(lines[0].contains("60 possible secrets"));
    }

    proptest! {
        #[test]
        fn a_place_is_one_line_and_unique(
            one in proptest::collection::vec(any::<u8>(), 0..20),
            other in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            prop_assert!(printable(&one).chars().all(is_visible));
            prop_assert_eq!(printable(&one) == printable(&other), one == other);
        }

        #[test]
        fn what_is_printed_can_be_approved(path in proptest::collection::vec(any::<u8>(), 1..20)) {
            let place = printable(&path);
            let fingerprint = Finding::new("rule", &place, 1, "s").fingerprint();
            let approved = approved(&format!("app {fingerprint}\n"), "app");
            prop_assert!(approved.contains(&fingerprint));
        }
    }
}
