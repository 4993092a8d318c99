//! What an approval would change: the text of one file, before and after, and what is to be said
//! about it.

use serde::de::DeserializeOwned;
use serde_json::json;

use crate::finding::approved;
use crate::host::HostPattern;
use crate::proposal::Request;
use crate::route::{ListedRoute, Route};
use crate::yaml::{Item, append_item, list};

/// The key of pipelock's list of hosts.
pub const PIPELOCK_KEY: &str = "api_allowlist";
const ROUTES_KEY: &str = "routes";

/// The file's new text; none if it has this already.
pub fn new_text(request: &Request, text: &str) -> Result<Option<String>, String> {
    match request {
        Request::EgressRoute { route } => add_route(route, text),
        Request::PipelockHost { host } => add_host(host, text),
        Request::GitleaksException { repository, fingerprint } => {
            let (repository, fingerprint) = (repository.as_str(), fingerprint.as_str());
            if approved(text).contains(&(repository, fingerprint)) {
                return Ok(None);
            }
            let line = format!("{repository} {fingerprint}");
            let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            Ok(Some(format!("{text}{end}{line}\n")))
        }
        // The operator rebuilds the image.
        Request::Capability { .. } => Ok(None),
    }
}

fn add_route(route: &Route, text: &str) -> Result<Option<String>, String> {
    let wanted = route.listed();
    let listed = routes(text)?;
    if listed.iter().any(|old| old.is_same(&wanted)) {
        return Ok(None);
    }
    if let Some(overlap) = listed.iter().find_map(|old| wanted.overlap(old)) {
        return Err(collision(route, &overlap));
    }
    let mut fields = vec![("host", json!(wanted.host))];
    fields.extend(wanted.paths.map(|paths| ("paths", json!(paths))));
    fields.extend(wanted.methods.map(|methods| ("methods", json!(methods))));
    fields.extend(wanted.ports.map(|ports| ("ports", json!(ports))));
    fields.extend(wanted.auth.map(|auth| ("auth", json!(auth))));
    append_item(text, ROUTES_KEY, &Item::Fields(fields)).map(Some)
}

fn add_host(host: &HostPattern, text: &str) -> Result<Option<String>, String> {
    if is_covered(host, &hosts(text)?) {
        return Ok(None);
    }
    append_item(text, PIPELOCK_KEY, &Item::Text(host.as_str())).map(Some)
}

/// Why there is nothing to ask for: it is allowed already, or collides with what is there. A file
/// that can't be understood is no reason; the operator will see what is wrong with it.
pub fn objection(request: &Request, text: &str) -> Option<String> {
    let is_there = match request {
        Request::EgressRoute { route } => {
            let (wanted, listed) = (route.listed(), routes(text).ok()?);
            let is_same = listed.iter().any(|old| old.is_same(&wanted));
            let overlap = listed.iter().find_map(|old| wanted.overlap(old));
            if let Some(overlap) = overlap.filter(|_| !is_same) {
                return Some(collision(route, &overlap));
            }
            is_same || wanted.is_covered_by(&listed)
        }
        Request::PipelockHost { host } => is_covered(host, &hosts(text).ok()?),
        Request::GitleaksException { .. } => new_text(request, text) == Ok(None),
        Request::Capability { .. } => false,
    };
    is_there.then(|| format!("this is allowed already: {request}"))
}

fn collision(route: &Route, overlap: &str) -> String {
    format!(
        "{} has a route for {overlap} already; only what is missing can be added, with other \
         methods or other paths",
        route.host
    )
}

fn is_covered(host: &HostPattern, hosts: &[String]) -> bool {
    hosts.iter().any(|old| host.is_covered_by(old))
}

/// The routes in the text of routes.yaml.
pub fn routes(text: &str) -> Result<Vec<ListedRoute>, String> {
    Ok(numbered_routes(text)?.into_iter().map(|(_, route)| route).collect())
}

/// The same, each with its line.
pub fn numbered_routes(text: &str) -> Result<Vec<(usize, ListedRoute)>, String> {
    items(text, ROUTES_KEY, "route, such as `- host: api.example.com`")
}

/// The hosts in the text of pipelock's configuration.
pub fn hosts(text: &str) -> Result<Vec<String>, String> {
    let hosts = items(text, PIPELOCK_KEY, "host, such as `- api.example.com`")?;
    Ok(hosts.into_iter().map(|(_, host)| host).collect())
}

fn items<T: DeserializeOwned>(
    text: &str,
    key: &str,
    what: &str,
) -> Result<Vec<(usize, T)>, String> {
    let read = |(line, value)| {
        let item = serde_json::from_value(value);
        item.map(|item| (line, item)).map_err(|error| format!("line {line}: no {what}: {error}"))
    };
    list(text, key)?.into_iter().map(read).collect()
}

/// What an operator should not overlook. `text` is the file as it is.
pub fn warnings(request: &Request, text: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    match request {
        Request::EgressRoute { route } => {
            warn_of_credential(route, &routes(text).unwrap_or_default(), &mut warnings);
            if route.host.is_wildcard() {
                warnings.push(format!("{} stands for every name below it", route.host));
            }
            if route.paths.is_empty() {
                warnings.push("no paths are given: every path of the host is allowed".to_owned());
            }
            if route.methods.is_empty() {
                warnings.push("no methods are given: every method is allowed".to_owned());
            }
        }
        Request::PipelockHost { host } if host.is_wildcard() => {
            let name = host.name();
            warnings.push(format!("{host} stands for every name below it, and for {name} itself"));
        }
        Request::GitleaksException { repository, .. } => warnings.push(format!(
            "from then on this text can be pushed to {}: be sure that it is no secret",
            repository.as_str()
        )),
        Request::PipelockHost { .. } => {}
        Request::Capability { .. } => {
            warnings.push("nothing is changed here: you rebuild the agent's image".to_owned());
        }
    }
    warnings
}

/// A credential for one host, sent to another, is what an attacker would ask for.
fn warn_of_credential(route: &Route, listed: &[ListedRoute], warnings: &mut Vec<String>) {
    let Some(auth) = &route.auth else { return };
    let variable = auth.token_env.as_str();
    let others: Vec<&str> = listed
        .iter()
        .filter(|old| old.auth.as_ref().is_some_and(|auth| auth.token_env == variable))
        .map(|old| old.host.as_str())
        .filter(|host| !host.eq_ignore_ascii_case(route.host.as_str()))
        .collect();
    warnings.push(match others.first() {
        Some(other) => format!(
            "{variable} is the credential for {other}; with this route {} gets it too",
            route.host
        ),
        None => format!("{} gets the credential in {variable}", route.host),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Auth, RouteFields, Scheme};

    fn route(host: &str, paths: &[&str], auth: bool) -> Request {
        let auth = auth.then(|| Auth {
            scheme: Scheme::Bearer,
            token_env: "EGRESS_TOKEN_1".to_owned().try_into().unwrap(),
        });
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let fields = RouteFields { host: host.to_owned(), paths, auth, ..RouteFields::default() };
        Request::EgressRoute { route: fields.try_into().unwrap() }
    }

    const ROUTES: &str = "routes:\n  - host: a.example.com\n    paths: [/v1/]\n    \
                          auth: {scheme: bearer, token_env: EGRESS_TOKEN_1}\n";

    #[test]
    fn credentials_that_no_agent_can_propose_are_read_and_left_alone() {
        let text = "routes:\n  - host: a.example.com\n    auth:\n      scheme: header\n      \
                    header: x-api-key\n      token_env: EGRESS_TOKEN_1\n      \
                    placeholder: sk-ant-dummy-0001\n      echo: redact\n  \
                    - host: b.example.com\n    auth: {scheme: query, parameter: key, token_env: \
                    EGRESS_TOKEN_2}\n  - host: c.example.com\n    auth: {scheme: basic, user: me, \
                    token_env: EGRESS_TOKEN_3}\n";
        let listed = routes(text).unwrap();
        let auth = listed[0].auth.as_ref().unwrap();
        assert_eq!(auth.header.as_deref(), Some("x-api-key"));
        assert_eq!(auth.placeholder.as_deref(), Some("sk-ant-dummy-0001"));
        assert_eq!(listed[1].auth.as_ref().unwrap().parameter.as_deref(), Some("key"));
        let after = new_text(&route("d.example.com", &["/x/"], false), text).unwrap().unwrap();
        let added = "  - host: d.example.com\n    paths: [\"/x/\"]\n";
        assert_eq!(after.strip_prefix(text), Some(added));
    }

    #[test]
    fn a_route_is_added_once() {
        let wanted = route("b.example.com", &["/x/"], true);
        let after = new_text(&wanted, ROUTES).unwrap().unwrap();
        assert_eq!(
            after.strip_prefix(ROUTES).unwrap(),
            "  - host: b.example.com\n    paths: [\"/x/\"]\n    \
             auth: {scheme: bearer, token_env: EGRESS_TOKEN_1}\n"
        );
        assert_eq!(new_text(&wanted, &after), Ok(None));
        let error = new_text(&route("a.example.com", &["/v1/"], false), ROUTES).unwrap_err();
        assert!(error.contains("a route for DELETE /v1/ already"), "{error}");
    }

    #[test]
    fn hosts_and_fingerprints_are_added_once() {
        let host = |host: &str| Request::PipelockHost { host: host.to_owned().try_into().unwrap() };
        let text = "mode: strict\napi_allowlist: [\"a.example.com\"]\n";
        assert_eq!(new_text(&host("A.example.com"), text), Ok(None));
        assert_eq!(
            new_text(&host("a.b.example.com"), "api_allowlist: ['*.example.com']"),
            Ok(None)
        );
        assert_eq!(
            new_text(&host("b.example.com"), text).unwrap().unwrap(),
            "mode: strict\napi_allowlist: [\"a.example.com\", b.example.com]\n"
        );
        let fingerprint = format!("rule:a.py:{}", "0".repeat(64));
        let exception = Request::GitleaksException {
            repository: "app".to_owned().try_into().unwrap(),
            fingerprint: fingerprint.clone().try_into().unwrap(),
        };
        let after = new_text(&exception, "# ours").unwrap().unwrap();
        assert_eq!(after, format!("# ours\napp {fingerprint}\n"));
        assert_eq!(new_text(&exception, &after), Ok(None));
    }

    #[test]
    fn what_is_there_is_not_asked_for() {
        let mut request = route("a.example.com", &["/v1/"], true);
        assert!(objection(&request, ROUTES).unwrap().contains("allowed already"));
        request = route("a.example.com", &["/v1/"], false);
        assert!(objection(&request, ROUTES).unwrap().contains("only what is missing"));
        request = route("a.example.com", &["/v2/"], false);
        assert_eq!(objection(&request, ROUTES), None);
        assert_eq!(objection(&request, "routes: [oops"), None);
        request = route("a.example.com", &["/v1/x"], true);
        assert!(objection(&request, ROUTES).unwrap().contains("allowed already"));
    }

    #[test]
    fn a_credential_for_another_host_is_told() {
        let told = warnings(&route("b.example.com", &["/x/"], true), ROUTES);
        assert!(told[0].contains("credential for a.example.com"), "{told:?}");
        let told = warnings(&route("*.example.org", &[], false), ROUTES);
        assert_eq!(told.len(), 3, "{told:?}");
    }

    #[test]
    fn files_of_another_shape_are_told() {
        for (text, expected) in [
            ("routes: 5", "line 1: `routes` is no list; "),
            ("a: 1\nroutes:\n  b: 1", "line 3: `routes` is no list; "),
            (
                "routes: [a]",
                "line 1: no route, such as `- host: api.example.com`: invalid type: string \"a\", \
                 expected a mapping with a host",
            ),
            ("routes:\n- host: a.example.com\n- paths: [/]", "line 3: no route, such as "),
            ("routes: [{host: 5}]", "line 1: no route, such as "),
            ("- host: a.example.com", "its top level is no mapping; begin the list with `routes:`"),
        ] {
            let error = routes(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        for text in ["api_allowlist: {}", "api_allowlist: [5]", "[a.example.com]"] {
            assert!(hosts(text).is_err(), "{text}");
        }
        for text in ["", "# none\n", "routes:\n", "routes: []\n", "other: 1\n"] {
            assert_eq!(routes(text), Ok(Vec::new()), "{text}");
        }
    }
}
