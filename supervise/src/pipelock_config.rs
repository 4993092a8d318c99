//! A whole configuration of pipelock: the one of the image, with its list filled in.

use std::collections::BTreeSet;

use crate::change::{numbered_routes, routes};
use crate::host::HostPattern;
use crate::yaml::Item;

const SHIPPED: &str = include_str!("../../sidecars/pipelock.yaml");
/// The list of the shipped one: strict mode wants an entry, and this one allows nothing.
const NOTHING: &str = "  - nothing.invalid\n";
/// The headers that the shipped one does not look at.
const IGNORED: &str = "  ignore_headers:\n    - Authorization\n";

/// With these hosts on the list; without any it is as it is shipped.
pub fn pipelock_config(hosts: &BTreeSet<HostPattern>) -> String {
    if hosts.is_empty() {
        return SHIPPED.to_owned();
    }
    let list: String = hosts.iter().map(|host| Item::Text(host.as_str()).block(2)).collect();
    SHIPPED.replacen(NOTHING, &list, 1)
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
pub fn hosts_of_routes(text: &str) -> Result<Vec<HostPattern>, String> {
    let check = |(line, host)| {
        HostPattern::try_from(host).map_err(|problem| format!("line {line}: {problem}"))
    };
    let routes = numbered_routes(text)?.into_iter();
    routes.map(|(line, route)| check((line, route.host))).collect()
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

    #[test]
    fn the_list_is_filled_and_all_else_is_as_shipped() {
        let text = pipelock_config(&set(&["b.example.com", "1e3.example", "*.a.example.com"]));
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
    fn without_hosts_it_allows_nothing() {
        assert_eq!(pipelock_config(&BTreeSet::new()), SHIPPED);
        assert_eq!(hosts(SHIPPED).unwrap(), ["nothing.invalid"]);
    }

    #[test]
    fn the_line_of_a_host_that_is_none_is_told() {
        let text = "routes:\n  - host: A.example.com\n  - paths: [/v1/]\n    host: 10.0.0.1\n";
        let error = hosts_of_routes(text).unwrap_err();
        assert_eq!(error, "line 3: host \"10.0.0.1\": addresses are not allowed, only names");
        let text = text.replace("10.0.0.1", "a.example.com");
        assert_eq!(BTreeSet::from_iter(hosts_of_routes(&text).unwrap()), set(&["a.example.com"]));
    }
}
