//! Names of hosts that an agent may ask for: exact, or `*.` and a name that somebody owns.
//!
//! Stricter than DNS, for what is written here ends in the rules of the proxies: no addresses, no
//! names without a dot (those are the services beside us), no wildcard over a public suffix.

use std::fmt;

use psl::Psl;
use serde::{Deserialize, Serialize};

use crate::text::one_line;

/// The longest name that DNS can carry, RFC 1035 section 2.3.4.
const MAX_LENGTH: usize = 253;
const MAX_LABEL: usize = 63;

/// Names below which every address has a name (10.0.0.1.nip.io), or which are names of the machine
/// itself: with them an address could be asked for after all.
const NAMES_OF_ADDRESSES: [&str; 18] = [
    "1u.ms",
    "backname.io",
    "fuf.me",
    "lacolhost.com",
    "lcl.host",
    "local.gd",
    "localdev.me",
    "localhost.direct",
    "localtest.me",
    "lvh.me",
    "nip.io",
    "rbndr.us",
    "smackaho.st",
    "sslip.io",
    "traefik.me",
    "ulh.us",
    "vcap.me",
    "xip.io",
];

/// An exact host, or all below a domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern(String);

impl HostPattern {
    /// The pattern as the proxies' files have it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for more than one host.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// The name, or what the wildcard stands before.
    pub fn name(&self) -> &str {
        self.0.strip_prefix("*.").unwrap_or(&self.0)
    }

    /// Whether an entry of pipelock's list lets all of it through. There a wildcard stands for the
    /// names below and for the name itself, and neither case nor the root's dot matters.
    pub fn is_covered_by(&self, entry: &str) -> bool {
        let entry = entry.to_ascii_lowercase();
        let entry = entry.strip_suffix('.').unwrap_or(&entry);
        let is_below = |base: &str| {
            self.name()
                .strip_suffix(base)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.0 == entry || entry.strip_prefix("*.").is_some_and(is_below)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<HostPattern> for String {
    fn from(host: HostPattern) -> Self {
        host.0
    }
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let host = text.to_ascii_lowercase();
        let name = host.strip_prefix("*.").unwrap_or(&host);
        let wrong = |why: &str| format!("host {}: {why}", quoted(&text));
        if name != host && !name.is_empty() {
            check_wildcard(name).map_err(|why| wrong(&why))?;
        }
        check_name(name).map_err(|why| wrong(&why))?;
        Ok(HostPattern(host))
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.contains("://") || name.contains('/') {
        return Err("give the name alone, without scheme and path: api.example.com".to_owned());
    }
    if name.is_empty() {
        return Err("it is empty; give a name such as api.example.com".to_owned());
    }
    if name.contains('*') {
        return Err("a wildcard can only be the whole first label: *.example.com".to_owned());
    }
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("white space and control characters are not allowed".to_owned());
    }
    if name.starts_with('[') || name.matches(':').count() > 1 {
        return Err("addresses are not allowed, only names".to_owned());
    }
    if name.contains(':') {
        return Err("give the name without a port".to_owned());
    }
    if name.len() > MAX_LENGTH {
        return Err(format!("it is longer than {MAX_LENGTH} characters"));
    }
    let labels: Vec<&str> = name.split('.').collect();
    if labels.iter().any(|label| !is_label(label)) {
        return Err("labels consist of a-z, 0-9 and inner hyphens, at most 63 of them, with one \
                    dot between two; write an international name in its xn-- form"
            .to_owned());
    }
    let last = labels.last().copied().unwrap_or_default();
    if labels.len() < 2 {
        return Err("a name without a dot is a service of this network, which nobody can be \
                    routed to"
            .to_owned());
    }
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("addresses are not allowed, only names".to_owned());
    }
    let is_below = |base: &&&str| {
        name.strip_suffix(**base).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if let Some(base) = NAMES_OF_ADDRESSES.iter().find(is_below) {
        return Err(format!(
            "a name below {base} stands for whatever address is written into it, or for this \
             machine; addresses are not allowed, only names"
        ));
    }
    if matches!(last, "local" | "localhost") {
        return Err(format!("names below .{last} never leave this network"));
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    label.len() <= MAX_LABEL
        && edge(label.bytes().next())
        && edge(label.bytes().last())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Below a public suffix (`co.uk`, `github.io`) anybody can have a name, so such a wildcard would
/// allow hosts of strangers. So would one further above (`*.amazonaws.com`, as `s3.amazonaws.com` is
/// one).
fn check_wildcard(base: &str) -> Result<(), String> {
    if psl::domain(base.as_bytes()).is_none() {
        return Err(format!(
            "the wildcard is too broad: anybody can register a name below {base}; name the host, \
             or a domain that one party owns"
        ));
    }
    if has_suffix_below(base) {
        return Err(format!(
            "the wildcard is too broad: below {base} others have names as well, by the Public \
             Suffix List; name the host, or a domain that one party owns"
        ));
    }
    Ok(())
}

/// Whether the list has a rule for names below this one: then it asks for one more label, once it has
/// followed all of ours. psl can't be asked what it holds otherwise.
fn has_suffix_below(name: &str) -> bool {
    let mut labels = name.rsplit('.').map(str::as_bytes);
    let mut is_asked_for_more = false;
    psl::List.find(std::iter::from_fn(|| {
        let label = labels.next();
        is_asked_for_more |= label.is_none();
        label
    }));
    is_asked_for_more
}

/// Text of a stranger inside a message: bounded, and on one line.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if text.chars().count() > SHOWN {
        shown.push('…');
    }
    one_line(&format!("{shown:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        HostPattern::try_from(text.to_owned()).map(String::from)
    }

    #[test]
    fn takes_names_and_owned_wildcards() {
        for host in [
            "api.example.com",
            "*.example.com",
            "*.api.example.com",
            "a.b.co.uk",
            "*.b.co.uk",
            "*.bucket.s3.amazonaws.com",
            "*.somebody.github.io",
            "*.github.com",
            "snip.io",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(parse(host).as_deref(), Ok(host));
        }
        assert_eq!(parse("API.Example.COM").as_deref(), Ok("api.example.com"));
    }

    #[test]
    fn refuses_what_is_no_name_and_says_why() {
        let cases = [
            ("", "it is empty"),
            ("https://example.com", "without scheme"),
            ("example.com/v1", "without scheme and path"),
            ("example.com:443", "without a port"),
            ("10.0.0.1", "addresses are not allowed"),
            ("[::1]", "addresses are not allowed"),
            ("::1", "addresses are not allowed"),
            ("0x7f.1", "addresses are not allowed"),
            ("pipelock", "without a dot"),
            ("_egress.local", "labels consist of"),
            ("egress.local", "never leave"),
            ("a.localhost", "never leave"),
            ("example.com.", "labels consist of"),
            ("a..example.com", "labels consist of"),
            ("-a.example.com", "labels consist of"),
            ("bücher.example", "xn--"),
            ("a.example.com\nx: y", "white space"),
            ("a.*.example.com", "whole first label"),
            ("*", "whole first label"),
            ("*example.com", "whole first label"),
            ("10.0.0.1.nip.io", "addresses are not allowed"),
            ("sslip.io", "addresses are not allowed"),
            ("*.lvh.me", "addresses are not allowed"),
            ("a.b.Traefik.me", "addresses are not allowed"),
        ];
        for (host, expected) in cases {
            let error = parse(host).unwrap_err();
            assert!(error.contains(expected), "{host:?}: {error}");
        }
        assert!(parse(&format!("{}.com", "a".repeat(64))).is_err());
        assert!(parse(&format!("{}com", "a.".repeat(126))).is_err());
    }

    #[test]
    fn pipelocks_entries_cover_what_they_let_through() {
        for (host, entry, covered) in [
            ("api.example.com", "API.Example.com", true),
            ("api.example.com", "api.example.com.", true),
            ("api.example.com", "*.example.com", true),
            ("a.b.example.com", "*.Example.com", true),
            ("example.com", "*.example.com", true),
            ("*.example.com", "*.example.com", true),
            ("*.api.example.com", "*.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "*.api.example.com", false),
            ("api.example.com", "example.com", false),
            ("badexample.com", "*.example.com", false),
            ("example.com", "*.api.example.com", false),
            ("api.example.com", "*", false),
            ("api.example.com", "", false),
        ] {
            let pattern = HostPattern::try_from(host.to_owned()).unwrap();
            assert_eq!(pattern.is_covered_by(entry), covered, "{host} by {entry}");
        }
    }

    #[test]
    fn refuses_wildcards_over_strangers() {
        for host in [
            "*.com",
            "*.co.uk",
            "*.github.io",
            "*.s3.amazonaws.com",
            "*.amazonaws.com",
            "*.us-east-2.amazonaws.com",
            "*.run.app",
            "*.windows.net",
            "*.core.windows.net",
            "*.digitaloceanspaces.com",
        ] {
            let error = parse(host).expect_err(host);
            assert!(error.contains("too broad"), "{host:?}: {error}");
        }
    }
}
