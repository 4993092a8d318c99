//! What names one finding of gitleaks at the git gate: a repository, and `rule:path:hash`.

use serde::{Deserialize, Serialize};

use crate::host::quoted;

const MAX_REPOSITORY: usize = 128;
const MAX_FINGERPRINT: usize = 1024;
const HASH_LENGTH: usize = 64;

/// The name of a repository of the git gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository(String);

impl Repository {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Repository> for String {
    fn from(repository: Repository) -> Self {
        repository.0
    }
}

impl TryFrom<String> for Repository {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = text.strip_suffix(".git").unwrap_or(&text);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.len() <= MAX_REPOSITORY
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.bytes().all(allowed)
        {
            return Ok(Repository(name.to_owned()));
        }
        Err(format!(
            "repository {}: give its name at the git gate, NAME in git://git-gate/NAME.git",
            quoted(&text)
        ))
    }
}

/// A finding, as the git gate prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_fingerprint(&text) {
            return Ok(Fingerprint(text));
        }
        Err(format!(
            "fingerprint {}: give it exactly as the git gate printed it, RULE:PATH:HASH",
            quoted(&text)
        ))
    }
}

fn is_fingerprint(text: &str) -> bool {
    let Some((rule, rest)) = text.split_once(':') else { return false };
    let Some((path, hash)) = rest.rsplit_once(':') else { return false };
    let rule_is_good = !rule.is_empty()
        && rule.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    // One fingerprint is one line. The git gate writes control characters as `%` and two digits;
    // spaces it leaves.
    let path_is_good = !path.is_empty() && !path.chars().any(char::is_control);
    let hash_is_good = hash.len() == HASH_LENGTH
        && hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    text.len() <= MAX_FINGERPRINT && rule_is_good && path_is_good && hash_is_good
}

/// Repository and fingerprint in each line of the file of approved ones, as the git gate reads it:
/// `#` begins a comment at the begin of a line only.
pub fn approved(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(char::is_whitespace))
        .map(|(repository, fingerprint)| (repository, fingerprint.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_one_harmless_line() {
        let hash = "0123456789abcdef".repeat(4);
        for place in ["src/a:b.py", "a  b#c.env", "<commit message>", " x"] {
            let good = format!("aws-access-token:{place}:{hash}");
            let fingerprint = Fingerprint::try_from(good.clone()).unwrap();
            let line = format!("# why\n app\t{} \n", fingerprint.as_str());
            assert_eq!(approved(&line), [("app", good.as_str())]);
        }
        for bad in [
            "aws:src/a.py".to_owned(),
            format!(":src/a.py:{hash}"),
            format!("aws::{hash}"),
            format!("aws:a\nother x:{hash}"),
            format!("aws:a:{}", hash.to_uppercase()),
            format!("aws:a:{}", &hash[1..]),
            format!("aws:{}:{hash}", "a".repeat(1024)),
        ] {
            assert!(Fingerprint::try_from(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_repository_is_a_plain_name() {
        for good in ["app", "app.git", "a-b_c.d"] {
            let name = Repository::try_from(good.to_owned()).unwrap();
            assert_eq!(name.as_str(), good.trim_end_matches(".git"));
        }
        for bad in ["", "..", "../x", "a/b", "/a", "a b", "a\nb", "-x", ".git", "a/"] {
            assert!(Repository::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
