//! Which requests smart HTTP answers. Pure.

use crate::config::Config;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// Whether we are there.
    Health,
    /// What refs there are; the begin of a fetch or a push.
    Refs(&'a str),
    /// The rest of a fetch.
    Fetch(&'a str),
    /// The rest of a push.
    Push(&'a str),
    /// No repository of this name, or nothing that clients need of it.
    Nothing,
}

/// Only what smart clients ask for (gitprotocol-http(5)), of repositories that are configured.
pub(super) fn route<'a>(
    config: &Config,
    method: &str,
    path: &'a str,
    query: Option<&str>,
) -> Route<'a> {
    if method == "GET" && path == "/health" {
        return Route::Health;
    }
    let Some((name, rest)) = path.strip_prefix('/').and_then(|path| path.split_once(".git/"))
    else {
        return Route::Nothing;
    };
    if config.upstream(name).is_none() {
        return Route::Nothing;
    }
    match (method, rest, query) {
        ("GET", "info/refs", Some("service=git-upload-pack" | "service=git-receive-pack")) => {
            Route::Refs(name)
        }
        ("POST", "git-upload-pack", None) => Route::Fetch(name),
        ("POST", "git-receive-pack", None) => Route::Push(name),
        _ => Route::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_smart_http_of_known_repositories() {
        let text = "[gate]\nprotocols = [\"file\"]\n[[upstream]]\nname = \"app\"\n\
                    url = \"file:///x\"\n";
        let config = crate::config::parse("f", text).unwrap();
        let ask = |method, path, query| route(&config, method, path, query);
        let fetch = Some("service=git-upload-pack");
        assert_eq!(ask("GET", "/health", None), Route::Health);
        assert_eq!(ask("GET", "/app.git/info/refs", fetch), Route::Refs("app"));
        let push = Some("service=git-receive-pack");
        assert_eq!(ask("GET", "/app.git/info/refs", push), Route::Refs("app"));
        assert_eq!(ask("POST", "/app.git/git-upload-pack", None), Route::Fetch("app"));
        assert_eq!(ask("POST", "/app.git/git-receive-pack", None), Route::Push("app"));
        for (method, path, query) in [
            ("GET", "/app.git/info/refs", None),
            ("GET", "/app.git/config", None),
            ("GET", "/app.git/HEAD", None),
            ("GET", "/app.git/objects/info/packs", None),
            ("GET", "/other.git/info/refs", fetch),
            ("GET", "/../app.git/info/refs", fetch),
            ("GET", "/app.git/../app.git/info/refs", fetch),
            ("GET", "//app.git/info/refs", fetch),
            ("GET", "/%61pp.git/info/refs", fetch),
            ("POST", "/app.git/info/refs", fetch),
            ("PUT", "/app.git/git-receive-pack", None),
            ("POST", "/health", None),
        ] {
            assert_eq!(ask(method, path, query), Route::Nothing, "{method} {path} {query:?}");
        }
    }
}
