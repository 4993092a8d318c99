//! What an upstream's URL says. Pure.

use super::Protocol;

/// How the upstream of this URL is reached, or what is wrong with it.
pub(super) fn protocol(url: &str) -> Result<Protocol, &'static str> {
    if url.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err("has white space in it");
    }
    if let Some(rest) = url.strip_prefix("file://") {
        return if rest.starts_with('/') { Ok(Protocol::File) } else { Err("is file:///PATH") };
    }
    if let Some(rest) = url.strip_prefix("https://") {
        let (authority, path) = split(rest)?;
        if authority.contains('@') {
            return Err("names a user or a password; the gate has no place for those but `key`");
        }
        return host_and_path(authority, path).map(|()| Protocol::Https);
    }
    if let Some(rest) = url.strip_prefix("ssh://") {
        let (authority, path) = split(rest)?;
        let (user, host) = authority.rsplit_once('@').unwrap_or(("git", authority));
        if user.contains(':') {
            return Err("names a password; the gate has no place for one but `key`");
        }
        return host_and_path(host, path).and_then(|()| user_name(user)).map(|()| Protocol::Ssh);
    }
    if url.contains("://") {
        return Err("has to begin with ssh://, or to be USER@HOST:PATH");
    }
    // The short form of ssh, git-fetch(1), "GIT URLS".
    let Some((authority, path)) = url.split_once(':').filter(|(host, _)| !host.contains('/'))
    else {
        return Err("has to begin with ssh://, or to be USER@HOST:PATH");
    };
    // `ext::…` is a remote helper, which may be any command (gitremote-helpers(7)).
    if path.starts_with(':') {
        return Err("names a remote helper; it has to begin with ssh://");
    }
    let (user, host) = authority.rsplit_once('@').unwrap_or(("git", authority));
    host_and_path(host, path).and_then(|()| user_name(user)).map(|()| Protocol::Ssh)
}

fn split(rest: &str) -> Result<(&str, &str), &'static str> {
    rest.split_once('/').ok_or("names no repository")
}

/// A host that begins with a dash would be an option of ssh's (CVE-2017-1000117); git looks too.
fn host_and_path(host: &str, path: &str) -> Result<(), &'static str> {
    if host.is_empty() || host.starts_with('-') {
        return Err("names no host");
    }
    if path.trim_matches('/').is_empty() { Err("names no repository") } else { Ok(()) }
}

fn user_name(user: &str) -> Result<(), &'static str> {
    if user.is_empty() || user.starts_with('-') {
        Err("names no user before the @")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_url() {
        for (url, expected) in [
            ("ssh://git@example.org/team/app.git", Protocol::Ssh),
            ("ssh://git@example.org:2222/app.git", Protocol::Ssh),
            ("git@example.org:team/app.git", Protocol::Ssh),
            ("example.org:app.git", Protocol::Ssh),
            ("https://example.org/app.git", Protocol::Https),
            ("file:///srv/app.git", Protocol::File),
        ] {
            assert_eq!(protocol(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_an_upstream() {
        for url in [
            "",
            "app.git",
            "/srv/app.git",
            "./x:y",
            "http://example.org/app.git",
            "ext::sh -c true",
            "ext::true",
            "ext::true",
            "git://example.org/app.git",
            "ssh://-oProxyCommand=x/app.git",
            "-oProxyCommand=x:app.git",
            "ssh://git:secret@example.org/app.git",
            "https://token@example.org/app.git",
            "ssh://example.org",
            "ssh://example.org/",
            "git@example.org:",
            "file://relative",
            "git@example.org:a b",
        ] {
            let result = protocol(url);
            assert!(result.is_err(), "{url}: {result:?}");
        }
    }
}
