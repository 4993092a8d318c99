//! A route of the egress proxy as an agent may propose it, and as the proxy already has it.
//!
//! What is proposed is checked to the last character, since it will stand in routes.yaml; what is
//! there already was written by the operator and is only compared with.

use std::fmt;

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

use crate::host::{HostPattern, quoted};
use crate::spelling::{plain_host, plain_path};

const MAX_PATHS: usize = 16;
const MAX_PORTS: usize = 8;
const MAX_PATH_LENGTH: usize = 512;
const MAX_VARIABLE_LENGTH: usize = 64;
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// What a route without ports allows.
const DEFAULT_PORTS: [u16; 2] = [80, 443];
/// DNS, by which data could leave in questions; mitmproxy would speak it there.
const DNS_PORTS: [u16; 2] = [53, 5353];
const VARIABLE_PREFIX: &str = "EGRESS_TOKEN_";

/// What the egress proxy would let through. An empty list stands for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RouteFields")]
pub struct Route {
    /// Where to.
    pub host: HostPattern,
    /// Prefixes of the path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPrefix>,
    /// Methods of HTTP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// Ports; none stands for those of http and https.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// The credential that the proxy adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |list: Vec<&str>, all: &str| match list.is_empty() {
            true => all.to_owned(),
            false => list.join(","),
        };
        let methods = join(self.methods.iter().map(Method::as_str).collect(), "every method");
        let paths = join(self.paths.iter().map(PathPrefix::as_str).collect(), "/");
        write!(formatter, "{methods} {}", self.host)?;
        for (place, port) in self.ports.iter().enumerate() {
            write!(formatter, "{}{}", if place == 0 { ':' } else { ',' }, port.0)?;
        }
        write!(formatter, " {paths}")?;
        match &self.auth {
            Some(auth) => write!(formatter, " with {} {}", auth.scheme, auth.token_env.as_str()),
            None => Ok(()),
        }
    }
}

/// A route as it was written, before it is checked as a whole.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteFields {
    /// Where to.
    pub host: String,
    /// Prefixes of the path.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Methods of HTTP.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Ports.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// The credential that the proxy adds.
    #[serde(default)]
    pub auth: Option<Auth>,
}

impl RouteFields {
    /// The same in the plain spelling that a route has, by RFC 3986, section 6.2.2.
    pub fn plain(&self) -> RouteFields {
        RouteFields {
            host: plain_host(&self.host),
            paths: self.paths.iter().map(|path| plain_path(path)).collect(),
            ..self.clone()
        }
    }
}

impl TryFrom<RouteFields> for Route {
    type Error = String;

    fn try_from(fields: RouteFields) -> Result<Self, String> {
        let RouteFields { host, paths, methods, ports, auth } = fields;
        for (name, count, most) in
            [("paths", paths.len(), MAX_PATHS), ("ports", ports.len(), MAX_PORTS)]
        {
            if count > most {
                return Err(format!("{name}: {count} of them, at most {most}"));
            }
        }
        let host = HostPattern::try_from(host)?;
        if host.is_wildcard() && auth.is_some() {
            return Err(format!(
                "host {host}: a credential needs an exact host, or every name below would get it"
            ));
        }
        Ok(Route {
            host,
            paths: distinct(paths)?,
            methods: distinct(methods)?,
            ports: distinct(ports)?,
            auth,
        })
    }
}

/// Checked, sorted and each once: order says nothing, so the same wish in other words is the same
/// proposal.
fn distinct<T, U: TryFrom<T, Error = String> + Ord>(list: Vec<T>) -> Result<Vec<U>, String> {
    let mut checked = list.into_iter().map(U::try_from).collect::<Result<Vec<U>, String>>()?;
    checked.sort();
    checked.dedup();
    Ok(checked)
}

impl Route {
    /// As it is listed once the proxy has it.
    pub fn listed(&self) -> ListedRoute {
        let texts = |list: Vec<String>| (!list.is_empty()).then_some(list);
        ListedRoute {
            host: self.host.as_str().to_owned(),
            paths: texts(self.paths.iter().map(|path| path.0.clone()).collect()),
            methods: texts(self.methods.iter().map(|method| method.0.clone()).collect()),
            ports: (!self.ports.is_empty()).then(|| self.ports.iter().map(|port| port.0).collect()),
            auth: self.auth.as_ref().map(|auth| ListedAuth {
                scheme: auth.scheme.to_string(),
                token_env: auth.token_env.0.clone(),
                ..ListedAuth::default()
            }),
            scan: None,
        }
    }
}

/// The beginning of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPrefix(String);

impl PathPrefix {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<PathPrefix> for String {
    fn from(path: PathPrefix) -> Self {
        path.0
    }
}

impl TryFrom<String> for PathPrefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("path {}: {why}", quoted(&text)));
        if !text.starts_with('/') {
            return wrong("it has to begin with /");
        }
        if text.len() > MAX_PATH_LENGTH {
            return wrong("it is longer than 512 characters");
        }
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()+,=:@".contains(&byte);
        if !text.bytes().all(allowed) {
            return wrong(
                "only letters, digits and /-._~!$&'()+,=:@ are allowed: no wildcards (it is a \
                 prefix anyway), no query, no % escapes",
            );
        }
        if text.contains("//") || text.split('/').any(|part| part == "." || part == "..") {
            return wrong("empty, . and .. segments are not allowed");
        }
        Ok(PathPrefix(text))
    }
}

/// A method of HTTP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(String);

impl Method {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.0
    }
}

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let method = text.to_ascii_uppercase();
        if METHODS.contains(&method.as_str()) {
            return Ok(Method(method));
        }
        Err(format!("method {}: unknown; one of {}", quoted(&text), METHODS.join(", ")))
    }
}

/// A port of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Port(u16);

impl From<Port> for u16 {
    fn from(port: Port) -> Self {
        port.0
    }
}

impl TryFrom<u16> for Port {
    type Error = String;

    fn try_from(port: u16) -> Result<Self, String> {
        if port == 0 || DNS_PORTS.contains(&port) {
            return Err(format!("port {port}: not allowed; left out, 80 and 443 are"));
        }
        Ok(Port(port))
    }
}

/// A credential that the proxy adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// How it is written into the request.
    pub scheme: Scheme,
    /// The variable of the egress proxy that holds it.
    pub token_env: TokenVariable,
}

/// How a credential is written into the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `Authorization: Bearer …`
    Bearer,
    /// `Authorization: Basic …`
    Basic,
    /// `Authorization: token …`
    Token,
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Scheme::Bearer => "bearer",
            Scheme::Basic => "basic",
            Scheme::Token => "token",
        })
    }
}

impl std::str::FromStr for Scheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bearer" => Ok(Scheme::Bearer),
            "basic" => Ok(Scheme::Basic),
            "token" => Ok(Scheme::Token),
            _ => Err(format!("auth scheme {}: unknown; bearer, basic or token", quoted(text))),
        }
    }
}

/// The name of a variable of the egress proxy. Any other variable of a sidecar could be sent out
/// by a route that names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenVariable(String);

impl TokenVariable {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<TokenVariable> for String {
    fn from(variable: TokenVariable) -> Self {
        variable.0
    }
}

impl TryFrom<String> for TokenVariable {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let rest = text.strip_prefix(VARIABLE_PREFIX).unwrap_or_default();
        // Which names the file of a token.
        let is_file = rest.starts_with("FILE_");
        if is_file
            || rest.is_empty()
            || text.len() > MAX_VARIABLE_LENGTH
            || !rest.bytes().all(allowed)
        {
            return Err(format!(
                "token_env {}: only variables named EGRESS_TOKEN_ and then A-Z, 0-9 or _ can be \
                 used, such as EGRESS_TOKEN_1",
                quoted(&text)
            ));
        }
        Ok(TokenVariable(text))
    }
}

/// A route that is there already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
#[serde(expecting = "a mapping with a host")]
pub struct ListedRoute {
    /// Where to.
    pub host: String,
    /// Prefixes of the path; every path without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Methods of HTTP; every method without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Ports; 80 and 443 without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<u16>>,
    /// The credential that the proxy adds, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ListedAuth>,
    /// What is not searched for secrets and attacks; without it everything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<ListedScan>,
}

/// An exception from the scans, for downloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
pub struct ListedScan {
    /// Which answers are looked into.
    pub responses: ScannedResponses,
}

/// Which answers are looked into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
#[serde(rename_all = "lowercase")]
pub enum ScannedResponses {
    /// None of them.
    None,
}

/// A credential by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
pub struct ListedAuth {
    /// How it is written into the request.
    pub scheme: String,
    /// The name of its token.
    pub token_env: String,
    /// The header that it goes into, for the scheme `header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The parameter that it goes into, for the scheme `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What the agent sends in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
}

impl ListedRoute {
    /// In a form that can be compared: what was left out is written out.
    fn normal(&self) -> ListedRoute {
        let every_method = || METHODS.map(str::to_owned).to_vec();
        ListedRoute {
            host: plain_host(&self.host),
            paths: sorted(&self.paths, || vec!["/".to_owned()]),
            methods: sorted(&self.methods, every_method),
            ports: sorted(&self.ports, || DEFAULT_PORTS.to_vec()),
            auth: self.auth.clone(),
            scan: self.scan.clone(),
        }
    }

    /// Whether both say the same.
    pub fn is_same(&self, other: &ListedRoute) -> bool {
        self.normal() == other.normal()
    }

    /// Whether these routes let all of it through with the same credential, so that it would change
    /// nothing. As in the proxy the longest prefix counts.
    pub fn is_covered_by(&self, listed: &[ListedRoute]) -> bool {
        let ours = self.normal();
        let theirs: Vec<ListedRoute> = listed
            .iter()
            .map(ListedRoute::normal)
            .filter(|route| route.host == ours.host)
            .collect();
        let is_covered = |path: &str, method: &String, port: &u16| {
            let longest = |route: &ListedRoute| {
                let decides = contains(&route.methods, method) && contains(&route.ports, port);
                let prefixes = route.paths.iter().flatten().filter(|prefix| is_below(path, prefix));
                prefixes.map(String::len).max().filter(|_| decides)
            };
            theirs
                .iter()
                .filter_map(|route| Some((longest(route)?, route)))
                .max_by_key(|(length, _)| *length)
                .is_some_and(|(_, route)| route.auth == ours.auth)
        };
        let (methods, ports) = (ours.methods.iter().flatten(), ours.ports.iter().flatten());
        ours.paths.iter().flatten().all(|path| {
            methods.clone().all(|method| ports.clone().all(|port| is_covered(path, method, port)))
        })
    }

    /// A path and a method that both routes decide upon, which the proxy takes for a mistake.
    pub fn overlap(&self, other: &ListedRoute) -> Option<String> {
        let (ours, theirs) = (self.normal(), other.normal());
        if ours.host != theirs.host {
            return None;
        }
        let path = shared(&ours.paths, &theirs.paths)?;
        let method = shared(&ours.methods, &theirs.methods)?;
        shared(&ours.ports, &theirs.ports)?;
        Some(format!("{method} {path}"))
    }
}

fn contains<T: PartialEq>(list: &Option<Vec<T>>, item: &T) -> bool {
    list.as_ref().is_some_and(|list| list.contains(item))
}

/// A prefix ends where a segment ends: `/v1` is for `/v1` and for `/v1/x`, not for `/v1x`.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

fn sorted<T: Clone + Ord>(list: &Option<Vec<T>>, all: impl FnOnce() -> Vec<T>) -> Option<Vec<T>> {
    let mut list = list.clone().filter(|list| !list.is_empty()).unwrap_or_else(all);
    list.sort();
    list.dedup();
    Some(list)
}

fn shared<T: Clone + PartialEq>(one: &Option<Vec<T>>, other: &Option<Vec<T>>) -> Option<T> {
    let (one, other) = (one.as_ref()?, other.as_ref()?);
    one.iter().find(|item| other.contains(item)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: &str, paths: &[&str], methods: &[&str]) -> Result<Route, String> {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let (paths, methods) = (texts(paths), texts(methods));
        RouteFields { host: host.to_owned(), paths, methods, ..RouteFields::default() }.try_into()
    }

    #[test]
    fn the_same_wish_in_other_words_is_the_same_route() {
        let one = route("API.example.com", &["/v2/", "/v1/", "/v1/"], &["post", "GET"]).unwrap();
        let other = route("api.example.com", &["/v1/", "/v2/"], &["GET", "POST"]).unwrap();
        assert_eq!(one, other);
    }

    #[test]
    fn bad_paths_are_refused() {
        for path in [
            "", "v1", "/v1/*", "/a/../b", "/a//b", "/%2e%2e/", "/a?b", "/a#b", "/a b", "/ä", "/a;b",
        ] {
            let error = route("a.example.com", &[path], &[]).unwrap_err();
            assert!(error.starts_with("path "), "{path:?}: {error}");
        }
        assert!(route("a.example.com", &["/"; 17], &[]).unwrap_err().contains("at most 16"));
    }

    #[test]
    fn unknown_methods_are_refused() {
        for method in ["CONNECT", "TRACE", "FOO", "", "GET,POST", "*"] {
            let error = route("a.example.com", &[], &[method]).unwrap_err();
            assert!(error.contains("one of GET, HEAD"), "{error}");
        }
    }

    #[test]
    fn ports_are_bounded_and_no_dns() {
        let ports = |ports: &[u16]| {
            let host = "a.example.com".to_owned();
            Route::try_from(RouteFields { host, ports: ports.to_vec(), ..RouteFields::default() })
        };
        assert_eq!(ports(&[8443, 443, 8443]).unwrap().listed().ports, Some(vec![443, 8443]));
        for bad in [&[0][..], &[53], &[5353], &[1, 2, 3, 4, 5, 6, 7, 8, 9]] {
            assert!(ports(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_credential_needs_an_exact_host() {
        let route =
            r#"{"host":"*.example.com","auth":{"scheme":"bearer","token_env":"EGRESS_TOKEN_1"}}"#;
        let error = serde_json::from_str::<Route>(route).unwrap_err().to_string();
        assert!(error.contains("a credential needs an exact host"), "{error}");
    }

    #[test]
    fn only_the_variables_for_tokens_can_be_named() {
        assert!(TokenVariable::try_from("EGRESS_TOKEN_1".to_owned()).is_ok());
        for name in [
            "PATH",
            "EGRESS_TOKEN_",
            "EGRESS_TOKEN_FILE_1",
            "EGRESS_TOKEN_a",
            "XEGRESS_TOKEN_1",
            "EGRESS_TOKEN_1\n",
        ] {
            assert!(TokenVariable::try_from(name.to_owned()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_route_below_another_with_the_same_credential_is_covered() {
        let listed = |paths: &[&str], methods: &[&str]| {
            route("a.example.com", paths, methods).unwrap().listed()
        };
        let (read, mut inner) = (listed(&["/v1"], &["GET", "HEAD"]), listed(&["/v1/x/"], &["GET"]));
        let auth = r#"{"scheme": "token", "token_env": "EGRESS_TOKEN_1"}"#;
        inner.auth = Some(serde_json::from_str(auth).unwrap());
        let routes = [read, inner];
        for (paths, methods, covered) in [
            (&["/v1"][..], &["GET"][..], true),
            (&["/v1/"], &["GET"], true),
            (&["/v1/a", "/v1/b/"], &["HEAD", "GET"], true),
            (&["/v1a"], &["GET"], false),
            (&["/v1/"], &["POST"], false),
            (&["/v1/", "/v2/"], &["GET"], false),
            // There the other route's credential is sent.
            (&["/v1/x/y"], &["GET"], false),
            (&["/v1/x/y"], &["HEAD"], true),
            (&[], &["GET"], false),
        ] {
            let wanted = listed(paths, methods);
            assert_eq!(wanted.is_covered_by(&routes), covered, "{paths:?} {methods:?}");
        }
        let other = route("b.example.com", &["/v1/"], &["GET"]).unwrap().listed();
        assert!(!other.is_covered_by(&routes));
    }

    #[test]
    fn overlaps_are_found() {
        let listed = |paths: &[&str], methods: &[&str]| {
            route("a.example.com", paths, methods).unwrap().listed()
        };
        let all = listed(&[], &[]);
        assert_eq!(all.overlap(&listed(&["/"], &["GET"])).as_deref(), Some("GET /"));
        assert_eq!(all.overlap(&all).as_deref(), Some("DELETE /"));
        assert_eq!(listed(&["/a"], &["GET"]).overlap(&listed(&["/a"], &["POST"])), None);
        assert_eq!(listed(&["/a"], &["GET"]).overlap(&listed(&["/b"], &["GET"])), None);
        let other = route("b.example.com", &[], &[]).unwrap().listed();
        assert_eq!(all.overlap(&other), None);
        let mut port = all.clone();
        port.ports = Some(vec![8443]);
        assert_eq!(all.overlap(&port), None);
        assert!(!all.is_same(&port));
        let mut webdav = all.clone();
        webdav.methods = Some(vec!["PROPFIND".to_owned()]);
        assert_eq!(all.overlap(&webdav), None);
        assert!(all.is_same(&listed(&["/"], &METHODS)));
        assert!(!all.is_same(&listed(&["/a"], &[])));
    }
}
