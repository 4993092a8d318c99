//! The reactor: turns what the kernel reports into the core's events, and the core's orders
//! into system calls. It waits in one place only, the poll in `Init::turn`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::{Events, Interest};

use crate::cgroup::OutOfMemory;
use crate::error_text::error_text;
use crate::exit::Remap;
use crate::log::{Channel, Logs, Voice};
use crate::plan::Plan;
use crate::poll::Poll;
use crate::signal::Signal;
use crate::source::Source as BundleSource;
use crate::supervisor::{Event, ServiceId, Supervisor};
use crate::sys::descriptors;
use crate::sys::signals::{self, Received, Signals};

mod announce;
mod answer;
mod attendance;
mod checking;
mod checks;
mod control;
mod event_file;
mod finish;
mod helpers;
mod history;
mod hooks;
mod launch;
mod lineage;
mod notification;
mod obey;
mod own_file;
mod processes;
mod reap;
mod reload;
mod remnants;
mod repeats;
mod serve;
mod sockets;
mod starts;
mod terminal;
mod timer;
mod token;
mod tree;
mod upward;
mod waiting;
mod watchdogs;
mod watching;

// For the fuzz target and `tests/parsers.rs` alone, which see only what is public.
#[doc(hidden)]
pub use notification::{Said, parse as parse_notification};

use attendance::Attendance;
use checks::Checks;
use control::Control;
use event_file::EventFile;
use helpers::Helpers;
use history::History;
use hooks::Hooks;
use lineage::Lineage;
use processes::Processes;
use reload::Reloads;
use remnants::Remnants;
use repeats::Repeats;
use sockets::Sockets;
use starts::Starts;
use terminal::Terminal;
use timer::Timer;
use token::Source;
use upward::Upward;
use watchdogs::Watchdogs;

/// How many kernel reports one poll takes.
const EVENTS: usize = 64;
/// How often one turn polls again at the most: a crowd that never stops reporting does not hold
/// up what is due.
const MOST_POLLS: usize = 256;

/// How the init is to behave, apart from what it runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Exit codes to be replaced.
    pub remap: Remap,
    /// Where the closing record goes besides stderr; absolute, since the init leaves its working
    /// directory.
    pub termination_log: Option<PathBuf>,
    /// What is there while every service is ready and well.
    pub ready_file: Option<PathBuf>,
    /// Say only what went wrong, and the closing record.
    pub quiet: bool,
    /// Whether colours are welcome where the output is a terminal.
    pub colour: bool,
    /// What to read again at a reload; without it there is none.
    pub source: Option<BundleSource>,
    /// What is odd about the plan, a line each, to be said first.
    pub warnings: Vec<String>,
    /// Where to open a control socket, for a bundle.
    pub socket: Option<Socket>,
}

/// Where the control socket is to be.
#[derive(Clone, Debug)]
pub struct Socket {
    /// In the file system; the first at which it can be made.
    pub places: Vec<PathBuf>,
    /// Whether somebody asked for it; if not, it is no pity if it can't be made.
    pub is_wanted: bool,
}

/// A bundle, ready to be run by this process.
#[derive(Debug)]
pub struct Init {
    plan: Plan,
    options: Options,
    started: Instant,
    supervisor: Supervisor,
    /// What was learnt and is to be told to the core in the next turn.
    facts: Vec<Event>,
    poll: Poll,
    signals: Signals,
    timer: Timer,
    attendance: Attendance,
    processes: Processes,
    remnants: Remnants,
    /// Children that have not executed their program yet.
    starts: Starts,
    helpers: Helpers,
    lineage: Lineage,
    checks: Checks,
    watchdogs: Watchdogs,
    upward: Upward,
    /// By which services notify us, in the bundle's order.
    notifications: Vec<Option<notification::Channel>>,
    terminal: Option<Terminal>,
    sockets: Sockets,
    logs: Logs,
    /// What services have as their standard input.
    empty_input: Option<OwnedFd>,
    /// Whether waiting zombies, signals or output were left for the next turn.
    unfinished: Unfinished,
    history: History,
    hooks: Hooks,
    event_file: EventFile,
    reloads: Reloads,
    repeats: Repeats,
    control: Option<Control>,
    /// Clients that have something to say, or have room again.
    busy_clients: Vec<usize>,
    /// Services that have said more than was read in one turn.
    talkative: Vec<ServiceId>,
    /// Strays that were asked to end, so that none is asked twice, and when each has started.
    asked: BTreeMap<i32, u64>,
    killing: bool,
    out_of_memory: OutOfMemory,
    /// Why what is orphaned below goes to another process, if it does.
    orphans_are_lost: Option<io::Error>,
    /// Why each service could not be started that could not, the last time.
    refusals: BTreeMap<ServiceId, String>,
}

/// Work that was cut short so that nothing else has to wait for it.
#[derive(Clone, Copy, Debug, Default)]
struct Unfinished {
    reaping: bool,
    signals: bool,
    output: bool,
    reload: bool,
    clients: bool,
    /// Nothing is left below the init, which the core has not been told.
    end: bool,
}

impl Init {
    /// Takes over the process: blocks every signal, becomes the reaper of what is orphaned
    /// below, and opens what the loop needs. To be called while the process has one thread.
    ///
    /// # Errors
    /// If the kernel refuses what the loop can't do without: an epoll or a signalfd; or a socket
    /// that a service wants to be held for it.
    pub fn new(plan: Plan, options: Options) -> io::Result<Init> {
        signals::block_all();
        signals::reset_dispositions();
        if !plan.is_one_command {
            descriptors::close_inherited(&mut []);
            descriptors::raise_limit();
            // Nothing is to be kept busy by us; the plan knows where services start. One command
            // starts where we are, so we leave later.
            leave_directory();
        }
        let orphans_are_lost = become_reaper().err();
        let mut sockets = Sockets::default();
        sockets.open(&plan).map_err(io::Error::other)?;
        let poll = Poll::new()?;
        let signals = Signals::open()?;
        poll.registry().register(&signals, Source::Signals.token(), Interest::READABLE);
        let voice =
            Voice { json: plan.bundle.log == crate::bundle::LogMode::Json, colour: options.colour };
        let sinks = Channel::BOTH.map(|channel| Source::Sink(channel).token());
        let upward = match plan.is_one_command {
            true => Upward::default(),
            false => Upward::new(options.ready_file.clone())?,
        };
        Ok(Init {
            supervisor: Supervisor::new(plan.policy.clone()),
            terminal: plan.foreground.and_then(|_| Terminal::open()),
            plan,
            options,
            started: Instant::now(),
            facts: Vec::new(),
            poll,
            signals,
            timer: Timer::default(),
            attendance: Attendance::new(Instant::now()),
            processes: Processes::default(),
            remnants: Remnants::default(),
            starts: Starts::default(),
            helpers: Helpers::default(),
            lineage: Lineage::default(),
            checks: Checks::default(),
            watchdogs: Watchdogs::default(),
            upward,
            notifications: Vec::new(),
            sockets,
            logs: Logs::new(voice, sinks),
            empty_input: None,
            unfinished: Unfinished::default(),
            history: History::default(),
            hooks: Hooks::default(),
            event_file: EventFile::default(),
            reloads: Reloads::default(),
            repeats: Repeats::default(),
            control: None,
            busy_clients: Vec::new(),
            talkative: Vec::new(),
            asked: BTreeMap::new(),
            killing: false,
            out_of_memory: OutOfMemory::default(),
            orphans_are_lost,
            refusals: BTreeMap::new(),
        })
    }

    /// Runs the bundle to its end, and returns the code to exit with. From here on nothing may
    /// fail: if PID 1 ends, the kernel kills the container (pid_namespaces(7)).
    pub fn run(mut self) -> u8 {
        for warning in std::mem::take(&mut self.options.warnings) {
            self.say(&warning);
        }
        if let Some(error) = self.orphans_are_lost.take() {
            self.say(&format!(
                "can't become the reaper of orphans: {}; what a service leaves behind goes to \
                 another process, and may outlive the shutdown",
                error_text(&error)
            ));
        }
        self.open_control();
        // Before anything is started: with too little memory a command may be killed at once.
        self.out_of_memory = OutOfMemory::watch();
        self.decide(&[], Instant::now());
        let mut events = Events::with_capacity(EVENTS);
        while self.supervisor.outcome().is_none() {
            self.turn(&mut events);
        }
        self.finish(&mut events)
    }

    fn open_control(&mut self) {
        let Some(socket) = self.options.socket.clone().filter(|_| !self.plan.is_one_command) else {
            return;
        };
        let mut refusals = Vec::new();
        for path in &socket.places {
            match Control::open(path, self.poll.registry()) {
                Ok(control) => {
                    self.control = Some(control);
                    return self.logs.keep(self.plan.bundle.services.len());
                }
                Err(error) => refusals.push((path, error_text(&error))),
            }
        }
        for (path, error) in refusals.iter().filter(|_| socket.is_wanted) {
            let path = path.display();
            self.say(&format!("can't open the control socket {path}: {error}; going without"));
        }
    }

    /// One round: wait, learn, decide, act.
    fn turn(&mut self, events: &mut Events) {
        // Also for the first turn: what was started at the beginning has a time to start in.
        let deadline = self.deadline();
        self.attendance.leave(deadline);
        self.timer.set(deadline, self.poll.registry(), Source::Timer.token());
        self.wait(events);
        // Whose time is up by now is decided when all that happened until now is known, so the
        // clock is read before the facts are.
        let now = Instant::now();
        if let Some(gap) = self.attendance.come_back(now) {
            self.put_off(gap, now);
        }
        for id in std::mem::take(&mut self.talkative) {
            self.read_notifications(id);
        }
        self.learn(events);
        self.look_again();
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.poll_again();
            self.pass_on_output();
            self.logs.look_ahead();
            self.hear_logs();
        }
        let mut received = Vec::new();
        self.read_signals(&mut received);
        self.reap_orphans();
        self.run_due_checks(now);
        self.run_hooks(now);
        self.write_events(now);
        self.start_held_up(now);
        self.decide(&received, now);
        self.go_on_with_reload(now);
        self.say_repeats(now);
        self.pass_on_output();
        self.serve(now);
        self.tell_upward();
    }

    /// The init did not run for so long until now, and most likely nobody else did: what anybody
    /// was given time for takes so much longer.
    fn put_off(&mut self, gap: Duration, now: Instant) {
        self.supervisor.put_off(gap, now);
        self.checks.put_off(gap, now);
        self.watchdogs.put_off(gap, now);
        self.remnants.put_off(gap);
        self.hooks.put_off(gap);
        self.event_file.put_off(gap);
        self.upward.put_off(gap);
        self.reloads.put_off(gap);
        if let Some(control) = &mut self.control {
            control.put_off(gap);
        }
    }

    /// When something is to be done next, whatever happens until then.
    fn deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.supervisor.deadline(),
            self.checks.deadline(),
            self.watchdogs.deadline(),
            self.remnants.deadline(),
            self.control_deadline(),
            self.hooks.deadline(),
            self.event_file.deadline(),
            self.reloads.deadline(),
            self.repeats.deadline(),
            self.poll.deadline(),
            self.upward.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Passes on what the services have written, and takes note of who is ready by that.
    fn pass_on_output(&mut self) {
        self.unfinished.output = self.logs.pump(self.poll.registry());
        self.hear_logs();
    }

    /// Takes in what the poll has reported.
    fn learn(&mut self, events: &Events) {
        for event in events {
            self.learn_of(Source::of(event.token()));
        }
    }

    fn learn_of(&mut self, source: Source) {
        match source {
            Source::Signals => self.unfinished.signals = true,
            Source::Timer => self.timer.rang(),
            Source::Start(pid) => self.start_went_on(pid),
            Source::Reload => self.reload_went_on(),
            Source::Process(id) => self.reap_service(id),
            Source::Stream(place) => self.logs.readable(place),
            Source::Sink(channel) => self.logs.writable(channel, self.poll.registry()),
            Source::Check(id, purpose) => self.check_went_on(id, purpose),
            Source::Notification(id) => self.read_notifications(id),
            Source::Listener => self.unfinished.clients = true,
            Source::Client(number) => self.busy_clients.push(number),
        }
    }

    /// All that has come since the poll, without waiting.
    fn poll_again(&mut self) {
        let mut events = Events::with_capacity(EVENTS);
        for _ in 0..MOST_POLLS {
            // An interrupted poll has not looked at all.
            if self.poll.poll(&mut events, Some(Duration::ZERO)).is_err() {
                continue;
            }
            self.learn(&events);
            // epoll_wait(2) gives as many as there are, or as it may.
            if events.iter().count() < EVENTS {
                return;
            }
        }
    }

    /// The only place where the init waits.
    fn wait(&mut self, events: &mut Events) {
        let Unfinished { reaping, signals, output, reload, clients, end } = self.unfinished;
        let is_asked = clients || !self.busy_clients.is_empty() || self.has_events_to_tell();
        let is_told = !self.talkative.is_empty() || !self.facts.is_empty() || end;
        let at_once = reaping || signals || output || reload || is_asked || is_told;
        let timeout = if at_once { Some(Duration::ZERO) } else { self.timer.poll_timeout() };
        // EINTR is the one error that can come (epoll_wait(2)): whoever stops and continues us, or
        // traces us, causes it even with every signal blocked. What has happened meanwhile is not
        // reported then; before anything is decided by the clock, it is asked for.
        if self.poll.poll(events, timeout).is_err() {
            events.clear();
        }
    }

    /// Takes what signals are waiting, a batch at a time. SIGCHLD only says that there is
    /// something to reap; several may have become one (signal(7)).
    fn read_signals(&mut self, received: &mut Vec<Received>) {
        if !self.unfinished.signals {
            return;
        }
        self.unfinished.signals = self.signals.read(received).unwrap_or_else(|_| {
            self.poll.registry().look_again(Source::Signals.token());
            false
        });
        let own = std::process::id();
        let before = received.len();
        received.retain(|received| received.signal != Signal::CHLD);
        self.unfinished.reaping |= received.len() < before;
        // Our own write to a pipe without a reader, or our own stop for job control.
        received.retain(|received| received.sender != own);
    }

    /// Tells the core all that was learnt. Exits come before signals: a service that has ended
    /// by now did so without the signal that was only just read. All that happened before
    /// `now` is among it.
    fn decide(&mut self, received: &[Received], now: Instant) {
        let mut orders = Vec::new();
        for event in std::mem::take(&mut self.facts) {
            self.supervisor.handle(event, now, &mut orders);
        }
        if std::mem::take(&mut self.unfinished.end) {
            // What has ended is announced first: that may be told to the outside by a child.
            self.obey(std::mem::take(&mut orders));
            if !self.has_events_to_tell() {
                self.supervisor.handle(Event::TreeEmpty, now, &mut orders);
            }
        }
        for Received { signal, .. } in received {
            if *signal == Signal::CONT
                && let Some(terminal) = &self.terminal
            {
                terminal.after_continue();
            }
            self.supervisor.handle(Event::Signaled(*signal), now, &mut orders);
        }
        self.supervisor.tick(now, &mut orders);
        self.obey(orders);
    }

    /// Something an operator wants to know in any case.
    fn say(&mut self, text: &str) {
        self.logs.say(text, self.poll.registry());
    }

    /// A step in the ordinary life of a bundle. One command has none to speak of.
    fn tell(&mut self, text: &str) {
        if !self.options.quiet && !self.plan.is_one_command {
            self.say(text);
        }
    }
}

/// PID 1 is the reaper of its namespace anyway. Linux refuses it to nobody, but gVisor and qemu's
/// user mode don't know it, and then the kernel's list of our children still has all services.
fn become_reaper() -> io::Result<()> {
    if std::process::id() == 1 {
        return Ok(());
    }
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// There is always a root directory to go to; if not, nothing is lost.
fn leave_directory() {
    let _ = std::env::set_current_dir("/");
}
