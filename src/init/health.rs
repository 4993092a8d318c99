//! How the init learns that services are ready, or not live: runs their checks, and reads their
//! notifications.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::children::{Belonging, Children};
use super::learnt::{Learnt, MessageKind, Scheduled};
use super::token::Source;
use crate::bundle::health_check::{Purpose, Readiness};
use crate::plan::Plan;
use crate::poll::Registry;
use crate::supervisor::{Event, ServiceId};
use crate::sys::peer::Peer;

mod checks;
mod notification;
mod watchdogs;

// Only for the fuzz target and `tests/parsers.rs`, which can use only public items.
pub use notification::{Said, parse as parse_notification};

use checks::Checks;
use notification::Listener;
use watchdogs::Watchdogs;

/// What a service does while it reloads its configuration; it keeps serving.
pub(super) const RELOADING: &str = "reloading";
/// How many of a service's datagrams are read before other work.
const MOST_READS: usize = 64;
/// How many MAINPIDs of one batch are checked: of more only the last. Each check takes time in the
/// kernel, and a service may send many.
const MOST_PROOFS: usize = 16;

/// The descriptors for notifications of a service that is about to start.
#[derive(Debug, Default)]
pub(super) struct Notification {
    listener: Option<Listener>,
    /// The interval of its watchdog.
    watchdog: Option<Duration>,
    /// The service's end, and its number there.
    pub(super) theirs: Option<(RawFd, OwnedFd)>,
}

impl Notification {
    pub(super) fn variables(&self) -> Vec<(OsString, OsString)> {
        let socket = self.listener.as_ref().and_then(Listener::variable);
        let socket = socket.map(|name| ("NOTIFY_SOCKET".into(), name.into()));
        let span = self.watchdog.map(|span| span.as_micros().to_string());
        let span = span.map(|span| ("WATCHDOG_USEC".into(), span.into()));
        socket.into_iter().chain(span).collect()
    }
}

/// The notifications of a service in its current run.
#[derive(Debug, Default)]
struct SelfReport {
    /// `STATUS=` of sd_notify(3).
    status: Option<String>,
    /// What it does beside being ready.
    doing: Option<&'static str>,
    /// An ignored notification was logged already.
    was_doubted: bool,
}

#[derive(Debug)]
pub(super) struct Health {
    began: Instant,
    pub(super) checks: Checks,
    watchdogs: Watchdogs,
    /// The receiving ends of the services.
    listeners: BTreeMap<ServiceId, Listener>,
    reports: BTreeMap<ServiceId, SelfReport>,
    /// Services with more datagrams than were read in one turn.
    unread: BTreeSet<ServiceId>,
}

impl Health {
    pub(super) fn new(now: Instant) -> Health {
        Health {
            began: now,
            checks: Checks::default(),
            watchdogs: Watchdogs::default(),
            listeners: BTreeMap::new(),
            reports: BTreeMap::new(),
            unread: BTreeSet::new(),
        }
    }

    /// Creates the descriptors for notifications, if the service has `notify`.
    pub(super) fn notification(&self, plan: &Plan, id: ServiceId) -> io::Result<Notification> {
        let service = &plan.bundle.services[id.0];
        match service.readiness {
            Some(Readiness::Descriptor(target)) => {
                let (listener, theirs) = notification::pipe()?;
                let theirs = Some((target, theirs));
                Ok(Notification { listener: Some(listener), theirs, watchdog: None })
            }
            Some(Readiness::Systemd) => {
                // Other inits with the same number may share our network namespace.
                let unique = format!("{}-{}", id.0, self.began.elapsed().as_nanos());
                let listener = Some(notification::socket(&unique)?);
                Ok(Notification { listener, theirs: None, watchdog: service.watchdog })
            }
            Some(Readiness::Check(_) | Readiness::Log(_)) | None => Ok(Notification::default()),
        }
    }

    /// A new run of the service begins, with these descriptors.
    pub(super) fn listen(
        &mut self,
        id: ServiceId,
        notification: Notification,
        registry: &Registry,
    ) {
        self.reports.remove(&id);
        if let Some(listener) = notification.listener {
            Source::Notification(id).register(&listener, registry);
            self.listeners.insert(id, listener);
        }
    }

    /// Starts the readiness check, if there is one.
    pub(super) fn check_readiness(&mut self, plan: &Plan, id: ServiceId, now: Instant) {
        if let Some(Readiness::Check(check)) = &plan.bundle.services[id.0].readiness {
            self.checks.begin(id, Purpose::Readiness, check, now);
        }
    }

    /// Starts the liveness check and the watchdog.
    pub(super) fn check_liveness(&mut self, plan: &Plan, id: ServiceId, now: Instant) {
        let service = &plan.bundle.services[id.0];
        if let Some(check) = &service.liveness {
            self.checks.begin(id, Purpose::Liveness, check, now + check.period);
        }
        if let Some(span) = service.watchdog {
            self.watchdogs.begin(id, span, now);
        }
    }

    /// The service has ended: ends its checks.
    pub(super) fn end(&mut self, id: ServiceId) {
        self.checks.end(id);
        self.watchdogs.end(id);
        self.listeners.remove(&id);
    }

    /// Ends all checks.
    pub(super) fn end_checks(&mut self) {
        self.checks.end_all();
        self.watchdogs.end_all();
    }

    /// The id is reused for another service.
    pub(super) fn forget(&mut self, id: ServiceId) {
        self.reports.remove(&id);
    }

    /// The last failure of the service's checks, if they fail.
    pub(super) fn last_failure(&self, id: ServiceId) -> Option<&str> {
        self.checks.last_failure(id)
    }

    /// Why the checks have no result at the moment, if that is so.
    pub(super) fn inconclusive(&self, id: ServiceId) -> Option<&str> {
        self.checks.inconclusive(id)
    }

    /// What the service reports that it is doing, sd_notify(3).
    pub(super) fn doing(&self, id: ServiceId) -> Option<&'static str> {
        self.reports.get(&id)?.doing
    }

    /// The service's `STATUS=`, sd_notify(3).
    pub(super) fn status(&self, id: ServiceId) -> Option<&str> {
        self.reports.get(&id)?.status.as_deref()
    }

    pub(super) fn notification_descriptor(&self, id: ServiceId) -> Option<RawFd> {
        self.listeners.get(&id).map(AsRawFd::as_raw_fd)
    }

    /// Starts due attempts, and ends those over their timeout.
    pub(super) fn run_due_checks(
        &mut self,
        plan: &Plan,
        registry: &Registry,
        now: Instant,
        learnt: &mut Learnt,
    ) {
        self.checks.run_due(now, plan, registry, learnt);
        for (id, span) in self.watchdogs.take_silent(now) {
            let span = humantime::format_duration(span);
            self.checks.fail(id, format!("no WATCHDOG=1 within {span}"));
            learnt.facts.push(Event::Unhealthy(id));
        }
    }

    /// Whether the service can notify us.
    pub(super) fn listens_to(&self, id: ServiceId) -> bool {
        self.listeners.contains_key(&id)
    }

    /// Whether a service has unread datagrams.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    pub(super) fn take_unread(&mut self) -> BTreeSet<ServiceId> {
        std::mem::take(&mut self.unread)
    }

    /// Reads the service's notifications. Its `Spawned` must be noted before.
    pub(super) fn read(
        &mut self,
        id: ServiceId,
        plan: &Plan,
        registry: &Registry,
        children: &mut Children,
        learnt: &mut Learnt,
    ) {
        let Some(listener) = self.listeners.get(&id) else { return };
        let mut heard = listener.read();
        // The poll is edge-triggered: unread datagrams are not reported again.
        for _ in 0..MOST_READS {
            if !heard.more {
                break;
            }
            let next = listener.read();
            heard.said.extend(next.said);
            heard.more = next.more;
            heard.ended |= next.ended;
            heard.failed |= next.failed;
        }
        if heard.failed {
            registry.look_again(Source::Notification(id).token());
        }
        if heard.more {
            self.unread.insert(id);
        }
        if heard.ended {
            self.listeners.remove(&id);
        }
        // Each sender is checked only once per batch.
        let mut known = BTreeMap::new();
        let (mut proofs, mut last_main) = (0, None);
        for (sender, said) in heard.said {
            // Every process with the other end of the pipe may write into it.
            let Some(sender) = sender else {
                self.believe(id, said, learnt);
                continue;
            };
            let belonging = sender.pid.map_or(Belonging::Foreign, |pid| {
                *known.entry(pid).or_insert_with(|| children.belonging(plan, id, pid))
            });
            if !may_say(children, plan, id, (sender, belonging), &said) {
                let pid = sender.pid.map(|pid| pid.to_string());
                let pid = pid.unwrap_or_else(|| "without a number here".to_owned());
                let text = format!(
                    "got a notification from process {pid}, which is not known to be its own"
                );
                self.doubt(id, &text, learnt);
                continue;
            }
            match said {
                Said::MainProcess(pid) if proofs < MOST_PROOFS => {
                    proofs += 1;
                    self.main_is((id, pid, sender), plan, registry, children, learnt);
                }
                Said::MainProcess(pid) => last_main = Some((id, pid, sender)),
                said => self.believe(id, said, learnt),
            }
        }
        if let Some(last) = last_main {
            self.main_is(last, plan, registry, children, learnt);
        }
    }

    /// The service reports a new main process.
    fn main_is(
        &mut self,
        (id, pid, sender): (ServiceId, i32, Peer),
        plan: &Plan,
        registry: &Registry,
        children: &mut Children,
        learnt: &mut Learnt,
    ) {
        match children.replace_main(plan, id, pid, sender, registry) {
            Ok(true) => {
                let text = format!("says that its main process is {pid}");
                learnt.remark_rate_limited(MessageKind::MainProcess(id), Some(id), text);
            }
            Ok(false) => {}
            Err(reason) => self.doubt(id, &format!("says MAINPID={pid}, {reason}"), learnt),
        }
    }

    /// Logs it once per run, because the sender may repeat it without end.
    fn doubt(&mut self, id: ServiceId, what: &str, learnt: &mut Learnt) {
        let report = self.reports.entry(id).or_default();
        if !std::mem::replace(&mut report.was_doubted, true) {
            learnt.remark_of(id, format!("{what}: ignored"));
        }
    }

    fn believe(&mut self, id: ServiceId, said: Said, learnt: &mut Learnt) {
        let now = Instant::now();
        let report = self.reports.entry(id).or_default();
        match said {
            Said::Ready => {
                report.doing = None;
                learnt.facts.push(Event::Ready(id));
            }
            Said::Extend(span) => learnt.facts.push(Event::Extended(id, span)),
            Said::Dead => {
                self.checks.fail(id, "it sent WATCHDOG=trigger".to_owned());
                learnt.facts.push(Event::Unhealthy(id));
            }
            Said::Status(text) => report.status = Some(text),
            Said::Alive => self.watchdogs.is_alive(id, now),
            Said::Watchdog(span) => self.watchdogs.change(id, span, now),
            Said::Reloading => report.doing = Some(RELOADING),
            Said::Stopping => report.doing = Some("stopping by itself"),
            // Only a sender that the kernel identifies can send it.
            Said::MainProcess(_) => {}
        }
    }
}

impl Scheduled for Health {
    fn deadline(&self) -> Option<Instant> {
        self.checks.deadline().into_iter().chain(self.watchdogs.deadline()).min()
    }

    fn put_off(&mut self, gap: Duration, now: Instant) {
        self.checks.put_off(gap, now);
        self.watchdogs.put_off(gap, now);
    }
}

/// Whether a process may send this for the service. A sender that has exited can't be identified (many
/// programs send one datagram and exit): its datagram is accepted if it can do no harm.
fn may_say(
    children: &Children,
    plan: &Plan,
    id: ServiceId,
    (sender, belonging): (Peer, Belonging),
    said: &Said,
) -> bool {
    let is_only = || children.is_only(plan, id, sender.user);
    match belonging {
        Belonging::Own => true,
        Belonging::Foreign => false,
        Belonging::Orphan => is_only(),
        Belonging::Gone => {
            is_only() || children.is_own_user(plan, id, sender.user) && is_harmless(said)
        }
    }
}

/// Whether this can neither stop a service nor mark it as failed.
fn is_harmless(said: &Said) -> bool {
    match said {
        Said::Ready | Said::Extend(_) | Said::Status(_) | Said::Alive | Said::Reloading => true,
        Said::Dead | Said::Watchdog(_) | Said::Stopping | Said::MainProcess(_) => false,
    }
}
