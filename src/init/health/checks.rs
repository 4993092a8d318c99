//! The readiness and liveness checks of the services: when each is due, and its current attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::bundle::health_check::{Check, Probe, Purpose};
use crate::exit::{ExitStatus, NOT_EXECUTABLE, NOT_FOUND};
use crate::init::children::{StartFailure, kill_session};
use crate::init::learnt::{CheckRequest, Learnt};
use crate::init::token::Source;
use crate::plan::Plan;
use crate::poll::Registry;
use crate::probe::{self, Attempt, Outcome, Progress};
use crate::supervisor::{Event, ServiceId};
use crate::time_limit::TimeLimit;

type Key = (ServiceId, Purpose);

#[derive(Debug)]
struct ActiveCheck {
    check: Check,
    trying: Trying,
    /// When the next attempt begins, or when to check the time limit of the current one.
    until: Instant,
    /// The time limit of the current attempt.
    limit: TimeLimit,
    failures: u32,
    /// When the attempt began.
    since: Instant,
    /// Why the last attempt had no result.
    inconclusive: Option<String>,
    /// A child that was killed after its timeout, and has not ended yet.
    late: Option<Pid>,
}

#[derive(Debug)]
enum Trying {
    Nothing,
    Connection(Attempt),
    /// This child runs the probe.
    Child(Pid),
}

/// The result of a check, or an action for it.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passed(ServiceId, Purpose),
    Failed(ServiceId, Purpose, String),
    /// It can't be made at the moment, for this reason.
    Inconclusive(ServiceId, Purpose, Inconclusive),
    /// A child is to run it; `child_started` gets the result.
    Run(ServiceId, Purpose),
    /// This child is over its timeout.
    Kill(Pid),
}

/// An attempt without a result.
#[derive(Debug, PartialEq, Eq)]
struct Inconclusive {
    /// The reason; `None` if it was reported already.
    reason: Option<String>,
    /// When the check began.
    since: Instant,
    /// When the next attempt has a result at the latest, if it has one.
    known_at: Instant,
}

#[derive(Debug, Default)]
pub(in crate::init) struct Checks {
    running: BTreeMap<Key, ActiveCheck>,
    due: BTreeSet<(Instant, Key)>,
    /// The failures of the last attempts.
    last_failures: BTreeMap<Key, String>,
}

impl Checks {
    /// Starts due attempts, and ends those over their timeout.
    pub(super) fn run_due(
        &mut self,
        now: Instant,
        plan: &Plan,
        registry: &Registry,
        learnt: &mut Learnt,
    ) {
        let verdicts = self.tick(now, registry);
        self.report(verdicts, plan, learnt);
    }

    /// The poll has reported progress of a check's connection.
    pub(in crate::init) fn connection_progressed(
        &mut self,
        key: Key,
        plan: &Plan,
        learnt: &mut Learnt,
    ) {
        let (now, mut verdicts) = (Instant::now(), Vec::new());
        let Some(running) = self.running.get_mut(&key) else { return };
        let Trying::Connection(attempt) = &mut running.trying else { return };
        if let Progress::Done(outcome) = attempt.advance() {
            self.finish_attempt(key, outcome, now, &mut verdicts);
        }
        self.report(verdicts, plan, learnt);
    }

    /// The child of a check was forked, or not for this reason.
    pub(in crate::init) fn child_was_made(
        &mut self,
        key: Key,
        started: Result<Pid, String>,
        plan: &Plan,
        learnt: &mut Learnt,
    ) {
        let (started, mut verdicts) = (started.map_err(Outcome::NoResult), Vec::new());
        self.child_started(key, started, Instant::now(), &mut verdicts);
        self.report(verdicts, plan, learnt);
    }

    /// The child of a check was reaped; its exec may have failed.
    pub(in crate::init) fn child_was_reaped(
        &mut self,
        key: Key,
        (pid, status, failure): (Pid, ExitStatus, Option<StartFailure>),
        plan: &Plan,
        learnt: &mut Learnt,
    ) {
        let Some(probe) = self.probe(key) else { return };
        let (outcome, mut verdicts) = (outcome(probe, status, failure), Vec::new());
        self.child_ended(key, pid, outcome, Instant::now(), &mut verdicts);
        self.report(verdicts, plan, learnt);
    }

    fn report(&mut self, verdicts: Vec<Verdict>, plan: &Plan, learnt: &mut Learnt) {
        for verdict in verdicts {
            match verdict {
                Verdict::Passed(id, _) => learnt.facts.push(Event::Ready(id)),
                Verdict::Failed(id, ..) => learnt.facts.push(Event::Unhealthy(id)),
                Verdict::Kill(pid) => kill_session(pid),
                Verdict::Inconclusive(id, purpose, inconclusive) => {
                    could_not_check((id, purpose), inconclusive, plan, learnt);
                }
                Verdict::Run(id, purpose) => {
                    let probe = self.probe((id, purpose)).cloned();
                    let run = probe.map(|probe| CheckRequest::Run(id, purpose, probe));
                    learnt.requests.extend(run);
                }
            }
        }
    }

    /// Starts a check; the first attempt is at this time.
    pub(super) fn begin(&mut self, id: ServiceId, purpose: Purpose, check: &Check, at: Instant) {
        let key = (id, purpose);
        self.last_failures.remove(&key);
        if let Some(before) = self.running.get(&key) {
            self.due.remove(&(before.until, key));
        }
        self.due.insert((at, key));
        let (check, trying, limit) =
            (check.clone(), Trying::Nothing, TimeLimit::new(check.timeout, at));
        let (until, since, failures, inconclusive, late) = (at, at, 0, None, None);
        let running =
            ActiveCheck { check, trying, until, limit, failures, since, inconclusive, late };
        self.running.insert(key, running);
    }

    /// Ends the checks of a service.
    pub(super) fn end(&mut self, id: ServiceId) {
        for key in [(id, Purpose::Readiness), (id, Purpose::Liveness)] {
            self.last_failures.remove(&key);
            if let Some(running) = self.running.remove(&key) {
                self.due.remove(&(running.until, key));
            }
        }
    }

    pub(super) fn end_all(&mut self) {
        for key in std::mem::take(&mut self.running).into_keys() {
            self.last_failures.remove(&key);
        }
        self.due.clear();
    }

    /// When the next work is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Extends the limits by a suspension.
    pub(super) fn put_off(&mut self, gap: Duration, now: Instant) {
        self.due.clear();
        for (key, running) in &mut self.running {
            running.limit.put_off(gap, now);
            running.since += gap;
            running.until = match running.trying {
                Trying::Nothing => running.until + gap,
                Trying::Connection(_) | Trying::Child(_) => running.limit.until(),
            };
            self.due.insert((running.until, *key));
        }
    }

    /// The probe of a check.
    fn probe(&self, key: Key) -> Option<&Probe> {
        Some(&self.running.get(&key)?.check.probe)
    }

    /// The last failure of the service's checks, if they fail.
    pub(super) fn last_failure(&self, id: ServiceId) -> Option<&str> {
        let liveness = self.last_failures.get(&(id, Purpose::Liveness));
        liveness.or_else(|| self.last_failures.get(&(id, Purpose::Readiness))).map(String::as_str)
    }

    /// Why the checks have no result at the moment, if that is so.
    pub(super) fn inconclusive(&self, id: ServiceId) -> Option<&str> {
        let keys = [(id, Purpose::Liveness), (id, Purpose::Readiness)];
        keys.iter().find_map(|key| self.running.get(key)?.inconclusive.as_deref())
    }

    /// The service has failed in another way than by an attempt.
    pub(super) fn fail(&mut self, id: ServiceId, reason: String) {
        self.last_failures.insert((id, Purpose::Liveness), reason);
    }

    /// Does what is due.
    fn tick(&mut self, now: Instant, registry: &Registry) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        while let Some((at, key)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, key));
            let Some(running) = self.running.get_mut(&key) else { continue };
            let is_under_way = !matches!(running.trying, Trying::Nothing);
            if is_under_way && !running.limit.is_over(now) {
                running.until = running.limit.until();
                self.due.insert((running.until, key));
                continue;
            }
            match std::mem::replace(&mut running.trying, Trying::Nothing) {
                Trying::Nothing => self.attempt(key, now, registry, &mut verdicts),
                late => {
                    if let Trying::Child(pid) = late {
                        running.late = Some(pid);
                        verdicts.push(Verdict::Kill(pid));
                    }
                    let reason = format!("no answer within {}", span(running.check.timeout));
                    self.finish_attempt(key, Outcome::Failed(reason), now, &mut verdicts);
                }
            }
        }
        verdicts
    }

    fn attempt(
        &mut self,
        key: Key,
        now: Instant,
        registry: &Registry,
        verdicts: &mut Vec<Verdict>,
    ) {
        let Some(running) = self.running.get_mut(&key) else { return };
        let (id, purpose) = key;
        running.limit = TimeLimit::new(running.check.timeout, now);
        running.until = running.limit.until();
        let probe = running.check.probe.clone();
        let outcome = match &probe {
            // A child that even KILL has not ended yet (the kernel's `D` state) still has no answer,
            // and there must not be more and more of them.
            Probe::Exec(_) | Probe::File(_) | Probe::Unix(_) if running.late.is_some() => {
                Outcome::Failed(format!("no answer within {}", span(running.check.timeout)))
            }
            Probe::Exec(_) | Probe::File(_) | Probe::Unix(_) => {
                self.due.insert((running.until, key));
                verdicts.push(Verdict::Run(id, purpose));
                return;
            }
            Probe::Tcp(_) | Probe::Http(_) => match Attempt::start(&probe) {
                Some(Ok(mut attempt)) => match attempt.advance() {
                    // A local peer may accept at once; then the poll is not needed.
                    Progress::Done(outcome) => outcome,
                    Progress::Pending => {
                        Source::Check(id, purpose).register(&attempt, registry);
                        running.trying = Trying::Connection(attempt);
                        self.due.insert((running.until, key));
                        return;
                    }
                },
                Some(Err(outcome)) => outcome,
                None => Outcome::NoResult("it has no address".to_owned()),
            },
        };
        self.finish_attempt(key, outcome, now, verdicts);
    }

    /// The connection of the current attempt.
    pub(in crate::init) fn descriptor(&self, key: Key) -> Option<RawFd> {
        match &self.running.get(&key)?.trying {
            Trying::Connection(attempt) => Some(attempt.as_raw_fd()),
            Trying::Nothing | Trying::Child(_) => None,
        }
    }

    /// The child runs, or could not be forked.
    fn child_started(
        &mut self,
        key: Key,
        started: Result<Pid, Outcome>,
        now: Instant,
        verdicts: &mut Vec<Verdict>,
    ) {
        let Some(running) = self.running.get_mut(&key) else { return };
        match started {
            Ok(pid) => running.trying = Trying::Child(pid),
            Err(outcome) => self.finish_attempt(key, outcome, now, verdicts),
        }
    }

    /// The child has ended.
    fn child_ended(
        &mut self,
        key: Key,
        pid: Pid,
        outcome: Outcome,
        now: Instant,
        verdicts: &mut Vec<Verdict>,
    ) {
        let Some(running) = self.running.get_mut(&key) else { return };
        if running.late == Some(pid) {
            running.late = None;
        }
        if matches!(running.trying, Trying::Child(awaited) if awaited == pid) {
            self.finish_attempt(key, outcome, now, verdicts);
        }
    }

    fn finish_attempt(
        &mut self,
        key: Key,
        outcome: Outcome,
        now: Instant,
        verdicts: &mut Vec<Verdict>,
    ) {
        let Some(running) = self.running.get_mut(&key) else { return };
        let (id, purpose) = key;
        // Closing the connection removes it from the poll.
        running.trying = Trying::Nothing;
        self.due.remove(&(running.until, key));
        running.until = now + running.check.period;
        let was_inconclusive = running.inconclusive.take().is_some();
        let verdict = match outcome {
            Outcome::Passed => {
                running.failures = 0;
                self.last_failures.remove(&key);
                (purpose == Purpose::Readiness).then_some(Verdict::Passed(id, purpose))
            }
            Outcome::Failed(reason) => {
                running.failures += 1;
                let enough = running.failures >= running.check.failures;
                self.last_failures.insert(key, reason.clone());
                (purpose == Purpose::Liveness && enough)
                    .then_some(Verdict::Failed(id, purpose, reason))
            }
            Outcome::NoResult(reason) => {
                running.inconclusive = Some(format!("could not be checked: {reason}"));
                let (since, known_at) = (running.since, running.until + running.check.timeout);
                let reason = Some(reason).filter(|_| !was_inconclusive);
                verdicts.push(Verdict::Inconclusive(
                    id,
                    purpose,
                    Inconclusive { reason, since, known_at },
                ));
                None
            }
        };
        match verdict {
            Some(verdict) => {
                verdicts.push(verdict);
                self.running.remove(&key);
            }
            None => {
                self.due.insert((running.until, key));
            }
        }
    }
}

/// The check could not run, which is not the service's fault. So its start timeout is extended, but
/// only once: what is missing may be part of the check itself.
fn could_not_check(
    (id, purpose): (ServiceId, Purpose),
    Inconclusive { reason, since, known_at }: Inconclusive,
    plan: &Plan,
    learnt: &mut Learnt,
) {
    if let Some(reason) = reason {
        let text = format!("could not be checked, which does not count as a failure: {reason}");
        learnt.remark_of(id, text);
    }
    let start_timeout = plan.policy.services[id.0].start_timeout.unwrap_or_default();
    if purpose == Purpose::Readiness && known_at < since + 2 * start_timeout {
        let span = known_at.saturating_duration_since(Instant::now());
        learnt.requests.push(CheckRequest::Extend(id, span));
    }
}

/// The result of an attempt in a child.
fn outcome(probe: &Probe, status: ExitStatus, failure: Option<StartFailure>) -> Outcome {
    match (probe, status, failure) {
        // The program does not exist, or can't be executed; everything else concerns our side.
        (_, _, Some(StartFailure { code: NOT_FOUND | NOT_EXECUTABLE, reason })) => {
            Outcome::Failed(reason)
        }
        (_, _, Some(failure)) => Outcome::NoResult(failure.reason),
        (Probe::Exec(_), ExitStatus::Code(0), None) => Outcome::Passed,
        (Probe::Exec(_), status, None) => Outcome::Failed(format!("its command {status}")),
        (probe, ExitStatus::Code(number), None) => probe::outcome_of_path(probe, number),
        // Our own child dies of a signal only if another process sends one.
        (_, status, None) => Outcome::NoResult(format!("the process that looked {status}")),
    }
}

fn span(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::Poll;

    const ID: ServiceId = ServiceId(4);
    const KEY: Key = (ID, Purpose::Liveness);

    /// The liveness check of a service; times are in milliseconds.
    struct Story {
        checks: Checks,
        poll: Poll,
        begin: Instant,
    }

    impl Story {
        fn new(probe: Probe, failures: u32) -> Story {
            let (timeout, period) = (Duration::from_millis(400), Duration::from_secs(2));
            let check = Check { probe, period, timeout, failures };
            let (mut checks, begin) = (Checks::default(), Instant::now());
            checks.begin(ID, Purpose::Liveness, &check, begin);
            Story { checks, poll: Poll::new().unwrap(), begin }
        }

        fn command(failures: u32) -> Story {
            Story::new(Probe::Exec(vec!["check".into()]), failures)
        }

        fn at(&self, millis: u64) -> Instant {
            self.begin + Duration::from_millis(millis)
        }

        fn tick(&mut self, millis: u64) -> Vec<Verdict> {
            self.checks.tick(self.at(millis), self.poll.registry())
        }

        /// The requested command runs as this process.
        fn runs(&mut self, millis: u64, pid: i32) {
            assert_eq!(self.tick(millis), [Verdict::Run(ID, Purpose::Liveness)]);
            let (now, mut verdicts) = (self.at(millis), Vec::new());
            self.checks.child_started(KEY, Ok(number(pid)), now, &mut verdicts);
            assert_eq!(verdicts, []);
        }

        fn ends(&mut self, millis: u64, pid: i32, outcome: Outcome) -> Vec<Verdict> {
            let (now, mut verdicts) = (self.at(millis), Vec::new());
            self.checks.child_ended(KEY, number(pid), outcome, now, &mut verdicts);
            verdicts
        }

        fn is_due_at(&self, millis: u64) {
            assert_eq!(self.checks.deadline(), Some(self.at(millis)));
        }
    }

    fn number(pid: i32) -> Pid {
        Pid::from_raw(pid).unwrap()
    }

    fn failed(reason: &str) -> Verdict {
        Verdict::Failed(ID, Purpose::Liveness, reason.to_owned())
    }

    #[test]
    fn one_that_begins_anew_is_due_once() {
        let mut story = Story::command(1);
        let check = story.checks.running[&KEY].check.clone();
        story.checks.begin(ID, Purpose::Liveness, &check, story.at(500));
        assert_eq!(story.tick(400), []);
        story.is_due_at(500);
    }

    #[test]
    fn an_attempt_that_takes_too_long_may_still_succeed_for_a_moment() {
        let mut story = Story::command(1);
        story.runs(0, 7);
        assert_eq!(story.tick(400), []);
        story.is_due_at(800);
        assert_eq!(story.ends(799, 7, Outcome::Passed), []);
        assert_eq!(story.checks.last_failure(ID), None);
        story.runs(2799, 8);
        assert_eq!(story.tick(3199), []);
        let reason = "no answer within 400ms";
        assert_eq!(story.tick(3599), [Verdict::Kill(number(8)), failed(reason)]);
        assert_eq!(story.checks.deadline(), None);
    }

    #[test]
    fn there_is_no_second_child_while_the_first_does_not_even_end_by_kill() {
        let mut story = Story::command(3);
        story.runs(0, 7);
        story.tick(400);
        assert_eq!(story.tick(800), [Verdict::Kill(number(7))]);
        assert_eq!(story.tick(2800), [], "it still does not answer");
        assert_eq!(story.ends(3000, 7, Outcome::Passed), [], "too late");
        story.runs(4800, 8);
        story.tick(5200);
        let reason = "no answer within 400ms";
        assert_eq!(story.tick(5600), [Verdict::Kill(number(8)), failed(reason)], "the third");
    }

    #[test]
    fn an_attempt_without_a_result_counts_for_nothing_and_is_told_once() {
        let mut story = Story::command(2);
        story.runs(0, 7);
        assert_eq!(story.ends(100, 7, Outcome::Failed("ill".into())), []);
        let blind = |story: &Story, reason: Option<&str>, since: u64| {
            let (reason, since) = (reason.map(str::to_owned), story.at(since));
            let known_at = since + Duration::from_millis(2400);
            let since = story.begin;
            vec![Verdict::Inconclusive(
                ID,
                Purpose::Liveness,
                Inconclusive { reason, since, known_at },
            )]
        };
        for (millis, reason) in [(2100, Some("no room")), (4100, None)] {
            assert_eq!(story.tick(millis), [Verdict::Run(ID, Purpose::Liveness)]);
            let (now, mut verdicts) = (story.at(millis), Vec::new());
            let refused = Err(Outcome::NoResult("no room".into()));
            story.checks.child_started(KEY, refused, now, &mut verdicts);
            assert_eq!(verdicts, blind(&story, reason, millis));
            assert_eq!(story.checks.inconclusive(ID), Some("could not be checked: no room"));
            assert_eq!(story.checks.last_failure(ID), Some("ill"), "what was known last");
        }
        story.runs(6100, 8);
        let ill = story.ends(6200, 8, Outcome::Failed("still ill".into()));
        assert_eq!(ill, [failed("still ill")], "the second in a row");
    }

    #[test]
    fn a_gap_counts_neither_for_an_attempt_nor_for_the_time_between_two() {
        let mut story = Story::command(1);
        story.runs(0, 7);
        let (gap, now) = (Duration::from_secs(60), story.at(60_100));
        story.checks.put_off(gap, now);
        story.is_due_at(60_400);
        assert_eq!(story.ends(60_200, 7, Outcome::Passed), []);
        story.is_due_at(62_200);
        let now = story.at(122_100);
        story.checks.put_off(gap, now);
        story.is_due_at(122_200);
    }
}
