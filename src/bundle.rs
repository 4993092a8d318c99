//! What is to be run: a bundle, its services and signal routes. Only data: [`toml`] parses it from a
//! file. Nothing here makes system calls.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use strict_toml::Place;

use crate::event_kind::EventKind;
use crate::signal::Signal;
use crate::words::words;

pub mod capability;
mod cycle;
pub mod environment;
pub mod health_check;
pub mod instances;
pub mod listen;
mod pattern;
pub mod resource;
pub mod selection;
pub(crate) mod shared;
pub mod toml;
pub(crate) mod verification;

/// The default grace period of a bundle: below the 10 s after which `docker stop` kills.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(8);

/// The name of the main command that `run … -- COMMAND` puts beside the services; no service
/// may have it.
pub const MAIN: &str = "main";

/// The value of `socket` for no control socket.
pub const NO_SOCKET: &str = "none";

/// More services than this are an error in the file, or an attack on our memory.
const MOST_SERVICES: usize = 10_000;

/// What is to be run. A single command is a bundle of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bundle {
    /// Its name in messages.
    pub name: String,
    /// The environment variable that selects services.
    pub select_env: Option<String>,
    /// The path of the control socket; `none`: no socket.
    pub socket: Option<String>,
    /// What runs or is written at each event.
    pub on_event: OnEvent,
    /// How long the whole shutdown may take, all its stages together.
    pub grace: Duration,
    /// The default format of the services' output; with `json` the init logs JSON too.
    pub log: LogMode,
    /// The services in the file's order, which is the order of their start.
    pub services: Vec<Service>,
    /// What the init does with signals other than TERM and INT. Signals without a route are logged and
    /// dropped.
    pub signals: BTreeMap<Signal, Route>,
}

impl Bundle {
    /// A bundle without services, with the defaults of the file format.
    pub fn new(name: impl Into<String>) -> Bundle {
        Bundle {
            name: name.into(),
            select_env: None,
            socket: None,
            on_event: OnEvent::default(),
            grace: DEFAULT_GRACE,
            log: LogMode::Prefix,
            services: Vec::new(),
            signals: BTreeMap::new(),
        }
    }
}

/// A command and a file that get each event as a JSON object; both are optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnEvent {
    /// Runs for each event, with the event in its environment; empty: none.
    pub command: Vec<OsString>,
    /// Each event is appended as one line.
    pub file: Option<PathBuf>,
    /// Only these events; empty: all.
    pub events: Vec<EventKind>,
}

/// A program that the init starts and supervises. Its settings are also its fields:
/// `service.umask = Some(0o027)`. Equal settings of many services are stored once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// Unique in the bundle.
    pub name: String,
    /// Program and arguments, not empty. The init never joins or splits them.
    pub command: Vec<OsString>,
    /// All that is equal for many services.
    pub settings: Arc<Settings>,
}

impl Service {
    /// A service with this command, and the defaults of the file format.
    pub fn new<C>(name: impl Into<String>, command: C) -> Service
    where
        C: IntoIterator<Item: Into<OsString>>,
    {
        let command = command.into_iter().map(Into::into).collect();
        Service { name: name.into(), command, ..Service::default() }
    }
}

impl Deref for Service {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// Other services with the same settings keep theirs.
impl DerefMut for Service {
    fn deref_mut(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }
}

/// The settings of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Its working directory; `None`: the init's.
    pub working_directory: Option<PathBuf>,
    /// Which variables it gets.
    pub environment: Environment,
    /// The user and groups that it runs as.
    pub identity: Identity,
    /// The file mode creation mask, umask(2).
    pub umask: Option<u32>,
    /// Limits in the file's order, setrlimit(2).
    pub rlimits: Vec<ResourceLimit>,
    /// The nice value, -20 to 19, setpriority(2).
    pub nice: Option<i8>,
    /// Raises or lowers the chance that the kernel kills it when memory runs out, -1000 to 1000,
    /// proc(5).
    pub oom_score_adj: Option<i16>,
    /// `PR_SET_NO_NEW_PRIVS`: no setuid program can raise its privileges.
    pub no_new_privileges: bool,
    /// The capabilities it loses, bit n for capability n, capabilities(7).
    pub drop_capabilities: u64,
    /// The signal it gets when the init dies, `PR_SET_PDEATHSIG`.
    pub parent_death_signal: Option<Signal>,
    /// The signal that stops it.
    pub stop_signal: Signal,
    /// Its grace period, within the bundle's; `None`: the rest of the bundle's.
    pub grace: Option<Duration>,
    /// What its exit means for the bundle.
    pub on_exit: OnExit,
    /// The exit codes that count as success (128 + n for signal n). Success ends a bundle with 0.
    pub success_codes: Vec<u8>,
    /// The format of its output.
    pub log: LogMode,
    /// What happens to its output while nothing reads the init's.
    pub log_full: LogFull,
    /// Daemon or oneshot.
    pub kind: ServiceType,
    /// The names of the services that must be ready before it starts.
    pub after: Vec<String>,
    /// The names of the services that it requires; it also starts after them.
    pub requires: Vec<String>,
    /// What happens to it when a required service ends.
    pub when_required_exits: WhenRequiredExits,
    /// How it becomes ready; `None`: it is ready when it has started.
    pub readiness: Option<health_check::Readiness>,
    /// How long it may take to become ready; a oneshot, to end.
    pub start_timeout: Option<Duration>,
    /// The liveness check.
    pub liveness: Option<Box<health_check::Check>>,
    /// The longest time between two `WATCHDOG=1` once it is ready, sd_notify(3).
    pub watchdog: Option<Duration>,
    /// Whether it is restarted when it ends.
    pub restart: RestartPolicy,
    /// A command that stops it, in place of the stop signal.
    pub stop_command: Option<Vec<OsString>>,
    /// How long it keeps running, no longer ready, before it is stopped.
    pub drain: Duration,
    /// The sockets that the init opens for it.
    pub listen: Vec<listen::Listen>,
    /// Its number of instances; `None`: it has no instances.
    pub instances: Option<Box<instances::Instances>>,
    /// The service of which it is an instance.
    pub instance_of: Option<String>,
}

/// The defaults of the file format.
impl Default for Settings {
    fn default() -> Settings {
        Settings {
            working_directory: None,
            environment: Environment::default(),
            identity: Identity::default(),
            umask: None,
            rlimits: Vec::new(),
            nice: None,
            oom_score_adj: None,
            no_new_privileges: false,
            drop_capabilities: 0,
            parent_death_signal: None,
            stop_signal: Signal::TERM,
            grace: None,
            on_exit: OnExit::Shutdown,
            success_codes: vec![0],
            log: LogMode::Prefix,
            log_full: LogFull::Block,
            kind: ServiceType::Daemon,
            after: Vec::new(),
            requires: Vec::new(),
            when_required_exits: WhenRequiredExits::Keep,
            readiness: None,
            start_timeout: None,
            liveness: None,
            watchdog: None,
            restart: RestartPolicy::default(),
            stop_command: None,
            drain: Duration::ZERO,
            listen: Vec::new(),
            instances: None,
            instance_of: None,
        }
    }
}

impl Settings {
    /// Whether it has neither `after` nor `requires`.
    pub fn names_nobody(&self) -> bool {
        self.after.is_empty() && self.requires.is_empty()
    }
}

words! {
    /// What a service's exit does to the bundle.
    #[derive(Default)]
    pub enum OnExit {
        /// The bundle shuts down, with the service's exit code.
        #[default]
        Shutdown => "shutdown",
        /// The other services keep running; the bundle ends when none is left.
        Ignore => "ignore",
    }

    /// Whether a service keeps running.
    #[derive(Default)]
    pub enum ServiceType {
        /// It runs until it is stopped.
        #[default]
        Daemon => "daemon",
        /// It does something once; dependent services start when it has succeeded.
        Oneshot => "oneshot",
    }

    /// What happens to a service when a required one ends.
    #[derive(Default)]
    pub enum WhenRequiredExits {
        /// It keeps running.
        #[default]
        Keep => "keep",
        /// It is stopped.
        Stop => "stop",
        /// It is stopped, and started when the required one is ready again.
        Restart => "restart",
    }

    /// After which exits a service is restarted.
    #[derive(Default)]
    pub enum RestartWhen {
        /// Never.
        #[default]
        Never => "never",
        /// After a failure.
        OnFailure => "on-failure",
        /// After any exit.
        Always => "always",
    }
}

/// Whether, how often and how fast a service is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// After which exits.
    pub when: RestartWhen,
    /// The largest number of restarts...
    pub max: u32,
    /// ...in this time. A run of this length also resets the delay.
    pub within: Duration,
    /// The delay before the first restart of a series; it doubles with each.
    pub delay: Duration,
    /// The longest delay.
    pub max_delay: Duration,
}

impl Default for RestartPolicy {
    fn default() -> RestartPolicy {
        RestartPolicy {
            when: RestartWhen::Never,
            max: 5,
            within: Duration::from_secs(60),
            delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(30),
        }
    }
}

impl RestartPolicy {
    /// Whether such an exit leads to a restart.
    pub fn is_wanted_after(&self, succeeded: bool) -> bool {
        match self.when {
            RestartWhen::Never => false,
            RestartWhen::OnFailure => !succeeded,
            RestartWhen::Always => true,
        }
    }
}

words! {
    /// The format of a service's output.
    #[derive(Default)]
    pub enum LogMode {
        /// Whole lines, each with the prefix `[name] `.
        #[default]
        Prefix => "prefix",
        /// One JSON object per line: time, service, stream, message.
        Json => "json",
        /// The service writes to the init's own stdout and stderr.
        Inherit => "inherit",
    }

    /// What happens to output while the reader of the init's stdout or stderr is too slow.
    #[derive(Default)]
    pub enum LogFull {
        /// The service blocks in its write, as it would without an init.
        #[default]
        Block => "block",
        /// Lines are dropped and counted; the count is logged when the reader continues.
        Drop => "drop",
    }
}

/// Which variables a service gets: those of the init that match `pass` and not `drop`, then those of
/// `files`, then those of `set`; later values replace earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Name patterns with `*`; `None` passes all.
    pub pass: Option<Vec<String>>,
    /// Name patterns with `*`.
    pub drop: Vec<String>,
    /// Files of `NAME=value` lines, read when the plan is made, and where the bundle names them. A
    /// relative path in a bundle's file starts at the directory of that file.
    pub files: Vec<(PathBuf, Place)>,
    /// Set here, in the file's order.
    pub set: Vec<(String, String)>,
}

/// The user and groups that a service runs as. All `None`: those of the init.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user, by name or number.
    pub user: Option<(Account, Place)>,
    /// The primary group; `None`: the user's own.
    pub group: Option<(Account, Place)>,
    /// The other groups; `None`: those that the group file lists for the user.
    pub supplementary_groups: Option<Vec<(Account, Place)>>,
}

/// A user or group, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// To be looked up in `/etc/passwd` or `/etc/group`.
    Name(String),
    /// Needs no entry there.
    Id(u32),
}

/// One limit of setrlimit(2); `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// The number of the resource (`RLIMIT_*`).
    pub resource: u32,
    /// What the process meets.
    pub soft: Option<u64>,
    /// How far it may raise the soft one.
    pub hard: Option<u64>,
}

/// What becomes of a signal that the init receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Delivered to these services (by name), as another signal where one is given.
    Forward {
        /// Names of services of the bundle.
        to: Vec<String>,
        /// What they get instead.
        as_signal: Option<Signal>,
    },
    /// These services (by name) are restarted.
    Restart(Vec<String>),
    /// The bundle's file is read again.
    Reload,
    /// Taken as if the init had received this one: TERM or INT, which begin the shutdown.
    Become(Signal),
    /// Dropped, and not logged.
    Drop,
}

/// For people.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::Forward { to, as_signal: None } => write!(f, "to {}", to.join(", ")),
            Route::Forward { to, as_signal: Some(signal) } => {
                write!(f, "to {} as {signal}", to.join(", "))
            }
            Route::Restart(services) => write!(f, "restarts {}", services.join(", ")),
            Route::Reload => f.write_str("reloads the bundle"),
            Route::Become(signal) => write!(f, "handled as {signal}: begins the shutdown"),
            Route::Drop => f.write_str("dropped"),
        }
    }
}
