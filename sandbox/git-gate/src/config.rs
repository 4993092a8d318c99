//! What the gate is told: its own settings, and the upstreams that it mirrors. Data only; `read`
//! makes it from the text of a file.

mod address;
mod gate;
mod read;
mod size;
mod upstream;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(test)]
pub(crate) use read::keys;
pub(crate) use read::parse;

/// Where the file is if nobody says so.
pub(crate) const DEFAULT_FILE: &str = "/etc/git-gate/upstreams.toml";
/// The variable that says where it is.
pub(crate) const FILE_VARIABLE: &str = "GIT_GATE_CONFIG";

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) gate: Gate,
    /// In the file's order, never empty.
    pub(crate) upstreams: Vec<Upstream>,
}

/// What holds for every repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    /// The folder of the mirrors.
    pub(crate) root: PathBuf,
    /// Where git:// is served; `None`: nowhere.
    pub(crate) listen: Option<SocketAddr>,
    /// Where smart HTTP is served; `None`: nowhere.
    pub(crate) http_listen: Option<SocketAddr>,
    /// Where those ask who watch the gate; `None`: nowhere.
    pub(crate) health_listen: Option<SocketAddr>,
    pub(crate) gitleaks: PathBuf,
    /// `None`: the rules that gitleaks brings.
    pub(crate) gitleaks_config: Option<PathBuf>,
    pub(crate) approved: PathBuf,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) times: Times,
    pub(crate) limits: Limits,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// From accepting a connection to the client's request.
    pub(crate) request: Duration,
    /// Without a byte in either direction.
    pub(crate) idle: Duration,
    /// A whole session.
    pub(crate) session: Duration,
    /// Bringing the mirror up to date, with the wait for others who do so.
    pub(crate) fetch: Duration,
    /// Scanning a push and handing it on.
    pub(crate) push: Duration,
}

/// How much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Sessions at a time.
    pub(crate) sessions: usize,
    /// Bytes of one push as they come over the network.
    pub(crate) push: u64,
    /// Bytes of one object, and of what is packed in it.
    pub(crate) file: u64,
    /// Bytes that one push unpacks to, decoded forms included.
    pub(crate) scan: u64,
    /// Bytes of memory, of each process that unpacks or scans a push.
    pub(crate) memory: u64,
}

/// How an upstream is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Ssh,
    Https,
    File,
}

impl Protocol {
    /// As git names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Ssh => "ssh",
            Protocol::Https => "https",
            Protocol::File => "file",
        }
    }
}

/// One repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// Clients reach it as `/NAME.git`.
    pub(crate) name: String,
    pub(crate) url: String,
    /// What ssh needs; `None` for the other protocols.
    pub(crate) ssh: Option<Ssh>,
    /// What HEAD names where upstream does not say.
    pub(crate) default_branch: Option<String>,
}

/// Who we are, and who the upstream has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ssh {
    pub(crate) key: PathBuf,
    pub(crate) known_hosts: PathBuf,
}

impl Config {
    /// The upstream of this name.
    pub(crate) fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.name == name)
    }
}

impl Gate {
    /// Where the mirror of an upstream is.
    pub(crate) fn mirror(&self, upstream: &Upstream) -> PathBuf {
        self.root.join(format!("{}.git", upstream.name))
    }

    /// Our own files, beside the mirrors.
    pub(crate) fn own(&self) -> PathBuf {
        self.root.join(".git-gate")
    }

    /// Where git daemon and git-http-backend look for git.
    pub(crate) fn programs(&self) -> PathBuf {
        self.own().join("programs")
    }

    /// Where git looks for hooks.
    pub(crate) fn hooks(&self) -> PathBuf {
        self.own().join("hooks")
    }
}

/// The name of the repository whose mirror is this folder below `root`.
pub(crate) fn name_of<'path>(root: &Path, mirror: &'path Path) -> Option<&'path str> {
    let relative = mirror.strip_prefix(root).ok()?;
    let mut parts = relative.components();
    let name = parts.next()?.as_os_str().to_str()?.strip_suffix(".git")?;
    parts.next().is_none().then_some(name)
}

#[cfg(test)]
mod tests;
