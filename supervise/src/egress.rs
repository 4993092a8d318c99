//! What the egress proxy says of itself.

use std::time::Duration;

use serde_json::Value;

use crate::proxy_client::ask;
use crate::route::ListedRoute;

/// Answered by the proxy itself, whoever else may be called so.
const INTROSPECTION: &str = "http://_egress.local/allowlist";

/// The routes that are in force.
pub async fn routes(address: &str, timeout: Duration) -> Result<Vec<ListedRoute>, String> {
    let answer = ask(address, "GET", INTROSPECTION, timeout).await?;
    if answer.status != 200 {
        return Err(format!("{address}: {INTROSPECTION} answers with status {}", answer.status));
    }
    parse(&answer.body).map_err(|error| format!("{address}: {INTROSPECTION}: {error}"))
}

/// Keys that we do not know may come with it.
fn parse(body: &str) -> Result<Vec<ListedRoute>, String> {
    let mut value: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let routes = value.get_mut("routes").map(Value::take).ok_or("it has no key `routes`")?;
    serde_json::from_value(routes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_routes_and_ignores_the_rest() {
        let body = r#"{"version":1,"routes":[{"host":"a.example.com","paths":null,
            "methods":["GET"],"auth":{"scheme":"bearer","token_env":"EGRESS_TOKEN_1","set":true},
            "extra":1}]}"#;
        let routes = parse(body).unwrap();
        assert_eq!(routes[0].host, "a.example.com");
        assert_eq!(routes[0].paths, None);
        assert_eq!(routes[0].auth.as_ref().unwrap().token_env, "EGRESS_TOKEN_1");
        assert!(parse("{}").is_err());
        assert!(parse("<html>").is_err());
    }
}
