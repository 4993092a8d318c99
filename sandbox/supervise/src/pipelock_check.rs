//! Whether a configuration of pipelock is closed. pipelock takes one that is open, too: an empty
//! file lets everything through, and a section that is missing is one that is off.

use serde_json::Value;

use crate::change::PIPELOCK_KEY;
use crate::yaml::{Found, find};

enum Wanted {
    Text(&'static str),
    Truth(bool),
    /// As it is true by default.
    TrueOrMissing,
    Items,
}

/// `yes`, `off` and the like are truths to pipelock's reader of YAML and texts to ours, so they are
/// refused.
const RULES: [(&[&str], Wanted); 11] = [
    (&["mode"], Wanted::Text("strict")),
    (&["enforce"], Wanted::TrueOrMissing),
    (&[PIPELOCK_KEY], Wanted::Items),
    (&["forward_proxy", "enabled"], Wanted::Truth(true)),
    (&["forward_proxy", "sni_verification"], Wanted::Truth(true)),
    (&["request_body_scanning", "enabled"], Wanted::Truth(true)),
    (&["request_body_scanning", "action"], Wanted::Text("block")),
    (&["request_body_scanning", "scan_headers"], Wanted::Truth(true)),
    (&["request_body_scanning", "header_mode"], Wanted::Text("all")),
    (&["tls_interception", "enabled"], Wanted::Truth(true)),
    (&["sentry", "enabled"], Wanted::Truth(false)),
];

/// What is wrong with it, one sentence each; nothing if it is closed.
pub fn objections(text: &str) -> Result<Vec<String>, String> {
    let mut objections = Vec::new();
    for (path, wanted) in &RULES {
        let Found { line, value } = find(text, path)?;
        if wanted.is_met_by(value.as_ref()) {
            continue;
        }
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let (key, wanted) = (path.join("."), wanted.told());
        let is = value.map_or("is missing".to_owned(), |value| format!("is {}", told(&value)));
        objections.push(format!("{place}`{key}` has to be {wanted}; it {is}"));
    }
    Ok(objections)
}

impl Wanted {
    fn is_met_by(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Wanted::Text(wanted), Some(Value::String(text))) => text == wanted,
            (Wanted::Truth(wanted), Some(Value::Bool(truth))) => truth == wanted,
            (Wanted::TrueOrMissing, value) => matches!(value, None | Some(Value::Bool(true))),
            (Wanted::Items, Some(Value::Array(items))) => !items.is_empty(),
            _ => false,
        }
    }

    fn told(&self) -> String {
        match self {
            Wanted::Text(text) => (*text).to_owned(),
            Wanted::Truth(truth) => truth.to_string(),
            Wanted::TrueOrMissing => "true, or left out".to_owned(),
            Wanted::Items => "a list of at least one host".to_owned(),
        }
    }
}

fn told(value: &Value) -> String {
    match value {
        Value::Object(_) => "a mapping".to_owned(),
        Value::Array(items) if items.is_empty() => "empty".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::pipelock_config::{Hosts, pipelock_config};

    fn shipped() -> String {
        pipelock_config(&Hosts::default())
    }

    #[test]
    fn the_shipped_one_is_closed_also_with_hosts() {
        assert_eq!(objections(&shipped()), Ok(Vec::new()));
        let allowed = BTreeSet::from(["a.example.com".to_owned().try_into().unwrap()]);
        let hosts = Hosts { passed_through: allowed.clone(), allowed };
        assert_eq!(objections(&pipelock_config(&hosts)), Ok(Vec::new()));
        assert_eq!(objections(&shipped().replace("enforce: true\n", "")), Ok(Vec::new()));
    }

    #[test]
    fn each_rule_is_held() {
        for (from, to, expected) in [
            ("mode: strict\n", "mode: balanced\n", "`mode` has to be strict; it is \"balanced\""),
            ("mode: strict\n", "", "`mode` has to be strict; it is missing"),
            (
                "enforce: true",
                "enforce: false",
                "`enforce` has to be true, or left out; it is false",
            ),
            // To pipelock's YAML this is false as well.
            (
                "enforce: true",
                "enforce: off",
                "`enforce` has to be true, or left out; it is \"off\"",
            ),
            ("enforce: true", "enforce:", "`enforce` has to be true, or left out; it is null"),
            (
                "api_allowlist:\n  - nothing.invalid\n",
                "api_allowlist: []\n",
                "`api_allowlist` has to be a list of at least one host; it is empty",
            ),
            (
                "forward_proxy:\n  enabled: true",
                "forward_proxy:\n  enabled: false",
                "`forward_proxy.enabled` has to be true; it is false",
            ),
            (
                "  sni_verification: true\n",
                "",
                "`forward_proxy.sni_verification` has to be true; it is missing",
            ),
            (
                "request_body_scanning:\n  enabled: true\n",
                "request_body_scanning:\n",
                "`request_body_scanning.enabled` has to be true; it is missing",
            ),
            (
                "  action: block\n",
                "  action: warn\n",
                "`request_body_scanning.action` has to be block; it is \"warn\"",
            ),
            (
                "scan_headers: true",
                "scan_headers: 1",
                "`request_body_scanning.scan_headers` has to be true; it is 1",
            ),
            (
                "header_mode: all",
                "header_mode: sensitive",
                "`request_body_scanning.header_mode` has to be all; it is \"sensitive\"",
            ),
            (
                "tls_interception:\n  enabled: true",
                "tls_interception:\n  enabled: false",
                "`tls_interception.enabled` has to be true; it is false",
            ),
            (
                "sentry:\n  enabled: false",
                "sentry:\n  enabled: true",
                "`sentry.enabled` has to be false; it is true",
            ),
        ] {
            assert_eq!(shipped().matches(from).count(), 1, "{from}");
            let found = objections(&shipped().replace(from, to)).unwrap();
            assert_eq!(found.len(), 1, "{to}: {found:?}");
            assert!(found[0].ends_with(expected), "{to}: {found:?}");
        }
    }

    #[test]
    fn the_line_is_told_where_there_is_one() {
        let text = "mode: strict\nenforce: false\nforward_proxy:\n  enabled: true\nsentry: true\n";
        let found = objections(text).unwrap();
        for expected in [
            "line 2: `enforce` has to be true, or left out; it is false",
            "`api_allowlist` has to be a list of at least one host; it is missing",
            "line 3: `forward_proxy.sni_verification` has to be true; it is missing",
            "`tls_interception.enabled` has to be true; it is missing",
            "line 5: `sentry.enabled` has to be false; it is missing",
        ] {
            assert!(found.iter().any(|told| told == expected), "{expected}: {found:#?}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        assert_eq!(objections("").unwrap().len(), RULES.len() - 1);
        for (text, expected) in [
            (shipped() + "enforce: false\n", "duplicated key"),
            (shipped() + "---\nenforce: false\n", "more than one document"),
            (shipped().replace("enforce: true", "<<: {enforce: false}"), "`<<`"),
            (shipped().replace("sentry:\n", "sentry:\n  <<: {enabled: true}\n"), "`<<`"),
            ("- mode: strict\n".to_owned(), "its top level is no mapping"),
        ] {
            let problem = objections(&text).unwrap_err();
            assert!(problem.contains(expected), "{expected}: {problem}");
        }
    }
}
