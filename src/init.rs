//! The reactor: turns the kernel's reports into events for the core, and the core's actions into system
//! calls. It blocks only in the poll of its `EventLoop`.
//!
//! The components do not know [`Init`], and hardly each other. `Init` routes: each report goes to one
//! component, the facts that it learns go to the core, and the core's actions go to the components that
//! carry them out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use mio::Events;
use rustix::process::Pid;
use serde_json::Value;

use crate::announcement::{self, Weight};
use crate::bundle::health_check::{Probe, Purpose};
use crate::bundle::{LogMode, RestartWhen};
use crate::cgroup::OutOfMemory;
use crate::error_text::error_text;
use crate::exit::{ExitStatus, INIT_FAILED};
use crate::file::Files;
use crate::log::{Channel, Logs, TimeStamp, Voice};
use crate::plain_command::{Begun, HandOver};
use crate::plan::Plan;
use crate::probe;
use crate::protocol::{Reloaded, json, no, yes};
use crate::record::Record;
use crate::signal::Signal;
use crate::supervisor::{
    Action, Announcement, Cause, Changes, End, Event, ServiceId, State, Supervisor, Target,
};
use crate::sys::process::{become_reaper, leave_directory};
use crate::sys::{descriptors, memory, signals, threads};

mod announcer;
mod children;
mod control;
mod event_loop;
mod finish;
mod health;
mod history;
mod launch;
mod learnt;
mod options;
mod own_file;
mod reload;
mod serve;
mod suspension;
mod timer;
mod token;
mod view;

#[doc(hidden)]
pub use health::{Said, parse_notification};
pub use options::{Options, Socket};

use announcer::parent::{BundleState, Parent};
use announcer::{Announcer, is_wanted};
use children::{Children, Ended, LeftoverPolicy, Next, Owner, Role, StartFailure, lives, raw};
use control::Control;
use event_loop::EventLoop;
use finish::LastOutput;
use health::Health;
use launch::Launcher;
use learnt::{CheckRequest, Learnt, MessageKind, Remark, Scheduled};
use own_file::look_at;
use reload::Reloads;
use serve::Requested;
use token::Source;
use view::View;

const SHUTTING_DOWN: &str = "the bundle is shutting down";
const MORE_THREADS: &str = "the process has more than one thread, and an init forks; create and run it \
                            before other threads";
/// How often one turn polls at most, so that endless reports do not delay deadlines.
const MOST_POLLS: usize = 256;
/// How many zombies are reaped before signals and deadlines are handled. Very many orphans take several
/// short turns.
const MOST_REAPED: usize = 128;

/// A bundle that this process is about to run.
#[derive(Debug)]
pub struct Init {
    plan: Plan,
    options: Options,
    started: Instant,
    supervisor: Supervisor,
    /// Facts for the core's next decision.
    learnt: Learnt,
    event_loop: EventLoop,
    children: Children,
    health: Health,
    logs: Logs,
    announcer: Announcer,
    launcher: Launcher,
    reloads: Reloads,
    control: Option<Control>,
    unfinished: Unfinished,
    out_of_memory: OutOfMemory,
    /// The reason of the last failed start of a service.
    refusals: BTreeMap<ServiceId, String>,
    /// The descriptors that the one command inherits, until it runs.
    inherited: Vec<OwnedFd>,
    /// The one command, if the short way has started it.
    begun: Option<Begun>,
    /// A signal that the short way has sent it, so that the core's action for it is skipped.
    was_forwarded: Option<Signal>,
}

/// Work that was interrupted so that other work is not delayed.
#[derive(Clone, Copy, Debug, Default)]
struct Unfinished {
    reaping: bool,
    signals: bool,
    output: bool,
    reload: bool,
    /// No child is left, and the core does not know it yet.
    end: bool,
}

impl Init {
    /// Takes over the process: blocks every signal, becomes the reaper of orphans, and opens what the
    /// loop needs. Descriptors of the program stay open, but become close-on-exec: no service inherits
    /// them.
    ///
    /// # Errors
    /// If the process has more than one thread: the init forks, and the kernel would still deliver
    /// signals to the other threads. If epoll or signalfd is not available. If a socket of `listen`
    /// can't be opened.
    pub fn new(plan: Plan, mut options: Options) -> io::Result<Init> {
        if !threads::is_only_one() {
            return Err(io::Error::other(MORE_THREADS));
        }
        signals::block_all();
        signals::reset_dispositions();
        descriptors::close_on_exec();
        if !plan.is_one_command {
            descriptors::raise_limit();
            // The plan has the working directory of services. One command starts in our directory, so
            // we leave it later.
            leave_directory();
        }
        let mut learnt = Learnt::default();
        std::mem::take(&mut options.warnings).into_iter().for_each(|text| learnt.remark(text));
        if let Err(error) = become_reaper() {
            learnt.remark(format!(
                "can't become the reaper of orphans: {}; another process adopts the orphans \
                 of services, and they may outlive the shutdown",
                error_text(&error)
            ));
        }
        let launcher = Launcher::new(&plan)?;
        let started = Instant::now();
        let event_loop = EventLoop::open(started)?;
        let voice = Voice { json: plan.bundle.log == LogMode::Json, colour: options.colour };
        let sinks = Channel::BOTH.map(|channel| Source::Sink(channel).token());
        let parent = match plan.is_one_command {
            true => Parent::default(),
            false => Parent::new(options.ready_file.clone())?,
        };
        Ok(Init {
            supervisor: Supervisor::new(plan.policy.clone()),
            plan,
            options,
            started,
            learnt,
            event_loop,
            children: Children::default(),
            health: Health::new(started),
            logs: Logs::new(voice, sinks),
            announcer: Announcer::new(parent),
            launcher,
            reloads: Reloads::default(),
            control: None,
            unfinished: Unfinished::default(),
            out_of_memory: OutOfMemory::default(),
            refusals: BTreeMap::new(),
            inherited: Vec::new(),
            begun: None,
            was_forwarded: None,
        })
    }

    /// Descriptors that the one command inherits; the init keeps them open until it runs. Services of a
    /// bundle inherit none.
    ///
    /// # Errors
    /// The kernel's error; there is hardly a reason for one.
    pub fn pass_to_command(&mut self, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        for descriptor in &descriptors {
            rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
        }
        self.inherited.extend(descriptors);
        Ok(())
    }

    /// Takes over a command from the short way.
    #[doc(hidden)]
    pub fn take_over(&mut self, state: HandOver) {
        self.begun = state.begun;
        self.started = self.begun.as_ref().map_or(self.started, |begun| begun.started);
    }

    /// Runs the bundle to its end, and returns the exit code; runs nothing if the process has another
    /// thread now. From here on nothing may fail: when PID 1 exits, the kernel kills the container
    /// (pid_namespaces(7)).
    pub fn run(mut self) -> u8 {
        if !threads::is_only_one() {
            self.say(MORE_THREADS);
            self.logs.sinks.flush(self.event_loop.registry());
            return INIT_FAILED;
        }
        self.handle_remarks_and_requests();
        self.open_control();
        let received = self.begun.as_ref().and_then(|begun| begun.received);
        // Before the first start: with too little memory a command may be killed at once.
        self.out_of_memory = match &mut self.begun {
            Some(begun) => std::mem::take(&mut begun.out_of_memory),
            None => OutOfMemory::watch(),
        };
        self.decide(&[], Instant::now());
        // What has happened in the short way: an exit comes before a signal here, too.
        self.reap();
        self.decide(received.as_slice(), Instant::now());
        self.was_forwarded = None;
        let mut events = EventLoop::room();
        while self.supervisor.outcome().is_none() {
            self.turn(&mut events);
        }
        self.finish()
    }

    fn open_control(&mut self) {
        let Some(socket) = self.options.socket.clone().filter(|_| !self.plan.is_one_command) else {
            return;
        };
        let mut refusals = Vec::new();
        for path in &socket.places {
            match Control::open(path, self.event_loop.registry()) {
                Ok(control) => {
                    self.control = Some(control);
                    return self.logs.keep(self.plan.bundle.services.len());
                }
                Err(error) => refusals.push((path, error_text(&error))),
            }
        }
        for (path, error) in refusals.iter().filter(|_| socket.is_wanted) {
            let path = path.display();
            self.say(&format!("can't open the control socket {path}: {error}; running without it"));
        }
    }

    /// One turn: wait, learn, decide, act.
    fn turn(&mut self, events: &mut Events) {
        self.logs.sinks.flush(self.event_loop.registry());
        // Before the first turn too: the start timeouts run already.
        let deadline = self.deadline();
        let has_work = self.has_work();
        self.event_loop.wait(deadline, has_work, events);
        // Read the clock before the facts: a deadline counts only when every earlier event is known.
        let now = Instant::now();
        if let Some(gap) = self.event_loop.gap(now) {
            self.supervisor.put_off(gap, now);
            self.components().into_iter().for_each(|component| component.put_off(gap, now));
        }
        for id in self.health.take_unread() {
            self.read_notifications(id);
        }
        self.learn(events);
        self.look_again();
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.poll_again();
            self.pass_on_output();
            self.logs.look_ahead();
            self.poll_log_readiness();
            self.unfinished.reaping |= self.children.take_look();
        }
        let received = self.read_signals();
        self.reap();
        let registry = self.event_loop.registry();
        self.health.run_due_checks(&self.plan, registry, now, &mut self.learnt);
        self.handle_remarks_and_requests();
        self.tell_of_events(now);
        for id in self.children.take_unblocked(now) {
            self.spawn(id);
        }
        self.decide(&received, now);
        self.go_on_with_reload(now);
        self.say_rate_limited_when_due(now);
        self.pass_on_output();
        self.serve(now);
        self.tell_parent(now);
        self.handle_remarks_and_requests();
    }

    /// The components with deadlines, beside the core and the poll.
    fn components(&mut self) -> Vec<&mut dyn Scheduled> {
        let control = self.control.as_mut().map(|control| control as &mut dyn Scheduled);
        let others: [&mut dyn Scheduled; 4] =
            [&mut self.children, &mut self.health, &mut self.announcer, &mut self.reloads];
        others.into_iter().chain(control).collect()
    }

    /// When the next work is due.
    fn deadline(&mut self) -> Option<Instant> {
        let own = [self.supervisor.deadline(), self.event_loop.poll.deadline()];
        let others = self.components().into_iter().map(|component| component.deadline());
        own.into_iter().chain(others).flatten().min()
    }

    /// Whether there is work that needs no report.
    fn has_work(&self) -> bool {
        let Unfinished { reaping, signals, output, reload, end } = self.unfinished;
        let is_told = self.health.has_unread() || !self.learnt.facts.is_empty() || end;
        let is_asked =
            self.announcer.is_due() || self.control.as_ref().is_some_and(Control::has_work);
        reaping || signals || output || reload || is_told || is_asked
    }

    /// Forwards the services' output, and checks it for readiness.
    fn pass_on_output(&mut self) {
        self.unfinished.output = self.logs.pump(self.event_loop.registry());
        self.poll_log_readiness();
    }

    /// Services that have written their readiness line.
    fn poll_log_readiness(&mut self) {
        for id in self.logs.take_heard() {
            self.note_spawned_first(id);
            self.learnt.facts.push(Event::Ready(id));
        }
    }

    /// Handles the reports of the poll.
    fn learn(&mut self, events: &Events) {
        for event in events {
            self.dispatch(Source::of(event.token()));
        }
    }

    fn dispatch(&mut self, source: Source) {
        match source {
            Source::Signals => self.unfinished.signals = true,
            Source::Timer => self.event_loop.timer.expired(),
            Source::Start(pid) => {
                if let Some(pid) = Pid::from_raw(pid) {
                    self.start_progressed(pid);
                }
            }
            Source::Reload => self.unfinished.reload = self.reloads.read(),
            Source::Process(id) => self.reap_service(id),
            Source::Stream(place) => self.logs.readable(place),
            Source::Sink(channel) => self.logs.sinks.writable(channel, self.event_loop.registry()),
            Source::Check(id, purpose) => {
                self.health.checks.connection_progressed(
                    (id, purpose),
                    &self.plan,
                    &mut self.learnt,
                );
                self.handle_remarks_and_requests();
            }
            Source::Notification(id) => self.read_notifications(id),
            Source::Listener => {
                if let Some(control) = &mut self.control {
                    control.listener_readable();
                }
            }
            Source::Client(number) => {
                if let Some(control) = &mut self.control {
                    control.client_ready(number);
                }
            }
        }
    }

    /// Handles everything that has arrived since the poll, without waiting.
    fn poll_again(&mut self) {
        let mut events = EventLoop::room();
        for _ in 0..MOST_POLLS {
            let more = self.event_loop.look(&mut events);
            self.learn(&events);
            if !more {
                return;
            }
        }
    }

    /// Retries descriptors that epoll could not watch, and failed handling, until it works.
    fn look_again(&mut self) {
        for token in self.event_loop.poll.take_due(Instant::now()) {
            let source = Source::of(token);
            // Register first, so that no event is missed in between. Sources that have ended are
            // skipped.
            if let Some(fd) = self.descriptor(source) {
                source.register(&fd, self.event_loop.registry());
            }
            self.dispatch(source);
            // The missed event may be SIGCHLD.
            self.unfinished.reaping |= source == Source::Signals;
        }
        if let Some(error) = self.event_loop.poll.take_refusal() {
            let error = error_text(&error);
            self.say(&format!(
                "epoll_ctl(2): {error}; polling what the kernel can't watch ten times a second"
            ));
        }
    }

    fn descriptor(&self, source: Source) -> Option<RawFd> {
        match source {
            Source::Signals => Some(self.event_loop.signals.as_raw_fd()),
            // The poll's own timeout replaces it.
            Source::Timer => None,
            Source::Start(pid) => self.children.start_descriptor(pid),
            Source::Reload => self.reloads.descriptor(),
            Source::Process(id) => self.children.descriptor(id),
            Source::Stream(place) => self.logs.stream_descriptor(place),
            Source::Sink(channel) => self.logs.sinks.descriptor(channel),
            Source::Check(id, purpose) => self.health.checks.descriptor((id, purpose)),
            Source::Notification(id) => self.health.notification_descriptor(id),
            Source::Listener => self.control.as_ref().map(|control| control.descriptor()),
            Source::Client(number) => self.control.as_ref()?.client_descriptor(number),
        }
    }

    fn read_signals(&mut self) -> Vec<Signal> {
        if !self.unfinished.signals {
            return Vec::new();
        }
        let (received, has_child, more) = self.event_loop.read_signals();
        self.unfinished.signals = more;
        self.unfinished.reaping |= has_child && !self.children.looks_later();
        received
    }

    /// Tells the core all facts. Exits come before signals: a service that has ended by now did so
    /// before the signal was handled. Everything that happened before `now` is included.
    fn decide(&mut self, received: &[Signal], now: Instant) {
        let mut actions = Vec::new();
        for event in std::mem::take(&mut self.learnt.facts) {
            self.supervisor.handle(event, now, &mut actions);
        }
        if std::mem::take(&mut self.unfinished.end) {
            // Exits are announced first: a child may have to report them.
            self.execute(std::mem::take(&mut actions), now);
            if !self.announcer.is_due() {
                self.supervisor.handle(Event::TreeEmpty, now, &mut actions);
            }
        }
        for signal in received {
            if *signal == Signal::CONT
                && let Some(terminal) = &self.launcher.terminal
            {
                terminal.after_continue();
            }
            self.supervisor.handle(Event::Signaled(*signal), now, &mut actions);
        }
        self.supervisor.tick(now, &mut actions);
        self.execute(actions, now);
    }

    /// Carries out the core's actions.
    fn execute(&mut self, actions: Vec<Action>, now: Instant) {
        for action in actions {
            match action {
                Action::Spawn(id) => {
                    let name = self.plan.name(id);
                    if !self.children.defer_start(id, &name, Instant::now()) {
                        self.spawn(id);
                    }
                }
                Action::CancelStart(id) => {
                    if self.children.cancel_start(id) {
                        self.learnt.facts.push(Event::SpawnFailed(id, INIT_FAILED));
                    }
                }
                Action::Signal(id, signal, target) => self.signal(id, signal, target),
                Action::RunStopCommand(id) => self.run_stop_command(id),
                Action::Kill(id) => {
                    self.signal(id, Signal::KILL, Target::Process);
                    self.signal(id, Signal::KILL, Target::Group);
                }
                // The same batch of facts may have shown that no process is left.
                Action::TerminateRest if self.supervisor.outcome().is_some() => {}
                Action::TerminateRest => {
                    if !self.children.has_services() {
                        self.announcer.pause(Instant::now());
                    }
                    if self.children.terminate_rest() {
                        self.note_tree_empty();
                    }
                }
                Action::KillAll => {
                    self.announcer.give_up(Instant::now(), &mut self.learnt);
                    self.children.kill_all(&self.plan, &mut self.learnt);
                }
                Action::Reload => {
                    // It logs its result.
                    self.begin_reload(&[], now);
                }
                Action::CancelReload => {
                    self.reloads.cancel();
                    self.go_on_with_reload(now);
                }
                // The service has ended in this turn already: nothing would end its checks.
                Action::CheckReadiness(id) | Action::CheckLiveness(id)
                    if self.children.main(id).is_none() => {}
                Action::CheckReadiness(id) => {
                    self.health.check_readiness(&self.plan, id, Instant::now());
                }
                Action::CheckLiveness(id) => {
                    self.health.check_liveness(&self.plan, id, Instant::now());
                }
                Action::EndChecks => {
                    self.children.end_checks();
                    self.health.end_checks();
                }
                Action::Announce(announcement) => self.announce(&announcement),
            }
            self.handle_remarks_and_requests();
        }
    }

    fn signal(&mut self, id: ServiceId, signal: Signal, target: Target) {
        if self.was_forwarded.take_if(|forwarded| *forwarded == signal).is_some() {
            return;
        }
        self.children.signal_or_say(&self.plan, (id, signal, target), &mut self.learnt);
    }

    fn spawn(&mut self, id: ServiceId) {
        match self.begun.take() {
            Some(begun) => self.adopt(id, begun),
            None => match self.try_spawn(id) {
                Ok(pid) => self.launcher.started(&self.plan, id, pid),
                Err(failure) => self.start_failed(id, failure),
            },
        }
        if let Some(error) = self.children.take_pidfd_refusal()
            && !self.options.quiet
        {
            let error = error_text(&error);
            self.say(&format!("pidfd_open(2): {error}; using SIGCHLD instead"));
        }
    }

    /// Enters the command that the short way has started.
    fn adopt(&mut self, id: ServiceId, begun: Begun) {
        self.was_forwarded = begun.received.filter(|_| begun.was_forwarded);
        let (pid, executed_at) = (begun.pid, begun.executed_at);
        let program = &self.plan.bundle.services[id.0].command[0];
        let ended = self.children.adopt(id, program, begun, self.event_loop.registry());
        self.children.runs(&self.plan, id);
        if let Some(at) = executed_at {
            self.exec_succeeded(id, pid, at);
        }
        if let Some(ended) = ended {
            self.child_ended(ended);
        }
        self.unfinished.reaping = true;
    }

    fn try_spawn(&mut self, id: ServiceId) -> Result<Pid, StartFailure> {
        let plan = &self.plan;
        let notification = self.health.notification(plan, id).map_err(|error| {
            let error = error_text(&error);
            StartFailure::of_init(format!("can't make its readiness channel: {error}"))
        })?;
        let theirs = notification.theirs.as_ref().map(|(target, fd)| (*target, fd.as_fd()));
        let mut descriptors =
            self.launcher.descriptors(plan, id, theirs).map_err(StartFailure::of_init)?;
        // Joining a group is slow, so only services that can restart have one.
        let group = match plan.bundle.services[id.0].restart.when {
            RestartWhen::Never => None,
            _ => self.children.control_group(&plan.name(id)),
        };
        let outputs = std::mem::take(&mut descriptors.outputs);
        let mut launch = self
            .launcher
            .service(plan, id, &descriptors, notification.variables())
            .map_err(StartFailure::of_init)?;
        launch.control_group = group.as_ref().map(AsFd::as_fd);
        let service = &plan.bundle.services[id.0];
        let registry = self.event_loop.registry();
        let pid = self.children.spawn_service(id, launch, &service.command[0], registry)?;
        for (channel, pipe) in outputs {
            let token = |place| Source::Stream(place).token();
            self.logs.attach(id, service, channel, pipe, registry, token);
        }
        if let Some(crate::bundle::health_check::Readiness::Log(text)) = &service.readiness {
            self.logs.watch(id, text);
        }
        self.children.runs(plan, id);
        self.health.listen(id, notification, registry);
        Ok(pid)
    }

    /// The poll has reported progress of this start.
    fn start_progressed(&mut self, pid: Pid) {
        if let Some(id) = self.children.take_executed(pid) {
            self.exec_succeeded(id, pid, Instant::now());
        }
    }

    /// Makes sure that `Spawned` is noted before other facts about this service.
    fn note_spawned_first(&mut self, id: ServiceId) {
        if let Some(pid) = self.children.main(id) {
            self.start_progressed(pid);
        }
    }

    /// The service's program runs in this process.
    fn exec_succeeded(&mut self, id: ServiceId, pid: Pid, at: Instant) {
        self.announcer.history.started(id, at);
        if self.plan.is_one_command {
            self.release_inherited();
        }
        // The pipe is also closed when the process dies before exec. So a service that was stopped and
        // has ended may never have run its program.
        if matches!(self.supervisor.state(id), State::Spawning { .. }) || lives(pid) {
            self.announce(&Announcement::Started(id, raw(pid)));
        }
        self.learnt.facts.push(Event::Spawned(id));
    }

    /// The start has failed.
    fn start_failed(&mut self, id: ServiceId, StartFailure { code, reason }: StartFailure) {
        let text = match self.plan.is_one_command {
            true => reason.clone(),
            false => format!("service \"{}\": {reason}", self.plan.name(id)),
        };
        self.announce(&Announcement::StartFailed(id, code, text));
        self.refusals.insert(id, reason);
        self.learnt.facts.push(Event::SpawnFailed(id, code));
    }

    /// The inherited descriptors are the command's now; if the init kept them, pipes would stay open
    /// and file systems busy (<https://github.com/openSUSE/catatonit/issues/28>).
    fn release_inherited(&mut self) {
        descriptors::close(std::mem::take(&mut self.inherited));
        // Stderr stays open for the record.
        descriptors::empty_input_and_output();
        leave_directory();
    }

    fn try_in_child(
        &mut self,
        id: ServiceId,
        purpose: Purpose,
        probe: &Probe,
    ) -> Result<Pid, String> {
        let role = Role::Check(id, purpose);
        match probe {
            Probe::Exec(command) => self.run_helper(id, command, role),
            // It may be on a file system that does not answer.
            _ => self
                .children
                .fork_helper(role, None, || probe::try_path(probe))
                .map_err(|error| error_text(&error)),
        }
    }

    /// Runs a command with the service's settings, without its output.
    fn run_helper(
        &mut self,
        id: ServiceId,
        command: &[std::ffi::OsString],
        role: Role,
    ) -> Result<Pid, String> {
        let nothing = self.launcher.nothing()?;
        let launch = Launcher::helper(&self.plan, id, command, &nothing)?;
        let program = command.first().map(|program| &**program).unwrap_or_default();
        self.children.spawn_helper(role, launch, program)
    }

    fn run_stop_command(&mut self, id: ServiceId) {
        if self.children.main(id).is_none() {
            return;
        }
        let command = self.plan.bundle.services[id.0].stop_command.clone().unwrap_or_default();
        if let Err(reason) = self.run_helper(id, &command, Role::StopCommand(id)) {
            self.stop_command_failed(id, &format!("can't be run: {reason}"));
        }
    }

    fn stop_command_failed(&mut self, id: ServiceId, how: &str) {
        self.learnt.remark_of(id, format!("has a stop-command that {how}"));
        self.learnt.facts.push(Event::StopCommandFailed(id));
    }

    fn read_notifications(&mut self, id: ServiceId) {
        if self.health.listens_to(id) {
            self.note_spawned_first(id);
            let (registry, children) = (self.event_loop.registry(), &mut self.children);
            self.health.read(id, &self.plan, registry, children, &mut self.learnt);
            self.handle_remarks_and_requests();
        }
    }

    /// The pidfd reports that the service's process has ended. The poll reports in the order of the
    /// deaths, and a wait for any child does not: so the first service to fail is known.
    fn reap_service(&mut self, id: ServiceId) {
        // It may have sent MAINPID before it ended.
        self.read_notifications(id);
        let leave = if self.supervisor.ends_with_its_rest(id) {
            LeftoverPolicy::Kill
        } else if self.plan.is_one_command || self.supervisor.shutdown_deadline().is_some() {
            LeftoverPolicy::Ignore
        } else {
            LeftoverPolicy::KillAtNextRun
        };
        let ended = self.children.reap_service(&self.plan, id, leave, &mut self.learnt);
        // Its orphans became our children at its death.
        self.unfinished.reaping |= ended.is_none() || !self.children.look_later();
        if let Some(ended) = ended {
            self.child_ended(ended);
        }
    }

    /// Reaps a batch of ended children.
    fn reap(&mut self) {
        self.unfinished.reaping |= std::mem::take(&mut self.learnt.may_be_the_end);
        if !std::mem::take(&mut self.unfinished.reaping) {
            return;
        }
        if let Some(terminal) = &self.launcher.terminal {
            terminal.after_child_signal();
        }
        let mut has_polled = false;
        for _ in 0..MOST_REAPED {
            match self.children.reap_next(&self.plan, &mut self.learnt) {
                Next::Ended(ended) => self.child_ended(*ended),
                Next::Service(id) => {
                    // It has ended since the poll, and perhaps another one before it: wait(2) does not
                    // give the order, but the poll does.
                    if !std::mem::replace(&mut has_polled, true) {
                        self.poll_again();
                    }
                    self.reap_service(id);
                }
                Next::Nothing => return,
                Next::NoChildren => return self.note_tree_empty(),
                // SIGCHLD has reported it, and will not come again.
                Next::Failed => {
                    return self.event_loop.registry().look_again(Source::Signals.token());
                }
            }
        }
        self.unfinished.reaping = true;
    }

    /// No process is left below the init, unless an event must still be written.
    fn note_tree_empty(&mut self) {
        self.unfinished.end = !self.announcer.is_due();
    }

    fn child_ended(&mut self, Ended { pid, owner, status, failure, had_started }: Ended) {
        let now = Instant::now();
        match owner {
            Owner::Service(id) => {
                if had_started {
                    self.exec_succeeded(id, pid, now);
                }
                self.service_ended(id, status, failure);
            }
            Owner::Helper(Role::Check(id, purpose)) => {
                let ended = (pid, status, failure);
                self.health.checks.child_was_reaped(
                    (id, purpose),
                    ended,
                    &self.plan,
                    &mut self.learnt,
                );
            }
            Owner::Helper(Role::StopCommand(id)) if status != ExitStatus::Code(0) => {
                let how = failure.map(|failure| format!("can't be run: {}", failure.reason));
                self.stop_command_failed(id, &how.unwrap_or_else(|| status.to_string()));
            }
            Owner::Helper(Role::StopCommand(_)) => {}
            Owner::Helper(Role::Hook) => {
                self.announcer.hooks.ended(pid, status, failure, &mut self.learnt);
            }
            Owner::Helper(Role::EventWriter) => {
                self.announcer.written(&self.plan.bundle.on_event, status, &mut self.learnt);
            }
            Owner::Helper(Role::PathLookup) => {
                let (children, parent) = (&self.children, &mut self.announcer.parent);
                parent.looked_up(status, children, now, &mut self.learnt);
            }
            Owner::Helper(Role::BundleReader) => self.reloads.reaped(pid),
            Owner::Nobody => {}
        }
        self.handle_remarks_and_requests();
    }

    fn service_ended(&mut self, id: ServiceId, status: ExitStatus, failure: Option<StartFailure>) {
        self.health.end(id);
        self.launcher.ended(&self.plan, id);
        self.logs.service_ended(id, self.event_loop.registry());
        self.plan.replace(id);
        match failure {
            Some(failure) => self.start_failed(id, failure),
            None => self.learnt.facts.push(Event::Exited(id, status)),
        }
    }

    /// Logs the components' remarks, and carries out their requests for checks.
    fn handle_remarks_and_requests(&mut self) {
        for Remark { of, text, kind } in std::mem::take(&mut self.learnt.remarks) {
            let text = match of {
                Some(id) => format!("service \"{}\" {text}", self.plan.name(id)),
                None => text,
            };
            match kind {
                Some(MessageKind::MainProcess(_)) if self.options.quiet => {}
                Some(kind) => self.say_rate_limited(kind, text),
                None => self.say(&text),
            }
        }
        for request in std::mem::take(&mut self.learnt.requests) {
            match request {
                CheckRequest::Run(id, purpose, probe) => {
                    let started = self.try_in_child(id, purpose, &probe);
                    let (check, learnt) = ((id, purpose), &mut self.learnt);
                    self.health.checks.child_was_made(check, started, &self.plan, learnt);
                    self.handle_remarks_and_requests();
                }
                CheckRequest::Extend(id, span) => {
                    if matches!(self.supervisor.state(id), State::Running { ready: false, .. }) {
                        self.learnt.facts.push(Event::Extended(id, span));
                    }
                }
            }
        }
    }

    /// A log line that `--quiet` does not hide.
    fn say(&mut self, text: &str) {
        self.logs.sinks.say(text, self.event_loop.registry());
    }

    /// Logs this now, or later together with similar messages.
    fn say_rate_limited(&mut self, kind: MessageKind, text: String) {
        if let Some(text) = self.announcer.rate_limit.hear(kind, text, Instant::now()) {
            self.say(&text);
        }
    }

    /// Logs the messages whose rate limit has expired.
    fn say_rate_limited_when_due(&mut self, now: Instant) {
        if self.announcer.rate_limit.deadline().is_some_and(|deadline| deadline <= now) {
            let messages = self.announcer.rate_limit.take(Some(now));
            messages.iter().for_each(|text| self.say(text));
        }
    }

    /// Sends an event to the log, clients and hooks, and stores it.
    fn announce(&mut self, announcement: &Announcement) {
        let now = Instant::now();
        self.announcer.remember(announcement, now);
        let reason = self.reason(announcement);
        let spelled = announcement::spell(announcement, |id| self.plan.name(id), reason);
        let listeners = self.control.as_ref().map_or_else(Vec::new, Control::event_followers);
        let on_event = &self.plan.bundle.on_event;
        if let Some(mut event) = spelled.event
            && (is_wanted(on_event, event.kind) || !listeners.is_empty())
        {
            event.time = TimeStamp::default().text().to_owned();
            event.service = spelled.service.map(|id| self.plan.name(id));
            let line = json(&event);
            if is_wanted(on_event, event.kind) {
                self.announcer.hand_out(line.to_string(), on_event, &mut self.learnt);
            }
            for number in listeners {
                if let Some(control) = &mut self.control {
                    control.give(number, &line, now);
                }
            }
        }
        let is_routine_left_out = self.options.quiet || self.plan.is_one_command;
        match (spelled.text, spelled.weight) {
            (Some(_), Weight::Routine) if is_routine_left_out => {}
            (Some(text), Weight::Repeated) => {
                self.say_rate_limited(MessageKind::SignalDropped, text)
            }
            (Some(text), _) => self.say(&text),
            (None, _) => {}
        }
    }

    /// The reason for this, if the reactor knows one that the core does not.
    fn reason(&self, announcement: &Announcement) -> Option<String> {
        let failure = |id| self.health.last_failure(id).or_else(|| self.health.inconclusive(id));
        match announcement {
            Announcement::Unready(id) if self.children.is_starting(*id) => {
                Some("its command is not executed yet".to_owned())
            }
            Announcement::Unready(id) | Announcement::Unhealthy(id) => {
                failure(*id).map(str::to_owned)
            }
            _ => None,
        }
    }

    /// Starts due commands of `on-event`, and has events written.
    fn tell_of_events(&mut self, now: Instant) {
        let on_event = &self.plan.bundle.on_event;
        self.announcer.run(on_event, &mut self.children, now, &mut self.learnt);
        while let Some(event) = self.announcer.hooks.take_due() {
            let started = self.run_hook(&event);
            self.announcer.hooks.started(event, started, now, &mut self.learnt);
        }
        self.unfinished.reaping |= std::mem::take(&mut self.learnt.may_be_the_end);
        self.handle_remarks_and_requests();
    }

    fn run_hook(&mut self, event: &str) -> Result<Pid, String> {
        let nothing = self.launcher.nothing()?;
        let variable = (announcer::hooks::VARIABLE.into(), event.into());
        let launch = Launcher::hook(&self.plan, variable, &nothing)?;
        let command = &self.plan.bundle.on_event.command;
        let program = command.first().map(|program| &**program).unwrap_or_default();
        self.children.spawn_helper(Role::Hook, launch, program)
    }

    /// Notifies the parent, if it has asked for that.
    fn tell_parent(&mut self, now: Instant) {
        if !self.announcer.parent.is_wanted() {
            return;
        }
        let is_stopping = self.supervisor.shutdown_deadline().is_some();
        let bundle = BundleState {
            is_ready: !is_stopping && view::is_healthy(&self.view()),
            is_stopping,
            is_over: self.supervisor.outcome().is_some(),
        };
        self.announcer.parent.update(bundle, &mut self.children, now, &mut self.learnt);
    }

    /// The read-only view for answers.
    fn view(&self) -> View<'_> {
        View {
            plan: &self.plan,
            supervisor: &self.supervisor,
            children: &self.children,
            health: &self.health,
            history: &self.announcer.history,
            refusals: &self.refusals,
            started: self.started,
            is_told: self.learnt.facts.is_empty(),
        }
    }

    fn serve(&mut self, now: Instant) {
        let Some(mut control) = self.control.take() else { return };
        let Requested { facts, reloads, signals } =
            control.serve(self.view(), &self.logs, self.event_loop.registry(), now);
        self.control = Some(control);
        self.learnt.facts.extend(facts);
        for number in reloads {
            self.begin_reload(&[number], now);
        }
        for (number, ids, signal) in signals {
            let answer = match self.signal_all(&ids, signal) {
                Ok(()) => yes(&()),
                Err(error) => no(&error.into()),
            };
            self.send_deferred_answers(&[number], &answer, now);
        }
    }

    /// Signals all of these services for a client, or none if one does not run.
    fn signal_all(&self, ids: &[ServiceId], signal: Signal) -> Result<(), String> {
        let runs = |id: ServiceId| match self.supervisor.state(id) {
            State::Running { .. } | State::Draining { .. } | State::Stopping { .. } => {
                self.children.main(id).is_some()
            }
            _ => false,
        };
        let absent: Vec<ServiceId> = ids.iter().copied().filter(|id| !runs(*id)).collect();
        if !absent.is_empty() {
            return Err(format!("no signal was sent: {}", self.view().where_they_are(&absent)));
        }
        let (mut reached, mut refusals) = (Vec::new(), Vec::new());
        for id in ids {
            let name = self.plan.name(*id);
            match self.children.signal(*id, signal, Target::Process) {
                Ok(()) => reached.push(name),
                Err(error) => refusals.push(format!("{name}: {}", error_text(&error))),
            }
        }
        if refusals.is_empty() {
            return Ok(());
        }
        let reached = if reached.is_empty() { "nobody".to_owned() } else { reached.join(", ") };
        Err(format!("can't send {signal} to {}; it was sent to {reached}", refusals.join(", ")))
    }

    /// Starts a reload. These clients get the result; if the file can't be read now, it is also logged.
    fn begin_reload(&mut self, clients: &[usize], now: Instant) {
        let is_over = self.supervisor.shutdown_deadline().is_some();
        let begun = match &self.options.source {
            _ if self.reloads.postpone(clients) => Ok(()),
            _ if is_over => Err(SHUTTING_DOWN.to_owned()),
            None => Err("it did not come from a file".to_owned()),
            Some(source) => {
                let paths = self.launcher.sockets.paths();
                let sockets: Vec<PathBuf> = paths.map(Path::to_path_buf).collect();
                let registry = self.event_loop.registry();
                self.reloads.begin(clients, source, &sockets, &mut self.children, registry)
            }
        };
        if let Err(reason) = begun {
            self.reload_ended(clients, &Err(reason), now);
        }
    }

    /// Applies the new bundle when it is complete. If it has errors nothing changes. The core knows all
    /// facts by now, so the core and the reactor use the same ids.
    fn go_on_with_reload(&mut self, now: Instant) {
        if std::mem::take(&mut self.unfinished.reload) {
            self.unfinished.reload = self.reloads.read();
        }
        let Some((files, asked)) = self.reloads.take_answer(now) else { return };
        let files = files.map_err(|refused| {
            refused.warnings.iter().for_each(|warning| self.say(warning));
            refused.reason
        });
        let reloaded = files.and_then(|files| self.go_on_by(files)).map(|changes| {
            self.announce(&Announcement::Reloaded(changes.clone()));
            announcement::changes_by_name(&changes, |id| self.plan.name(id))
        });
        self.reload_ended(&asked, &reloaded, now);
        // Parsing used much more memory than the plan needs.
        memory::give_back();
        if let Some(asked) = self.reloads.take_asked_again() {
            self.begin_reload(&asked, now);
        }
    }

    /// Sends the result to the clients, and announces an error.
    fn reload_ended(
        &mut self,
        clients: &[usize],
        reloaded: &Result<Reloaded, String>,
        now: Instant,
    ) {
        let answer = match reloaded {
            Ok(changes) => yes(changes),
            Err(reason) => {
                self.announce(&Announcement::ReloadFailed(reason.clone()));
                no(&reason.clone().into())
            }
        };
        self.send_deferred_answers(clients, &answer, now);
    }

    fn send_deferred_answers(&mut self, clients: &[usize], answer: &Value, now: Instant) {
        for number in clients {
            if let Some(control) = &mut self.control {
                control.send_deferred_answer(*number, answer, now);
            }
        }
    }

    fn go_on_by(&mut self, mut files: Files) -> Result<Changes, String> {
        if self.supervisor.shutdown_deadline().is_some() {
            return Err(SHUTTING_DOWN.to_owned());
        }
        let (source, mut warnings) = (self.options.source.clone().unwrap_or_default(), Vec::new());
        let plan = source.plan(&mut files, &mut warnings);
        warnings.iter().for_each(|warning| self.say(warning));
        let plan = plan.map_err(|refusal| refusal.reason)?;
        let (children, supervisor) = (&self.children, &self.supervisor);
        let is_alive = |id| children.main(id).is_some();
        let is_gone =
            |id| matches!(supervisor.state(id), State::Gone(End::Stopped)) && !is_alive(id);
        self.launcher.sockets.open(&plan)?;
        let changes = self.plan.reload(plan, is_alive, is_gone);
        self.launcher.sockets.close_others(&self.plan);
        for id in changes.started.iter().filter(|id| self.children.main(**id).is_none()) {
            self.announcer.history.forget(*id);
            self.health.forget(*id);
            self.logs.forget(*id);
        }
        let names: BTreeSet<String> = self.plan.names().into_iter().collect();
        self.children.keep_names(|name| names.contains(name));
        if self.control.is_some() {
            self.logs.keep(self.plan.bundle.services.len());
        }
        self.supervisor.reload(self.plan.policy.clone(), &changes, Instant::now());
        Ok(changes)
    }

    /// Writes the remaining output and the closing record.
    fn finish(mut self) -> u8 {
        if let Some(terminal) = &mut self.launcher.terminal {
            terminal.take_back();
        }
        let messages = self.announcer.rate_limit.take(None);
        messages.iter().for_each(|text| self.say(text));
        let Some(outcome) = self.supervisor.outcome() else { return INIT_FAILED };
        let code = self.options.remap.apply(outcome.code);
        let end = self.supervisor.end_at_the_latest().unwrap_or_else(Instant::now);
        let mut last = LastOutput::new(&mut self.event_loop, &mut self.logs, end);
        last.flush();
        if let Some(paths) = self.announcer.parent.rest() {
            let look = || {
                paths.iter().for_each(|path| look_at(path));
                Ok(())
            };
            if paths.is_empty() || last.do_in_child(look).is_ok() {
                self.announcer.parent.tell_rest(&mut self.learnt);
            }
        }
        let written = self.announcer.take_rest(&self.plan.bundle.on_event);
        let written =
            written.and_then(|(file, write)| Some((file, last.do_in_child(write).err()?)));
        self.announcer.rest_was_written(written, &mut self.learnt);
        self.learnt.remarks.iter().for_each(|remark| last.say(&remark.text));
        let service = match outcome.cause {
            Cause::Exited(id, _) => Some(id),
            _ => None,
        };
        let reason = match outcome.cause {
            Cause::SpawnFailed(id, _) => self.refusals.remove(&id),
            _ => None,
        };
        let mut record = Record {
            bundle: (!self.plan.is_one_command).then(|| self.plan.bundle.name.clone()),
            names: self.plan.names(),
            is_one_command: self.plan.is_one_command,
            ran: self.started.elapsed(),
            service_ran: service.and_then(|id| self.announcer.history.last_lifetime(id)),
            reason,
            out_of_memory_kills: 0,
            code,
            outcome,
        };
        if record.is_worth_a_line() || self.options.termination_log.is_some() {
            record.out_of_memory_kills = self.out_of_memory.kills();
            last.write_record(&record, self.options.termination_log.as_deref());
        }
        let own = self.control.as_mut().and_then(Control::take_file);
        last.remove(own.into_iter().chain(self.launcher.sockets.take_files()).collect());
        code
    }
}
