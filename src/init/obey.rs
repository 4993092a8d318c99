//! Carries out the core's orders.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::checking::Notification;
use super::repeats::Topic;
use super::starts::{Refusal, Start};
use super::token::Source;
use super::{Init, launch, tree};
use crate::bundle::listen::FIRST_SOCKET;
use crate::bundle::{LogMode, RestartWhen};
use crate::error_text::error_text;
use crate::exit::INIT_FAILED;
use crate::log::{self, Channel};
use crate::signal::Signal;
use crate::supervisor::{Action, Event, ServiceId, Target};
use crate::sys::{descriptors, signals};

/// Our ends of a service's output pipes, then its ends.
type Pipes = (Vec<(Channel, OwnedFd)>, [Option<OwnedFd>; 2]);

impl Init {
    pub(super) fn obey(&mut self, orders: Vec<Action>) {
        for order in orders {
            match order {
                Action::Spawn(id) => {
                    let name = self.plan.name(id);
                    if !self.remnants.hold_up(id, &name, Instant::now()) {
                        self.spawn(id);
                    }
                }
                Action::CancelStart(id) => {
                    if self.remnants.cancel(id) {
                        self.facts.push(Event::SpawnFailed(id, INIT_FAILED));
                    }
                }
                Action::Signal(id, signal, target) => self.signal(id, signal, target),
                Action::RunStopCommand(id) => self.run_stop_command(id),
                Action::Kill(id) => {
                    self.signal(id, Signal::KILL, Target::Process);
                    self.signal(id, Signal::KILL, Target::Group);
                }
                // The same batch of facts may have brought the news that there is no rest.
                Action::TerminateRest if self.supervisor.outcome().is_some() => {}
                Action::TerminateRest => {
                    if self.processes.is_empty() {
                        self.event_file.pause(Instant::now());
                    }
                    self.terminate_rest();
                }
                Action::KillAll => {
                    self.killing = true;
                    self.give_up_hooks();
                    self.event_file.pause(Instant::now());
                    self.kill_all();
                }
                // It says in the log what came of it.
                Action::Reload => drop(self.ask_for_reload(None)),
                Action::CheckReadiness(id) => self.check_readiness(id),
                Action::CheckLiveness(id) => self.check_liveness(id),
                Action::EndChecks => self.end_all_checks(),
                Action::CancelReload => self.give_up_reload(Instant::now()),
                Action::Announce(announcement) => self.note(announcement),
            }
        }
    }

    /// Starts what had to wait for its remnants.
    pub(super) fn start_held_up(&mut self, now: Instant) {
        for id in self.remnants.take_free(now) {
            self.spawn(id);
        }
    }

    fn spawn(&mut self, id: ServiceId) {
        match self.try_spawn(id) {
            Ok((pid, start)) => {
                let token = Source::Process(id).token();
                self.processes.insert(id, pid, self.poll.registry(), token);
                self.starts.watch(pid, start, self.poll.registry());
                self.after_spawn(id, pid);
            }
            Err(refusal) => self.start_failed(id, refusal),
        }
    }

    fn try_spawn(&mut self, id: ServiceId) -> Result<(Pid, Start), Refusal> {
        let failed = |reason| (INIT_FAILED, reason);
        let refused =
            |what: &str, error: io::Error| failed(format!("{what}: {}", error_text(&error)));
        let is_foreground = self.plan.foreground == Some(id);
        let notification = self
            .notification(id)
            .map_err(|error| refused("can't make its readiness channel", error))?;
        let handed_on = self
            .handed_on(id, &notification)
            .map_err(|error| refused("can't copy its sockets", error))?;
        let sockets = self.sockets.of(&self.plan, id).len();
        let more = [notification.variables(), listen_variables(sockets)].concat();
        let command = &self.plan.bundle.services[id.0].command;
        let mut launch = launch::launch(&self.plan, id, command, &more).map_err(failed)?;
        launch.more = handed_on.iter().map(|(target, fd)| (*target, fd.as_fd())).collect();
        launch.rewrite_listen_pid |= sockets > 0;
        let (ours, theirs) =
            self.pipes(id).map_err(|error| refused("can't make its output pipes", error))?;
        let input = match is_foreground {
            true => None,
            false => {
                Some(self.empty_input().map_err(|error| refused("can't open /dev/null", error))?)
            }
        };
        // Joining one takes the kernel long, so only what may run again has one.
        let door = match self.plan.bundle.services[id.0].restart.when {
            RestartWhen::Never => None,
            _ => self.remnants.door(&self.plan.name(id)),
        };
        launch.control_group = door.as_ref().map(AsFd::as_fd);
        let [stdout, stderr] = &theirs;
        launch.standard =
            [input.as_ref(), stdout.as_ref(), stderr.as_ref()].map(|fd| fd.map(OwnedFd::as_fd));
        let lent = self.terminal.as_ref().filter(|terminal| is_foreground && terminal.is_ours());
        launch.foreground_of = lent.map(AsFd::as_fd);
        let program = &self.plan.bundle.services[id.0].command[0];
        let started = launch::start(launch, program)?;
        let service = &self.plan.bundle.services[id.0];
        for (channel, pipe) in ours {
            let registry = self.poll.registry();
            let token = |place| Source::Stream(place).token();
            self.logs.attach(id, service, channel, pipe, registry, token);
        }
        self.listen_for(id, notification);
        Ok(started)
    }

    /// Copies of what the service gets beside its standard descriptors, each with the number that
    /// it has there; their own numbers are out of the way of those.
    fn handed_on(
        &self,
        id: ServiceId,
        notification: &Notification,
    ) -> io::Result<Vec<(RawFd, OwnedFd)>> {
        let theirs = notification.theirs.iter().map(|(target, fd)| (*target, fd.as_fd()));
        let sockets = self.sockets.of(&self.plan, id);
        let all: Vec<(RawFd, BorrowedFd)> = (FIRST_SOCKET..).zip(sockets).chain(theirs).collect();
        let beyond = all.iter().map(|(target, _)| target + 1).max().unwrap_or(0);
        all.into_iter()
            .map(|(target, fd)| Ok((target, rustix::io::fcntl_dupfd_cloexec(fd, beyond)?)))
            .collect()
    }

    fn after_spawn(&mut self, id: ServiceId, pid: Pid) {
        if self.plan.foreground == Some(id)
            && let Some(terminal) = &mut self.terminal
        {
            terminal.lent_to(pid);
        }
        if let Some(error) = self.processes.take_refusal() {
            let error = error_text(&error);
            if !self.options.quiet {
                self.say(&format!("pidfd_open(2): {error}; going by SIGCHLD instead"));
            }
        }
    }

    /// What was handed to the init is the command's now; holding it too would keep pipes open
    /// and file systems busy (<https://github.com/openSUSE/catatonit/issues/28>).
    pub(super) fn let_go(&mut self, id: ServiceId) {
        use std::os::fd::AsRawFd;
        let pidfd = self.processes.get(id).and_then(super::processes::Process::descriptor);
        let terminal = self.terminal.as_ref().map(|terminal| terminal.as_fd().as_raw_fd());
        let own = [self.poll.as_raw_fd(), self.signals.as_raw_fd()];
        let logs = self.logs.descriptors();
        // A command that takes its time to start has made a deadline.
        let others = pidfd.into_iter().chain(terminal).chain(self.timer.descriptor());
        let mut keep: Vec<_> = own.into_iter().chain(others).chain(logs).collect();
        descriptors::close_inherited(&mut keep);
        // Stderr stays: it is for the record.
        descriptors::empty_input_and_output();
        super::leave_directory();
    }

    fn pipes(&self, id: ServiceId) -> io::Result<Pipes> {
        let mut ours = Vec::new();
        let mut theirs = [None, None];
        if self.plan.bundle.services[id.0].log != LogMode::Inherit {
            let owner = self.plan.identities[id.0].as_ref().map(|who| (who.user, who.group));
            for channel in Channel::BOTH {
                let (our_end, their_end) = log::pipe(owner)?;
                ours.push((channel, our_end));
                theirs[channel as usize] = Some(their_end);
            }
        }
        Ok((ours, theirs))
    }

    /// `/dev/null`, or where there is none a pipe that has ended. Copied for each service.
    pub(super) fn empty_input(&mut self) -> io::Result<OwnedFd> {
        let input = match self.empty_input.take() {
            Some(input) => input,
            None => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                rustix::fs::open("/dev/null", flags, Mode::empty()).or_else(|_| {
                    let ends = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
                    ends.map(|(reader, _)| reader)
                })?
            }
        };
        let copy = rustix::io::fcntl_dupfd_cloexec(&input, 3)?;
        self.empty_input = Some(input);
        Ok(copy)
    }

    pub(super) fn signal(&mut self, id: ServiceId, signal: Signal, target: Target) {
        if let Err(error) = self.processes.signal(id, signal, target) {
            let (name, error) = (self.plan.name(id), error_text(&error));
            let text = format!("can't send {signal} to service \"{name}\": {error}");
            self.say_in_turn(Topic::SignalRefused(id), text);
        }
    }

    /// Asks what is neither a service nor a service's own child to end, with CONT for what is
    /// stopped.
    fn terminate_rest(&mut self) {
        if nothing_is_left() {
            return self.tree_is_empty();
        }
        let own = own_pid();
        let is_ours = |pid| self.processes.is_service(pid) || self.is_helper(pid);
        let Some(strays) = tree::descendants(own, is_ours) else {
            // Nothing tells who they are; with no service left they are all that there is.
            if own == 1 && self.processes.is_empty() {
                let _ = signals::kill(-1, Signal::TERM);
                let _ = signals::kill(-1, Signal::CONT);
            }
            return;
        };
        for stray in strays {
            if self.asked.insert(stray.pid, stray.started) != Some(stray.started) {
                tree::signal(stray, Signal::TERM);
                tree::signal(stray, Signal::CONT);
            }
        }
    }

    pub(super) fn kill_all(&mut self) {
        let own = own_pid();
        if own == 1 {
            if crate::cgroup::kill_all().is_err() {
                let _ = signals::kill(-1, Signal::KILL);
            }
            return;
        }
        for stray in tree::descendants(own, |_| false).unwrap_or_default() {
            tree::signal(stray, Signal::KILL);
        }
        for index in 0..self.plan.bundle.services.len() {
            self.signal(ServiceId(index), Signal::KILL, Target::Group);
            self.signal(ServiceId(index), Signal::KILL, Target::Process);
        }
    }
}

/// What tells a service of its sockets, sd_listen_fds(3). The child puts in its own pid.
fn listen_variables(sockets: usize) -> Vec<(OsString, OsString)> {
    if sockets == 0 {
        return Vec::new();
    }
    let variable = |name: &str, value: String| (name.into(), value.into());
    vec![variable("LISTEN_FDS", sockets.to_string()), variable("LISTEN_PID", String::new())]
}

/// Whether there is no child at all, dead or alive; without reaping one.
fn nothing_is_left() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::All, look), Err(rustix::io::Errno::CHILD))
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}
