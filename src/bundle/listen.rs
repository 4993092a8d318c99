//! Addresses that the init listens on for a service. Pure.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::health_check;

/// The number of a service's first socket, sd_listen_fds(3).
pub const FIRST_SOCKET: i32 = 3;

/// The longest path of a Unix socket in bytes; `sun_path` has one more byte for the NUL, unix(7).
pub(super) const LONGEST_SOCKET_PATH: usize = 107;

/// An address that the init listens on for a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listen {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Listen {
    /// Reads `tcp:0.0.0.0:80`, `tcp:[::]:80`, `tcp:localhost:80` or `unix:/run/web.sock`.
    pub fn parse(text: &str) -> Option<Listen> {
        match text.split_once(':')? {
            ("tcp", address) => health_check::address(address).map(Listen::Tcp),
            ("unix", path) if path.starts_with('/') => Some(Listen::Unix(path.into())),
            _ => None,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "tcp:{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        for text in ["tcp:0.0.0.0:80", "tcp:[::]:80", "unix:/run/web.sock"] {
            assert_eq!(Listen::parse(text).map(|listen| listen.to_string()).as_deref(), Some(text));
        }
        for text in ["", "80", "tcp:80", "tcp:example.org:80", "unix:web.sock", "udp:0.0.0.0:53"] {
            assert_eq!(Listen::parse(text), None, "{text}");
        }
    }
}
