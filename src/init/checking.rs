//! How the init learns that services are ready, or no longer well: runs their checks, and
//! listens to what they say.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use mio::Interest;
use rustix::process::Pid;

use super::checks::{Blindness, Purpose, Verdict};
use super::helpers::Job;
use super::history::RELOADING;
use super::lineage::Belonging;
use super::notification::{self, Channel, Said};
use super::remnants::kill_session;
use super::starts::Refusal;
use super::token::Source;
use super::{Init, launch};
use crate::bundle::check::{Probe, Readiness};
use crate::error_text::error_text;
use crate::exit::{ExitStatus, NOT_EXECUTABLE, NOT_FOUND};
use crate::probe::{self, Outcome};
use crate::supervisor::{Event, ServiceId, State};
use crate::sys::fork::fork;

/// What a service that is being started gets to notify us by.
#[derive(Debug, Default)]
pub(super) struct Notification {
    channel: Option<Channel>,
    /// How often the service has to say that it is alive.
    watchdog: Option<Duration>,
    /// The service's end, and the number under which it expects it.
    pub(super) theirs: Option<(RawFd, OwnedFd)>,
}

impl Notification {
    pub(super) fn variables(&self) -> Vec<(OsString, OsString)> {
        let socket = self.channel.as_ref().and_then(Channel::variable);
        let socket = socket.map(|name| ("NOTIFY_SOCKET".into(), name.into()));
        let span = self.watchdog.map(|span| span.as_micros().to_string());
        let span = span.map(|span| ("WATCHDOG_USEC".into(), span.into()));
        socket.into_iter().chain(span).collect()
    }
}

impl Init {
    /// Makes what the service notifies us by, if it does.
    pub(super) fn notification(&self, id: ServiceId) -> io::Result<Notification> {
        match self.plan.bundle.services[id.0].readiness {
            Some(Readiness::Descriptor(target)) => {
                let (channel, theirs) = notification::pipe()?;
                let theirs = Some((target, theirs));
                Ok(Notification { channel: Some(channel), theirs, watchdog: None })
            }
            Some(Readiness::Systemd) => {
                let unique = format!("{}-{}", id.0, self.started.elapsed().as_nanos());
                let channel = Some(notification::socket(&unique)?);
                let watchdog = self.plan.bundle.services[id.0].watchdog;
                Ok(Notification { channel, theirs: None, watchdog })
            }
            Some(Readiness::Check(_) | Readiness::Log(_)) | None => Ok(Notification::default()),
        }
    }

    /// The service runs: what it says is for us.
    pub(super) fn listen_for(&mut self, id: ServiceId, notification: Notification) {
        if let Some(Readiness::Log(text)) = &self.plan.bundle.services[id.0].readiness {
            self.logs.watch(id, text);
        }
        let user = self.user_of(id);
        self.lineage.runs(user, &self.plan.name(id));
        let Some(channel) = notification.channel else { return };
        let token = Source::Notification(id).token();
        self.poll.registry().register(&channel, token, Interest::READABLE);
        if self.notifications.len() <= id.0 {
            self.notifications.resize_with(id.0 + 1, || None);
        }
        self.notifications[id.0] = Some(channel);
    }

    pub(super) fn check_readiness(&mut self, id: ServiceId) {
        if let Some(Readiness::Check(check)) = &self.plan.bundle.services[id.0].readiness {
            self.checks.begin(id, Purpose::Readiness, check, Instant::now());
        }
    }

    /// From here on it can be asked whether it is still well.
    pub(super) fn check_liveness(&mut self, id: ServiceId) {
        let service = &self.plan.bundle.services[id.0];
        let now = Instant::now();
        if let Some(check) = &service.liveness {
            self.checks.begin(id, Purpose::Liveness, check, now + check.period);
        }
        if let Some(span) = service.watchdog {
            self.watchdogs.begin(id, span, now);
        }
    }

    /// The service has ended: nothing is to be asked of it any more.
    pub(super) fn end_checks(&mut self, id: ServiceId) {
        self.checks.end(id).into_iter().for_each(kill_session);
        self.helpers.take_stop_commands(id).into_iter().for_each(kill_session);
        self.watchdogs.end(id);
        self.lineage.end(id);
        if let Some(slot) = self.notifications.get_mut(id.0) {
            *slot = None;
        }
    }

    pub(super) fn end_all_checks(&mut self) {
        self.checks.end_all().into_iter().for_each(kill_session);
        self.watchdogs.end_all();
    }

    /// Why its checks fail, as the end of a sentence.
    pub(super) fn complaint(&self, id: ServiceId) -> String {
        let reason = self.checks.complaint(id).or_else(|| self.checks.blindness(id));
        reason.map_or_else(String::new, |reason| format!(": {reason}"))
    }

    pub(super) fn check_went_on(&mut self, id: ServiceId, purpose: Purpose) {
        let mut verdicts = Vec::new();
        self.checks.advance(id, purpose, Instant::now(), &mut verdicts);
        self.heed(verdicts);
    }

    pub(super) fn run_due_checks(&mut self, now: Instant) {
        if self.checks.deadline().is_some_and(|deadline| deadline <= now) {
            let verdicts = self.checks.tick(now, self.poll.registry());
            self.heed(verdicts);
        }
        for (id, span) in self.watchdogs.take_silent(now) {
            let span = humantime::format_duration(span);
            self.checks.complain(id, format!("no WATCHDOG=1 within {span}"));
            self.facts.push(Event::Unhealthy(id));
        }
    }

    fn heed(&mut self, mut verdicts: Vec<Verdict>) {
        while let Some(verdict) = verdicts.pop() {
            match verdict {
                Verdict::Passed(id, _) => self.facts.push(Event::Ready(id)),
                Verdict::Failed(id, ..) => self.facts.push(Event::Unhealthy(id)),
                Verdict::Kill(pid) => kill_session(pid),
                Verdict::Blind(id, blindness) => self.could_not_check(id, blindness),
                Verdict::Run(id, purpose) => {
                    let Some(probe) = self.checks.probe(id, purpose).cloned() else { continue };
                    let job = Job::Check(id, purpose);
                    let started = match &probe {
                        Probe::Exec(command) => self.run_helper(id, command, job),
                        _ => self.try_in_child(&probe, job),
                    };
                    let (started, now) = (started.map_err(Outcome::NoResult), Instant::now());
                    self.checks.child_started((id, purpose), started, now, &mut verdicts);
                }
            }
        }
    }

    /// How the service is can't be told, which is not its fault. So its start may take longer, until
    /// it can be told; but not for ever, for what lacks may be what the check itself names.
    fn could_not_check(&mut self, id: ServiceId, blindness: Blindness) {
        let Blindness { reason, since, known_at } = blindness;
        if let Some(reason) = reason {
            self.say_of(id, &format!("could not be checked, which counts for nothing: {reason}"));
        }
        let start_timeout = self.plan.policy.services[id.0].start_timeout.unwrap_or_default();
        let is_starting = matches!(self.supervisor.state(id), State::Running { ready: false, .. });
        if is_starting && known_at < since + 2 * start_timeout {
            let now = Instant::now();
            self.facts.push(Event::Extended(id, known_at.saturating_duration_since(now)));
        }
    }

    /// Runs a command as the service is run, with its output thrown away.
    fn run_helper(&mut self, id: ServiceId, command: &[OsString], job: Job) -> Result<Pid, String> {
        let failed = |error: io::Error| error_text(&error);
        let mut launch = launch::launch(&self.plan, id, command, &[])?;
        let (input, output) = (self.empty_input().map_err(failed)?, no_output().map_err(failed)?);
        launch.standard = [Some(input.as_fd()), Some(output.as_fd()), Some(output.as_fd())];
        let program = command.first().map_or(std::ffi::OsStr::new(""), |program| program);
        let (pid, start) = launch::start(launch, program).map_err(|(_, reason)| reason)?;
        self.starts.insert(pid, start);
        self.helpers.insert(pid, job);
        Ok(pid)
    }

    /// Has a child look at a path, which may be on a file system that does not answer.
    fn try_in_child(&mut self, probe: &Probe, job: Job) -> Result<Pid, String> {
        let pid = fork(&[], || probe::try_path(probe)).map_err(|error| error_text(&error))?;
        self.helpers.insert(pid, job);
        Ok(pid)
    }

    pub(super) fn run_stop_command(&mut self, id: ServiceId) {
        if self.processes.get(id).is_none() {
            return;
        }
        let command = self.plan.bundle.services[id.0].stop_command.clone().unwrap_or_default();
        if let Err(reason) = self.run_helper(id, &command, Job::StopCommand(id)) {
            self.stop_command_refused(id, &reason);
            self.facts.push(Event::StopCommandFailed(id));
        }
    }

    fn stop_command_refused(&mut self, id: ServiceId, reason: &str) {
        self.say_of(id, &format!("has a stop-command that can't be run: {reason}"));
    }

    /// One was reaped; its program may not even have been executed.
    pub(super) fn helper_ended(&mut self, pid: Pid, status: ExitStatus, refusal: Option<Refusal>) {
        match self.helpers.remove(pid) {
            Some(Job::Check(id, purpose)) => {
                let Some(probe) = self.checks.probe(id, purpose) else { return };
                let outcome = outcome(probe, status, refusal);
                let (mut verdicts, now) = (Vec::new(), Instant::now());
                self.checks.child_ended((id, purpose), pid, outcome, now, &mut verdicts);
                self.heed(verdicts);
            }
            Some(Job::StopCommand(id)) if status != ExitStatus::Code(0) => {
                match refusal {
                    Some((_, reason)) => self.stop_command_refused(id, &reason),
                    None => self.say_of(id, &format!("has a stop-command that {status}")),
                }
                self.facts.push(Event::StopCommandFailed(id));
            }
            Some(Job::StopCommand(_)) | None => {}
        }
    }

    /// Services that have written the line that says that they are ready.
    pub(super) fn hear_logs(&mut self) {
        for id in self.logs.take_heard() {
            self.learn_start_of(id);
            self.facts.push(Event::Ready(id));
        }
    }

    pub(super) fn read_notifications(&mut self, id: ServiceId) {
        if self.notifications.get(id.0).is_none_or(Option::is_none) {
            return;
        }
        self.learn_start_of(id);
        let Some(Some(channel)) = self.notifications.get(id.0) else { return };
        let mut heard = channel.read();
        // The poll is edge-triggered: what is left would never be reported again.
        for _ in 0..MOST_READS {
            if !heard.more {
                break;
            }
            let next = channel.read();
            heard.said.extend(next.said);
            heard.more = next.more;
            heard.ended |= next.ended;
            heard.failed |= next.failed;
        }
        if heard.failed {
            self.poll.registry().look_again(Source::Notification(id).token());
        }
        if heard.more && !self.talkative.contains(&id) {
            self.talkative.push(id);
        }
        if heard.ended {
            self.notifications[id.0] = None;
        }
        // Whoever says much is looked at once.
        let mut known = BTreeMap::new();
        let (mut proofs, mut last_main) = (0, None);
        for (sender, said) in heard.said {
            // Whoever has the other end of the pipe may write into it.
            let Some(sender) = sender else {
                self.heed_said(id, said);
                continue;
            };
            let belonging = sender.pid.map_or(Belonging::Foreign, |pid| {
                *known.entry(pid).or_insert_with(|| self.belonging(id, pid))
            });
            match self.may_say(id, (sender, belonging), &said) {
                true => match said {
                    Said::MainProcess(pid) if proofs < MOST_PROOFS => {
                        proofs += 1;
                        self.main_process_is(id, pid, sender);
                    }
                    Said::MainProcess(pid) => last_main = Some((pid, sender)),
                    said => self.heed_said(id, said),
                },
                false => {
                    let pid = sender
                        .pid
                        .map_or("without a number here".to_owned(), |pid| pid.to_string());
                    self.do_not_heed(
                        id,
                        &format!(
                            "is spoken for by process {pid}, which is not known to be its own"
                        ),
                    );
                }
            }
        }
        if let Some((pid, sender)) = last_main {
            self.main_process_is(id, pid, sender);
        }
    }

    fn heed_said(&mut self, id: ServiceId, said: Said) {
        let now = Instant::now();
        match said {
            Said::Ready => {
                self.history.does(id, None);
                self.facts.push(Event::Ready(id));
            }
            Said::Extend(span) => self.facts.push(Event::Extended(id, span)),
            Said::Dead => {
                self.checks.complain(id, "it says so itself".to_owned());
                self.facts.push(Event::Unhealthy(id));
            }
            Said::Status(text) => self.history.said(id, text),
            Said::Alive => self.watchdogs.is_alive(id, now),
            Said::Watchdog(span) => self.watchdogs.change(id, span, now),
            Said::Reloading => self.history.does(id, Some(RELOADING)),
            Said::Stopping => self.history.does(id, Some("stopping by itself")),
            // Only a sender whom the kernel names can say that.
            Said::MainProcess(_) => {}
        }
    }
}

/// What an attempt of a child's came to.
fn outcome(probe: &Probe, status: ExitStatus, refusal: Option<Refusal>) -> Outcome {
    match (probe, status, refusal) {
        // The program is not there, or can't be executed; everything else is about us.
        (_, _, Some((NOT_FOUND | NOT_EXECUTABLE, reason))) => Outcome::Failed(reason),
        (_, _, Some((_, reason))) => Outcome::NoResult(reason),
        (Probe::Exec(_), ExitStatus::Code(0), None) => Outcome::Passed,
        (Probe::Exec(_), status, None) => Outcome::Failed(format!("its command {status}")),
        (probe, ExitStatus::Code(number), None) => probe::outcome_of_path(probe, number),
        // It was our own child, which ends by no signal unless somebody sends one.
        (_, status, None) => Outcome::NoResult(format!("the process that looked {status}")),
    }
}

/// How often a service's messages are read before others have their turn, whatever they say.
const MOST_READS: usize = 64;
/// How many processes that are said to be its main one are looked at in one go; of more it is the
/// last. Each takes the kernel a while, and a service may name as many as it likes.
const MOST_PROOFS: usize = 16;

pub(super) fn no_output() -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};
    let null = open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    let fd = null.or_else(|_| {
        let ends = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        ends.map(|(_, writer)| writer)
    })?;
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?)
}
