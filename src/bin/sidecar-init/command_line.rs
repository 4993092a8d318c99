//! The command line as tables, for the parser, `--help` and shell completion.

use self::Subcommand::{
    Check, Command, Events, Graph, Health, Help, Logs, Metrics, Reload, Restart, Run, Shutdown,
    Signal, Start, Status, Stop, Timeline, Wait,
};

/// The meaning of the first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subcommand {
    /// Not a subcommand: one command is run.
    Command,
    Run,
    Check,
    Status,
    Health,
    Start,
    Stop,
    Restart,
    Signal,
    Reload,
    Wait,
    Logs,
    Events,
    Graph,
    Timeline,
    Metrics,
    Shutdown,
    Help,
}

/// The setting of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    Grace,
    Remap,
    TerminationLog,
    Quiet,
    Group,
    Map,
    ParentDeathSignal,
    File,
    Only,
    Log,
    ReadyFile,
    Json,
    Watch,
    NoWait,
    Ready,
    Exited,
    Follow,
    Code,
    Timeout,
    Socket,
    Help,
    Version,
}

/// A subcommand in the help, `wait NAME`, and its description.
pub(crate) struct Form(pub(crate) Subcommand, pub(crate) &'static str, pub(crate) &'static str);

/// An option in the help, `-f, --file FILE`; its subcommands; its description. A subcommand uses the
/// first entry that matches.
pub(crate) struct Entry(
    pub(crate) Setting,
    pub(crate) &'static str,
    pub(crate) &'static [Subcommand],
    pub(crate) &'static str,
);

/// Options under a title of `--help`. Options that do not apply to all of these subcommands list
/// theirs.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) of: &'static [Subcommand],
    pub(crate) entries: &'static [Entry],
}

impl Subcommand {
    /// The subcommand with this word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        FORMS[1..].iter().find(|form| form.word() == word).map(|form| form.0)
    }

    pub(crate) fn form(self) -> &'static Form {
        FORMS.iter().find(|form| form.0 == self).unwrap_or(&FORMS[0])
    }

    /// Its options, without duplicates.
    pub(crate) fn entries(self) -> Vec<&'static Entry> {
        let mut entries = Vec::<&Entry>::new();
        for entry in GROUPS.iter().flat_map(|group| group.entries) {
            if entry.2.contains(&self) && entries.iter().all(|other| other.0 != entry.0) {
                entries.push(entry);
            }
        }
        entries
    }
}

impl Form {
    /// Its word; one command has none.
    pub(crate) fn word(&self) -> &'static str {
        match self.0 {
            Command => "",
            _ => self.1.split(' ').next().unwrap_or_default(),
        }
    }
}

impl Entry {
    /// Its letter, if it has one.
    pub(crate) fn short(&self) -> Option<char> {
        self.1.strip_prefix('-')?.chars().next().filter(|letter| *letter != '-')
    }

    /// Its name without the dashes.
    pub(crate) fn long(&self) -> &'static str {
        self.1.split(' ').find_map(|word| word.strip_prefix("--")).unwrap_or_default()
    }

    /// Whether it has this letter or name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.long() == name || self.short().is_some_and(|short| name.chars().eq([short]))
    }
}

/// Every option.
pub(crate) fn entries() -> Vec<&'static Entry> {
    GROUPS.iter().flat_map(|group| group.entries).collect()
}

/// In the order of `--help`; the first is the form without a subcommand.
pub(crate) const FORMS: &[Form] = &[
    Form(Command, "-- COMMAND [ARG]...", "Run one command."),
    Form(
        Run,
        "run [-- COMMAND [ARG]...]",
        "Run the services of a bundle's file. COMMAND starts when they are ready, gets the \
         terminal, and its exit ends the bundle.",
    ),
    Form(
        Check,
        "check [-- COMMAND [ARG]...]",
        "Print what run would do with these options, or every error in the file.",
    ),
    Form(Status, "status", "Print a table of the services."),
    Form(
        Health,
        "health",
        "Exit with 0 if every service is ready and live; otherwise print each problem and exit \
         with 1.",
    ),
    Form(Start, "start NAME...", "Start services, and wait until they are up."),
    Form(Stop, "stop NAME...", "Stop services, and wait until they have ended."),
    Form(Restart, "restart NAME...", "Stop services, start them, and wait until they are up."),
    Form(Signal, "signal NAME... SIGNAL", "Send a signal to the main processes of services."),
    Form(Reload, "reload", "Read the bundle's file again, and apply the changes."),
    Form(Wait, "wait NAME --ready|--exited", "Wait until a service is ready or has ended."),
    Form(Logs, "logs NAME", "Print the last lines of a service's output."),
    Form(Events, "events", "Print events as they happen, one JSON object per line."),
    Form(Graph, "graph", "Print the dependencies between services."),
    Form(Timeline, "timeline", "Print an SVG of when each service was started, ready and stopped."),
    Form(Metrics, "metrics", "Print metrics for Prometheus."),
    Form(Shutdown, "shutdown", "Shut the bundle down."),
    Form(Help, "help [SUBCOMMAND]", "Print how a subcommand is used."),
];

const ALL: &[Subcommand] = &[
    Command, Run, Check, Status, Health, Start, Stop, Restart, Signal, Reload, Wait, Logs, Events,
    Graph, Timeline, Metrics, Shutdown, Help,
];
/// The forms that run something, or check it.
pub(crate) const RUNNERS: &[Subcommand] = &[Command, Run, Check];
/// The subcommands for a running init.
pub(crate) const REQUESTS: &[Subcommand] = &[
    Status, Health, Start, Stop, Restart, Signal, Reload, Wait, Logs, Events, Graph, Timeline,
    Metrics, Shutdown,
];

/// In the order of `--help`.
pub(crate) const GROUPS: &[Group] = &[
    Group {
        title: "Options for one command and for run",
        of: &[Command, Run],
        entries: &[
            Entry(
                Setting::Grace,
                "--grace DURATION",
                RUNNERS,
                "how long the whole shutdown may take, at most 1h; then processes that still run \
                 are killed [default: 8s, or what FILE says] [env: SIDECAR_INIT_GRACE]",
            ),
            Entry(
                Setting::Remap,
                "--remap FROM=TO",
                &[Command, Run],
                "exit with TO in place of FROM, e.g. 143=0; may be repeated [env: \
                 SIDECAR_INIT_REMAP]",
            ),
            Entry(
                Setting::TerminationLog,
                "--termination-log FILE",
                &[Command, Run],
                "also write the closing record, or why nothing could be run, to FILE, e.g. \
                 /dev/termination-log",
            ),
            Entry(
                Setting::Quiet,
                "-q, --quiet",
                &[Command, Run],
                "log only problems and the closing record",
            ),
        ],
    },
    Group {
        title: "Options for one command",
        of: &[Command],
        entries: &[
            Entry(
                Setting::Group,
                "-g, --group",
                &[Command],
                "forward signals to the command's process group",
            ),
            Entry(
                Setting::Map,
                "--map SIGNAL=[SIGNAL]",
                &[Command],
                "forward one signal as another, or drop it: TERM=QUIT, HUP=; may be repeated. \
                 TERM and INT, and signals mapped to them, begin the shutdown; a dropped one does \
                 not",
            ),
            Entry(
                Setting::ParentDeathSignal,
                "--parent-death-signal SIGNAL",
                &[Command],
                "the signal for the command when sidecar-init dies",
            ),
        ],
    },
    Group {
        title: "Options of run and check",
        of: &[Run, Check],
        entries: &[
            Entry(
                Setting::File,
                "-f, --file FILE",
                &[Run, Check],
                "the bundle's file [default: /etc/sidecar-init/bundle.toml] [env: \
                 SIDECAR_INIT_CONFIG]",
            ),
            Entry(
                Setting::Only,
                "--only NAMES",
                &[Run, Check],
                "only these services, separated by commas",
            ),
            Entry(
                Setting::Log,
                "--log MODE",
                &[Run, Check],
                "prefix, json or inherit, for every service",
            ),
            Entry(
                Setting::ReadyFile,
                "--ready-file FILE",
                &[Run],
                "exists while every service is ready and live",
            ),
            Entry(Setting::Json, "--json", &[Check], "print the plan as JSON"),
        ],
    },
    Group {
        title: "Options to control a running bundle",
        of: REQUESTS,
        entries: &[
            Entry(
                Setting::Json,
                "--json",
                &[Status, Health, Reload, Graph],
                "print the answer as JSON",
            ),
            Entry(Setting::Watch, "-w, --watch", &[Status], "print it again at each event"),
            Entry(
                Setting::NoWait,
                "--no-wait",
                &[Start, Stop, Restart],
                "do not wait for the services",
            ),
            Entry(Setting::Ready, "--ready", &[Wait], "until it is ready"),
            Entry(Setting::Exited, "--exited", &[Wait], "until it has ended"),
            Entry(Setting::Follow, "-f, --follow", &[Logs], "print new output too"),
            Entry(Setting::Code, "--code N", &[Shutdown], "the bundle's exit code [default: 0]"),
            Entry(
                Setting::Timeout,
                "--timeout DURATION",
                &[Start, Stop, Restart, Wait],
                "how long to wait for the services [default: 1m; wait: for ever]",
            ),
            Entry(
                Setting::Timeout,
                "--timeout DURATION",
                REQUESTS,
                "how long the init may take to answer [default: 5s; reload: 1m]",
            ),
            Entry(
                Setting::Socket,
                "--socket PATH",
                REQUESTS,
                "the control socket [default: /run/sidecar-init.sock or \
                 /dev/shm/sidecar-init.sock] [env: SIDECAR_INIT_SOCKET, for run too]",
            ),
        ],
    },
    Group {
        title: "Options of all",
        of: ALL,
        entries: &[
            Entry(Setting::Help, "-h, --help", ALL, "print how it is used"),
            Entry(Setting::Version, "-V, --version", ALL, "print the version"),
        ],
    },
];
