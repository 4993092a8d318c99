//! A route of the egress proxy as an agent may propose it, and as the proxy already has it.
//!
//! What is proposed is checked to the last character, since it will stand in routes.yaml; what is
//! there already was written by the operator and is only compared with.

use std::fmt;

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

use crate::host::{HostPattern, quoted};

const MAX_PATHS: usize = 16;
const MAX_PATH_LENGTH: usize = 512;
const MAX_VARIABLE_LENGTH: usize = 64;
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const VARIABLE_PREFIX: &str = "EGRESS_TOKEN_";

/// What the egress proxy would let through. An empty list stands for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Where to.
    pub host: HostPattern,
    /// Prefixes of the path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPrefix>,
    /// Methods of HTTP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// The credential that the proxy adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

impl Route {
    /// From the texts of a tool call.
    pub fn new(
        host: String,
        paths: Vec<String>,
        methods: Vec<String>,
        auth: Option<Auth>,
    ) -> Result<Self, String> {
        if paths.len() > MAX_PATHS {
            return Err(format!("paths: {} of them, at most {MAX_PATHS}", paths.len()));
        }
        let mut route = Route {
            host: HostPattern::try_from(host)?,
            paths: paths.into_iter().map(PathPrefix::try_from).collect::<Result<_, _>>()?,
            methods: methods.into_iter().map(Method::try_from).collect::<Result<_, _>>()?,
            auth,
        };
        // Order says nothing, so that the same wish in other words is the same proposal.
        route.paths.sort();
        route.paths.dedup();
        route.methods.sort();
        route.methods.dedup();
        Ok(route)
    }

    /// As it is listed once the proxy has it.
    pub fn listed(&self) -> ListedRoute {
        let texts = |list: Vec<String>| (!list.is_empty()).then_some(list);
        ListedRoute {
            host: self.host.as_str().to_owned(),
            paths: texts(self.paths.iter().map(|path| path.0.clone()).collect()),
            methods: texts(self.methods.iter().map(|method| method.0.clone()).collect()),
            auth: self.auth.as_ref().map(|auth| ListedAuth {
                scheme: auth.scheme.to_string(),
                token_env: auth.token_env.0.clone(),
            }),
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
            |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()+,;=:@".contains(&byte);
        if !text.bytes().all(allowed) {
            return wrong(
                "only letters, digits and /-._~!$&'()+,;=:@ are allowed: no wildcards (it is a \
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
        if rest.is_empty() || text.len() > MAX_VARIABLE_LENGTH || !rest.bytes().all(allowed) {
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
pub struct ListedRoute {
    /// Where to.
    pub host: String,
    /// Prefixes of the path; every path without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Methods of HTTP; every method without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// The credential that the proxy adds, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ListedAuth>,
}

/// A credential by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
pub struct ListedAuth {
    /// How it is written into the request.
    pub scheme: String,
    /// The variable that holds it.
    pub token_env: String,
}

impl ListedRoute {
    /// In a form that can be compared.
    fn normal(&self) -> ListedRoute {
        let sorted = |list: &Option<Vec<String>>| {
            let mut list = list.clone().unwrap_or_default();
            list.sort();
            list.dedup();
            (!list.is_empty()).then_some(list)
        };
        ListedRoute {
            host: self.host.to_ascii_lowercase(),
            paths: sorted(&self.paths).filter(|paths| *paths != ["/"]),
            methods: sorted(&self.methods),
            auth: self.auth.clone(),
        }
    }

    /// Whether both say the same.
    pub fn is_same(&self, other: &ListedRoute) -> bool {
        self.normal() == other.normal()
    }

    /// A path and a method that both routes decide upon, which the proxy takes for a mistake.
    pub fn overlap(&self, other: &ListedRoute) -> Option<String> {
        let (ours, theirs) = (self.normal(), other.normal());
        if ours.host != theirs.host {
            return None;
        }
        let every_path = vec!["/".to_owned()];
        let their_paths = theirs.paths.as_ref().unwrap_or(&every_path);
        let paths = ours.paths.as_ref().unwrap_or(&every_path);
        let path = paths.iter().find(|path| their_paths.contains(path))?;
        let method = match (&ours.methods, &theirs.methods) {
            (None, None) => "every method",
            (Some(list), None) | (None, Some(list)) => list.first()?,
            (Some(list), Some(others)) => list.iter().find(|method| others.contains(method))?,
        };
        Some(format!("{method} {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: &str, paths: &[&str], methods: &[&str]) -> Result<Route, String> {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Route::new(host.to_owned(), texts(paths), texts(methods), None)
    }

    #[test]
    fn the_same_wish_in_other_words_is_the_same_route() {
        let one = route("API.example.com", &["/v2/", "/v1/", "/v1/"], &["post", "GET"]).unwrap();
        let other = route("api.example.com", &["/v1/", "/v2/"], &["GET", "POST"]).unwrap();
        assert_eq!(one, other);
    }

    #[test]
    fn bad_paths_are_refused() {
        for path in
            ["", "v1", "/v1/*", "/a/../b", "/a//b", "/%2e%2e/", "/a?b", "/a#b", "/a b", "/ä"]
        {
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
    fn only_the_variables_for_tokens_can_be_named() {
        assert!(TokenVariable::try_from("EGRESS_TOKEN_1".to_owned()).is_ok());
        for name in
            ["PATH", "EGRESS_TOKEN_", "EGRESS_TOKEN_a", "XEGRESS_TOKEN_1", "EGRESS_TOKEN_1\n"]
        {
            assert!(TokenVariable::try_from(name.to_owned()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn overlaps_are_found() {
        let listed = |paths: &[&str], methods: &[&str]| {
            route("a.example.com", paths, methods).unwrap().listed()
        };
        let all = listed(&[], &[]);
        assert_eq!(all.overlap(&listed(&["/"], &["GET"])).as_deref(), Some("GET /"));
        assert_eq!(all.overlap(&all).as_deref(), Some("every method /"));
        assert_eq!(listed(&["/a"], &["GET"]).overlap(&listed(&["/a"], &["POST"])), None);
        assert_eq!(listed(&["/a"], &["GET"]).overlap(&listed(&["/b"], &["GET"])), None);
        let other = route("b.example.com", &[], &[]).unwrap().listed();
        assert_eq!(all.overlap(&other), None);
        assert!(all.is_same(&listed(&["/"], &[])));
        assert!(!all.is_same(&listed(&["/a"], &[])));
    }
}
