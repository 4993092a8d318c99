//! What the egress proxy says of itself.

use std::time::Duration;

use serde::Deserialize;

use crate::proxy_client::ask;
use crate::route::ListedRoute;

/// Answered by the proxy itself, whoever else may be called so.
const INTROSPECTION: &str = "http://_egress.local/allowlist";

/// What it says.
#[derive(Clone, Debug, Deserialize)]
pub struct Introspection {
    /// The routes that are in force.
    pub routes: Vec<ListedRoute>,
    /// Why the last reload has changed nothing.
    #[serde(default)]
    pub reload_error: Option<String>,
}

/// Asks it.
pub async fn introspect(address: &str, timeout: Duration) -> Result<Introspection, String> {
    let answer = ask(address, "GET", INTROSPECTION, timeout).await?;
    if answer.status != 200 {
        return Err(format!("{address}: {INTROSPECTION} answers with status {}", answer.status));
    }
    // Keys that we do not know may come with it.
    serde_json::from_str(&answer.body)
        .map_err(|error| format!("{address}: {INTROSPECTION}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Introspection, serde_json::Error> {
        serde_json::from_str(body)
    }

    #[test]
    fn reads_the_routes_and_ignores_the_rest() {
        let body = r#"{"version":1,"routes":[{"host":"a.example.com","paths":null,
            "methods":["GET"],"auth":{"scheme":"bearer","token_env":"EGRESS_TOKEN_1","set":true},
            "extra":1}]}"#;
        let routes = parse(body).unwrap().routes;
        assert_eq!(routes[0].host, "a.example.com");
        assert_eq!(routes[0].paths, None);
        assert_eq!(routes[0].auth.as_ref().unwrap().token_env, "EGRESS_TOKEN_1");
        let failed = parse(r#"{"routes":[],"reload_error":"line 3"}"#).unwrap();
        assert_eq!(failed.reload_error.as_deref(), Some("line 3"));
        assert!(parse("{}").is_err());
        assert!(parse("<html>").is_err());
    }
}
