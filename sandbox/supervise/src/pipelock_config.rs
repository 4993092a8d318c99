//! A whole configuration of pipelock: the one of the image, with its list filled in.

use std::collections::BTreeSet;

use crate::change::{numbered_routes, routes};
use crate::host::HostPattern;
use crate::yaml::Item;

const SHIPPED: &str = include_str!("../../image/pipelock.yaml");
/// The list of the shipped one: strict mode wants an entry, and this one allows nothing.
const NOTHING: &str = "  - nothing.invalid\n";
/// The headers that the shipped one does not look at.
const IGNORED: &str = "  ignore_headers:\n    - Authorization\n";

/// As shipped: every host's TLS is read.
const NO_PASSTHROUGH: &str = "  passthrough_domains: []\n";

/// What is to be on the lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// What may be reached.
    pub allowed: BTreeSet<HostPattern>,
    /// Of these, whose answers are not looked into (`scan: {responses: none}`): pipelock leaves their
    /// TLS alone, and egress asks it about each request.
    pub passed_through: BTreeSet<HostPattern>,
}

/// With these hosts on the lists; without any it is as it is shipped.
pub fn pipelock_config(hosts: &Hosts) -> String {
    let list = |hosts: &BTreeSet<HostPattern>, indent| -> String {
        hosts.iter().map(|host| Item::Text(host.as_str()).block(indent)).collect()
    };
    let mut text = SHIPPED.to_owned();
    if !hosts.allowed.is_empty() {
        text = text.replacen(NOTHING, &list(&hosts.allowed, 2), 1);
    }
    if !hosts.passed_through.is_empty() {
        let passed_through = list(&hosts.passed_through, 4);
        text =
            text.replacen(NO_PASSTHROUGH, &format!("  passthrough_domains:\n{passed_through}"), 1);
    }
    text
}

/// The same without a look at these headers, which egress fills with credentials: what looks like a
/// key would not get out.
pub fn with_headers_ignored(config: &str, headers: &BTreeSet<String>) -> String {
    let list: String = headers.iter().map(|header| Item::Text(header).block(4)).collect();
    config.replacen(IGNORED, &format!("{IGNORED}{list}"), 1)
}

/// The headers that the credentials of a routes.yaml go into, but for Authorization.
pub fn headers_of_routes(text: &str) -> Result<BTreeSet<String>, String> {
    let headers = routes(text)?.into_iter().filter_map(|route| route.auth?.header);
    let headers = headers.map(|header| header.to_ascii_lowercase());
    Ok(headers.filter(|header| header != "authorization").collect())
}

/// The hosts of a routes.yaml, held to what is asked of a proposal's.
pub fn hosts_of_routes(text: &str) -> Result<Hosts, String> {
    let mut hosts = Hosts::default();
    for (line, route) in numbered_routes(text)? {
        let host = HostPattern::try_from(route.host)
            .map_err(|problem| format!("line {line}: {problem}"))?;
        if route.scan.is_some() {
            hosts.passed_through.insert(host.clone());
        }
        hosts.allowed.insert(host);
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::change::hosts;
    use crate::yaml::find;

    fn set(hosts: &[&str]) -> BTreeSet<HostPattern> {
        hosts.iter().map(|host| HostPattern::try_from((*host).to_owned()).unwrap()).collect()
    }

    fn allowed(hosts: &[&str]) -> Hosts {
        Hosts { allowed: set(hosts), passed_through: BTreeSet::new() }
    }

    #[test]
    fn the_list_is_filled_and_all_else_is_as_shipped() {
        let text = pipelock_config(&allowed(&["b.example.com", "1e3.example", "*.a.example.com"]));
        let list = "  - \"*.a.example.com\"\n  - \"1e3.example\"\n  - b.example.com\n";
        assert_eq!(hosts(&text).unwrap(), ["*.a.example.com", "1e3.example", "b.example.com"]);
        assert_eq!(text.replacen(list, NOTHING, 1), SHIPPED);
    }

    #[test]
    fn headers_with_credentials_are_not_looked_at() {
        let text = "routes:\n  - host: a.example.com\n    auth: {scheme: header, header: X-Api-Key, \
                    token_env: EGRESS_TOKEN_1}\n  - host: b.example.com\n    auth: {scheme: \
                    header, header: Authorization, token_env: EGRESS_TOKEN_2}\n  \
                    - host: c.example.com\n    auth: {scheme: bearer, token_env: EGRESS_TOKEN_3}\n";
        let headers = headers_of_routes(text).unwrap();
        assert_eq!(headers, BTreeSet::from(["x-api-key".to_owned()]));
        let config = with_headers_ignored(SHIPPED, &headers);
        let list = find(&config, &["request_body_scanning", "ignore_headers"]).unwrap().value;
        assert_eq!(list, Some(json!(["Authorization", "x-api-key"])));
        assert_eq!(config.replacen("    - x-api-key\n", "", 1), SHIPPED);
        assert_eq!(with_headers_ignored(SHIPPED, &BTreeSet::new()), SHIPPED);
    }

    #[test]
    fn a_host_of_which_no_answer_is_looked_into_is_passed_through() {
        let text = "routes:\n  - host: a.example.com\n  - host: files.example.com\n    \
                    methods: [GET]\n    scan: {responses: none}\n";
        let found = hosts_of_routes(text).unwrap();
        assert_eq!(found.allowed, set(&["a.example.com", "files.example.com"]));
        assert_eq!(found.passed_through, set(&["files.example.com"]));
        let text = pipelock_config(&found);
        let list = "  passthrough_domains:\n    - files.example.com\n";
        let shipped = text.replacen("  - a.example.com\n  - files.example.com\n", NOTHING, 1);
        assert_eq!(shipped.replacen(list, NO_PASSTHROUGH, 1), SHIPPED);

        let text = "routes:\n  - host: a.example.com\n    scan: {responses: some}\n";
        let error = hosts_of_routes(text).unwrap_err();
        assert!(error.starts_with("line 2: ") && error.contains("`none`"), "{error}");
    }

    #[test]
    fn without_hosts_it_allows_nothing() {
        assert_eq!(pipelock_config(&Hosts::default()), SHIPPED);
        assert_eq!(hosts(SHIPPED).unwrap(), ["nothing.invalid"]);
    }

    #[test]
    fn the_line_of_a_host_that_is_none_is_told() {
        let text = "routes:\n  - host: A.example.com\n  - paths: [/v1/]\n    host: 10.0.0.1\n";
        let error = hosts_of_routes(text).unwrap_err();
        assert_eq!(error, "line 3: host \"10.0.0.1\": addresses are not allowed, only names");
        let text = text.replace("10.0.0.1", "a.example.com");
        assert_eq!(hosts_of_routes(&text).unwrap(), allowed(&["a.example.com"]));
    }
}
