//! Checks of a service from outside: readiness and liveness. Pure.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A TCP connection is accepted here.
    Tcp(SocketAddr),
    /// It accepts a connection to this Unix stream socket.
    Unix(PathBuf),
    /// It answers a GET request with a status of success.
    Http(Box<HttpTarget>),
    /// This command exits with code 0; it runs with the settings of the service.
    Exec(Vec<OsString>),
    /// This file exists.
    File(PathBuf),
}

/// The address and the request of an HTTP probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// The address to connect to.
    pub address: SocketAddr,
    /// The value of the `Host` field.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// The only status that counts as success; `None`: any from 200 to 399, as for Kubernetes.
    pub status: Option<u16>,
}

/// A probe with its period and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The probe.
    pub probe: Probe,
    /// From the end of one attempt to the next.
    pub period: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many attempts in a row must fail until the check has failed.
    pub failures: u32,
}

/// The purpose of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Whether the service is ready; the check ends with its first success.
    Readiness,
    /// Whether the service is still live; the check ends when it has failed too often.
    Liveness,
}

/// How a service becomes ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// A probe succeeds.
    Check(Box<Check>),
    /// It writes a line that contains this text.
    Log(String),
    /// It writes a newline to this descriptor, as under s6.
    Descriptor(i32),
    /// It sends `READY=1`, sd_notify(3).
    Systemd,
}

/// `127.0.0.1:80`, `[::1]:80`, `localhost:80` or `:80`. Names are not resolved: that takes time, and
/// the init does not block.
pub fn address(text: &str) -> Option<SocketAddr> {
    let local = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':'));
    match local {
        Some(port) => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?)),
        None => text.parse().ok(),
    }
}

/// `http://127.0.0.1:8080/health`
pub fn http_target(url: &str) -> Option<HttpTarget> {
    let rest = url.strip_prefix("http://")?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    // A request line has no white space and is ASCII.
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) || host.is_empty() {
        return None;
    }
    let address = address(host).or_else(|| self::address(&format!("{host}:80")))?;
    let path = if path.is_empty() { "/" } else { path };
    Some(HttpTarget { address, host: host.to_owned(), path: path.to_owned(), status: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_numbers_or_the_machine_itself() {
        for (text, meaning) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:81", "127.0.0.1:81"),
            (":82", "127.0.0.1:82"),
        ] {
            assert_eq!(address(text), Some(meaning.parse().unwrap()), "{text}");
        }
        for text in ["", "80", "example.org:80", "127.0.0.1", "127.0.0.1:99999"] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn a_url_names_host_and_path() {
        let target = http_target("http://localhost:8080/health?x=1").unwrap();
        assert_eq!(target.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((&*target.host, &*target.path), ("localhost:8080", "/health?x=1"));
        let target = http_target("http://127.0.0.1").unwrap();
        assert_eq!((target.address.port(), &*target.path), (80, "/"));
        for url in ["https://127.0.0.1/", "http://", "http://a b/", "http://x/\r\nEvil: 1"] {
            assert_eq!(http_target(url), None, "{url}");
        }
    }
}
