//! What is to be run: the bundle, its services, and the routes of its signals. Data only:
//! [`toml`] makes it from a file, and nothing here touches the system.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
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
pub mod toml;
pub(crate) mod verification;

/// The grace a bundle has where none is set: below the 10 s after which `docker stop` kills.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(8);

/// The name of the main command that `run … -- COMMAND` puts beside the services; no service
/// may have it.
pub const MAIN: &str = "main";

/// In place of the path of the control socket: no socket.
pub const NO_SOCKET: &str = "none";

/// More services than this are a mistake, or an attack on our memory.
const MOST_SERVICES: usize = 10_000;

/// All that is to be run. A single command is a bundle of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bundle {
    /// What it calls itself in messages.
    pub name: String,
    /// The environment variable that narrows it to some of its services.
    pub select_env: Option<String>,
    /// Where the control socket is to be; `none`: nowhere.
    pub socket: Option<String>,
    /// What is told of everything that happens.
    pub on_event: OnEvent,
    /// How long the whole shutdown may take, all its stages together.
    pub grace: Duration,
    /// What becomes of the output of services that don't say; in `json` the init itself speaks
    /// JSON too.
    pub log: LogMode,
    /// The services in the file's order, which is the order of their start.
    pub services: Vec<Service>,
    /// What becomes of a signal other than TERM and INT. What has no route is logged and dropped.
    pub signals: BTreeMap<Signal, Route>,
}

impl Bundle {
    /// A bundle without services, as a file makes one that says nothing else.
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

/// Who is told of what happens, as one JSON object each; both may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnEvent {
    /// Run for each, with the event in its environment; empty: none.
    pub command: Vec<OsString>,
    /// A line is appended for each.
    pub file: Option<PathBuf>,
    /// Only these; empty: all.
    pub events: Vec<EventKind>,
}

/// One program to be kept running.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// Unique in the bundle.
    pub name: String,
    /// Program and arguments, never empty; never joined or split.
    pub command: Vec<OsString>,
    /// Where it starts; `None`: where the init was started.
    pub working_directory: Option<PathBuf>,
    /// Which variables it gets.
    pub environment: Environment,
    /// Who it runs as.
    pub identity: Identity,
    /// The file mode creation mask, umask(2).
    pub umask: Option<u32>,
    /// Limits in the file's order, setrlimit(2).
    pub rlimits: Vec<ResourceLimit>,
    /// The nice value, -20 to 19, setpriority(2).
    pub nice: Option<i8>,
    /// How much the kernel prefers it when memory runs out, -1000 to 1000, proc(5).
    pub oom_score_adj: Option<i16>,
    /// `PR_SET_NO_NEW_PRIVS`: no setuid program can raise it again.
    pub no_new_privileges: bool,
    /// The capabilities it loses, bit n for capability n, capabilities(7).
    pub drop_capabilities: u64,
    /// The signal it gets when the init dies, `PR_SET_PDEATHSIG`.
    pub parent_death_signal: Option<Signal>,
    /// What asks it to end.
    pub stop_signal: Signal,
    /// How long it may take to end, within the bundle's grace; `None`: all that is left of it.
    pub grace: Option<Duration>,
    /// What its exit means for the bundle.
    pub on_exit: OnExit,
    /// The exit codes that count as success (128 + n for signal n). Success ends a bundle with 0.
    pub success_codes: Vec<u8>,
    /// What becomes of its output.
    pub log: LogMode,
    /// What happens when nobody takes its output away fast enough.
    pub log_full: LogFull,
    /// Whether it keeps running.
    pub kind: ServiceType,
    /// The names of those that have to be ready before it starts.
    pub after: Vec<String>,
    /// Those without which it does not run; it comes after them, too.
    pub requires: Vec<String>,
    /// What it does when one that it requires has ended.
    pub when_required_exits: WhenRequiredExits,
    /// How it becomes ready; `None`: by being started.
    pub readiness: Option<health_check::Readiness>,
    /// How long it may take to become ready; a oneshot, to end.
    pub start_timeout: Option<Duration>,
    /// How one can tell that it is still well.
    pub liveness: Option<health_check::Check>,
    /// How long it may be silent, once it is ready; it says `WATCHDOG=1`, sd_notify(3).
    pub watchdog: Option<Duration>,
    /// Whether it starts again after its end.
    pub restart: RestartPolicy,
    /// What asks it to end, in place of the stop signal.
    pub stop_command: Option<Vec<OsString>>,
    /// How long it is left alone after it was marked as not ready, before it is asked to end.
    pub drain: Duration,
    /// Where the init waits for connections on its behalf.
    pub listen: Vec<listen::Listen>,
    /// How many of it there are; `None`: it is itself.
    pub instances: Option<instances::Instances>,
    /// The service of which it is an instance.
    pub instance_of: Option<String>,
}

impl Service {
    /// A service that runs this program with these arguments, as a file makes one that says nothing
    /// else.
    pub fn new<C>(name: impl Into<String>, command: C) -> Service
    where
        C: IntoIterator<Item: Into<OsString>>,
    {
        let command = command.into_iter().map(Into::into).collect();
        Service { name: name.into(), command, ..Service::default() }
    }
}

/// As a service is that only names its command.
impl Default for Service {
    fn default() -> Service {
        Service {
            name: String::new(),
            command: Vec::new(),
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

impl Service {
    /// Whether it leaves its order among the others to the file.
    pub fn names_nobody(&self) -> bool {
        self.after.is_empty() && self.requires.is_empty()
    }
}

words! {
    /// What a service's exit means for the bundle.
    #[derive(Default)]
    pub enum OnExit {
        /// The bundle comes down with the service's code.
        #[default]
        Shutdown => "shutdown",
        /// The others go on; the bundle ends when none is left.
        Ignore => "ignore",
    }

    /// Whether a service keeps running.
    #[derive(Default)]
    pub enum ServiceType {
        /// It runs until it is asked to end.
        #[default]
        Daemon => "daemon",
        /// It does something once; those that come after it start when it has succeeded.
        Oneshot => "oneshot",
    }

    /// What a service does when one that it requires has ended.
    #[derive(Default)]
    pub enum WhenRequiredExits {
        /// It goes on.
        #[default]
        Keep => "keep",
        /// It is stopped.
        Stop => "stop",
        /// It is stopped, and starts again when the other is ready again.
        Restart => "restart",
    }

    /// When a service starts again that has ended without being asked to.
    #[derive(Default)]
    pub enum RestartWhen {
        /// Never.
        #[default]
        Never => "never",
        /// If it failed.
        OnFailure => "on-failure",
        /// In any case.
        Always => "always",
    }
}

/// Whether, how often and how fast a service is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// After what.
    pub when: RestartWhen,
    /// At most this often...
    pub max: u32,
    /// ...within this time. A run of this length also ends a streak of failures.
    pub within: Duration,
    /// How long to wait before the first restart of a streak; it doubles with each.
    pub delay: Duration,
    /// The longest wait.
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
    /// Whether it is for an end like this at all.
    pub fn is_wanted_after(&self, succeeded: bool) -> bool {
        match self.when {
            RestartWhen::Never => false,
            RestartWhen::OnFailure => !succeeded,
            RestartWhen::Always => true,
        }
    }
}

words! {
    /// What becomes of a service's output.
    #[derive(Default)]
    pub enum LogMode {
        /// Whole lines, each after `[name] `.
        #[default]
        Prefix => "prefix",
        /// One JSON object a line: time, service, stream, message.
        Json => "json",
        /// The service writes to the init's own stdout and stderr.
        Inherit => "inherit",
    }

    /// What happens when the reader of the init's stdout or stderr falls behind.
    #[derive(Default)]
    pub enum LogFull {
        /// The service waits in its write, as it would without an init.
        #[default]
        Block => "block",
        /// Lines are dropped and counted; the count is logged when the reader is back.
        Drop => "drop",
    }
}

/// Which variables a service gets: those of the init that match `pass` and not `drop`, then
/// those of `files`, then those of `set`; later ones replace earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Name patterns with `*`; `None` passes all.
    pub pass: Option<Vec<String>>,
    /// Name patterns with `*`.
    pub drop: Vec<String>,
    /// Files of `NAME=value` lines, read when the plan is made, and where they are named. In a
    /// bundle's file a relative one is beside that.
    pub files: Vec<(PathBuf, Place)>,
    /// Set here, in the file's order.
    pub set: Vec<(String, String)>,
}

/// Who a service runs as. All `None`: as the init does.
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
            Route::Reload => f.write_str("the bundle is read again"),
            Route::Become(signal) => write!(f, "taken as {signal}: begins the shutdown"),
            Route::Drop => f.write_str("dropped"),
        }
    }
}
