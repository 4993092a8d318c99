//! The core against a pretend kernel and a busy operator: graphs, readiness, oneshots, restarts,
//! health, requests and reloads, all drawn from a seed. What must hold in every run is asserted at
//! every step. `SEED=n cargo test --test lifecycle_simulation` repeats one run and prints its
//! trace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod pauses;
mod random;
mod starting;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pauses::Pauses;
use random::Random;
use random::policy::{change, service};
use sidecar_init::bundle::{RestartPolicy, ServiceType};
use sidecar_init::exit::ExitStatus;
use sidecar_init::signal::Signal;
use sidecar_init::supervisor::{
    Action, Announcement, Cause, Changes, EXECUTION_TIMEOUT, End, Event, KILL_WAIT, Policy,
    ServiceId, ServicePolicy, State, Supervisor,
};
use starting::Start;

const RUNS: u64 = 20_000;
/// More steps than any run needs.
const STEPS: usize = 20_000;
/// Until when the operator and chance interfere; then everything has to come to rest.
const BUSY: Duration = Duration::from_secs(30);
/// Long after that the bundle is shut down, if it has not ended by itself.
const REST: Duration = Duration::from_secs(600);

/// A process of a service, as long as it lives.
#[derive(Debug)]
struct Process {
    /// `None`: its program runs.
    start: Option<Start>,
    ready_at: Option<Instant>,
    ends_at: Option<(Instant, ExitStatus)>,
    is_asked: bool,
}

/// Something that is to happen from outside.
#[derive(Clone, Debug)]
enum Intervention {
    Tell(Event),
    Reload,
}

struct World {
    random: Random,
    trace: Vec<String>,
    begin: Instant,
    now: Instant,
    pauses: Pauses,
    core: Supervisor,
    policy: Policy,
    processes: Vec<Option<Process>>,
    last_exit: Vec<Option<ExitStatus>>,
    /// Until when something lives that the last run of a service has left behind.
    left_behind: Vec<Option<Instant>>,
    /// The times of the restarts that nobody asked for.
    restarts: Vec<Vec<Instant>>,
    /// Stopped by the operator, and not started since.
    stopped: BTreeSet<usize>,
    /// Their processes are to end, for an operator wants it.
    to_end: BTreeSet<usize>,
    /// An operator or a reload wants them to start, and they have not been up since.
    on_request: BTreeSet<usize>,
    interventions: Vec<(Instant, Intervention)>,
    pending: Vec<Event>,
    shutdown_at: Option<Instant>,
    /// On their way down before the shutdown began.
    leaving: BTreeSet<usize>,
    killed_all: bool,
    told_empty: bool,
    /// When strays were last asked to end: whether there are any is learnt after that, also if there
    /// is no time left.
    swept_at: Option<Instant>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let count = 1 + random.below(6) as usize;
        let mut services: Vec<ServicePolicy> =
            (0..count).map(|number| service(&mut random, number)).collect();
        let in_file_order = services.iter().all(|service| service.after.is_empty());
        // As a main command, which names nobody, and comes after all.
        if in_file_order && random.one_in(2) {
            let last = services.len() - 1;
            services[last].after = (0..last).map(ServiceId).collect();
        }
        let grace = random.millis(10_000);
        let policy = Policy { services, grace, in_file_order, seed, ..Policy::default() };
        let begin = Instant::now();
        let mut world = World {
            interventions: Vec::new(),
            random,
            trace: Vec::new(),
            begin,
            now: begin,
            pauses: Pauses::new(begin),
            core: Supervisor::new(policy.clone()),
            processes: (0..count).map(|_| None).collect(),
            last_exit: vec![None; count],
            left_behind: vec![None; count],
            restarts: vec![Vec::new(); count],
            stopped: BTreeSet::new(),
            to_end: BTreeSet::new(),
            on_request: BTreeSet::new(),
            policy,
            pending: Vec::new(),
            shutdown_at: None,
            leaving: BTreeSet::new(),
            killed_all: false,
            told_empty: false,
            swept_at: None,
        };
        world.plan_interventions(count);
        let policies: Vec<String> =
            world.policy.services.iter().map(|policy| format!("{policy:?}")).collect();
        policies.into_iter().for_each(|policy| world.say(policy));
        world
    }

    fn plan_interventions(&mut self, count: usize) {
        for _ in 0..self.random.below(12) {
            let at = self.begin + self.random.millis(BUSY.as_millis() as u64);
            let id = ServiceId(self.random.below(count as u64) as usize);
            let intervention = match self.random.below(8) {
                0 | 1 => Intervention::Tell(Event::Stop(id)),
                2 | 3 => Intervention::Tell(Event::Start(id)),
                4 => Intervention::Tell(Event::Restart(id)),
                5 => Intervention::Tell(Event::Unhealthy(id)),
                6 => Intervention::Tell(Event::Extended(id, self.random.millis(5000))),
                _ => Intervention::Reload,
            };
            self.interventions.push((at, intervention));
        }
        let end = match self.random.one_in(2) {
            true => Event::Signaled(Signal::TERM),
            false => Event::Shutdown(5),
        };
        self.interventions.push((self.begin + REST, Intervention::Tell(end)));
        self.interventions.sort_by_key(|(at, _)| *at);
    }

    fn say(&mut self, text: String) {
        let millis = (self.now - self.begin).as_millis();
        self.trace.push(format!("{millis:>7} {text}"));
    }

    fn run(&mut self) {
        let mut actions = Vec::new();
        self.core.tick(self.now, &mut actions);
        self.carry_out(actions);
        for _ in 0..STEPS {
            if self.core.outcome().is_some() {
                return self.check_outcome();
            }
            self.step();
        }
        panic!("it never comes to an end");
    }

    fn step(&mut self) {
        let due = self.core.deadline();
        match self.next_time() {
            Some(next) => self.now = self.pause_before(self.now.max(next)),
            None => panic!("nothing will ever happen again"),
        }
        if let Some(gap) = self.pauses.come_back(due, self.now) {
            self.say(format!("back after {gap:?}"));
            self.core.put_off(gap, self.now);
        }
        let is_leaving = |number: &usize| {
            let state = self.core.state(ServiceId(*number));
            matches!(state, State::Draining { .. } | State::Stopping { .. })
        };
        let leaving = (0..self.processes.len()).filter(is_leaving).collect();
        let is_up = |number| self.core.up_at(ServiceId(number)).is_some_and(|at| at <= self.now);
        let on_request = self.on_request.iter().copied();
        self.on_request = on_request.filter(|number| !is_up(*number)).collect();
        let mut actions = Vec::new();
        for event in self.facts() {
            self.say(format!("{event:?}"));
            self.remember(event);
            let (was_up, known) = (self.core.shutdown_deadline().is_none(), actions.len());
            self.core.handle(event, self.now, &mut actions);
            if let Event::Spawned(id) = event
                && matches!(self.core.state(id), State::Running { ready: false, .. })
            {
                self.pauses.starts(id, self.policy.services[id.0].start_timeout, self.now);
            }
            if let Event::Exited(id, _) | Event::SpawnFailed(id, _) = event {
                // At once, for an operator may forgive it in the same turn.
                let restarts = |order: &Action| {
                    matches!(order, Action::Announce(Announcement::Restarting(..)))
                };
                if actions[known..].iter().any(restarts) {
                    self.restarts_by_itself(id);
                }
                let is_up = self.core.shutdown_deadline().is_none();
                let was_stopped = was_up && self.stopped.contains(&id.0);
                assert!(is_up || !was_stopped, "{id:?} was stopped, and has ended the bundle");
                // One that is taken along by another starts again for that one's sake.
                let is_free = self.policy.services[id.0].requires.is_empty();
                let is_alone = was_up && is_free && self.on_request.contains(&id.0);
                assert!(is_up || !is_alone, "{id:?} did not come up, and has ended the bundle");
            }
        }
        while self.interventions.first().is_some_and(|(at, _)| *at <= self.now) {
            let (_, intervention) = self.interventions.remove(0);
            self.say(format!("{intervention:?}"));
            match intervention {
                Intervention::Tell(event) => {
                    self.remember(event);
                    self.core.handle(event, self.now, &mut actions);
                }
                Intervention::Reload => self.reload(),
            }
        }
        self.core.tick(self.now, &mut actions);
        if self.shutdown_at.is_none() && self.core.shutdown_deadline().is_some() {
            self.shutdown_at = Some(self.now);
            self.pauses.shutdown_begins(self.now);
            self.leaving = leaving;
        }
        self.carry_out(actions);
        self.check_promises();
    }

    /// Now and then the init does not run for a while, alone or with all others, perhaps until after
    /// `next`; then what happens meanwhile is told at once.
    fn pause_before(&mut self, next: Instant) -> Instant {
        if !self.random.one_in(25) {
            return next;
        }
        let begin = self.now + (next - self.now).mul_f64(self.random.below(100) as f64 / 100.0);
        let span = self.random.millis(8000);
        if self.random.one_in(2) {
            let put_off = |at: &mut Instant| *at += span;
            for process in self.processes.iter_mut().flatten() {
                if let Some(Start::HeldUp(at) | Start::Forked(Some((at, _)))) = &mut process.start {
                    put_off(at);
                }
                process.ready_at.iter_mut().for_each(put_off);
                process.ends_at.iter_mut().for_each(|(at, _)| put_off(at));
            }
        }
        let end = begin + span;
        self.say(format!("the init does not run for {span:?}"));
        self.next_time().map_or(end, |next| next.max(end))
    }

    fn next_time(&self) -> Option<Instant> {
        if !self.pending.is_empty()
            || (self.is_empty() && self.shutdown_at.is_some() && !self.told_empty)
        {
            return Some(self.now);
        }
        let of_processes = self.processes.iter().flatten().flat_map(|process| {
            let start = match process.start {
                Some(Start::HeldUp(at) | Start::Forked(Some((at, _)))) => Some(at),
                Some(Start::Forked(None)) | None => None,
            };
            [start, process.ready_at, process.ends_at.map(|(at, _)| at)].into_iter().flatten()
        });
        let interventions = self.interventions.first().map(|(at, _)| *at);
        of_processes.chain(interventions).chain(self.core.deadline()).min()
    }

    fn is_empty(&self) -> bool {
        self.processes.iter().all(Option::is_none)
    }

    /// What the kernel and the checks have to say now.
    fn facts(&mut self) -> Vec<Event> {
        let mut facts = std::mem::take(&mut self.pending);
        for number in 0..self.processes.len() {
            self.go_on_with_start(ServiceId(number), &mut facts);
        }
        for (number, slot) in self.processes.iter_mut().enumerate() {
            let Some(process) = slot else { continue };
            let id = ServiceId(number);
            if process.ready_at.is_some_and(|at| at <= self.now) {
                process.ready_at = None;
                facts.push(Event::Ready(id));
            }
            if let Some((at, status)) = process.ends_at
                && at <= self.now
            {
                *slot = None;
                self.last_exit[number] = Some(status);
                let leaves = self.random.one_in(4);
                self.left_behind[number] = leaves.then(|| self.now + self.random.millis(1000));
                facts.push(Event::Exited(id, status));
            }
        }
        if self.is_empty() && self.shutdown_at.is_some() && facts.is_empty() {
            self.told_empty = true;
            facts.push(Event::TreeEmpty);
        }
        facts
    }

    /// What the operator wants of whom.
    fn remember(&mut self, event: Event) {
        if let Event::Exited(id, _) | Event::SpawnFailed(id, _) = event {
            self.to_end.remove(&id.0);
        }
        if let Event::Stop(id) | Event::Restart(id) = event
            && !self.policy.services[id.0].is_retired
            && self.processes[id.0].is_some()
        {
            self.to_end.insert(id.0);
        }
        if let Event::Start(id) | Event::Restart(id) = event
            && (self.to_end.contains(&id.0) || matches!(self.core.state(id), State::Gone(_)))
        {
            self.on_request.insert(id.0);
        }
        match event {
            Event::Stop(id) if self.shutdown_at.is_none() => {
                let is_oneshot = self.policy.services[id.0].kind == ServiceType::Oneshot;
                if !(is_oneshot && self.core.state(id) == State::Gone(End::Done)) {
                    self.stopped.insert(id.0);
                }
            }
            Event::Start(id) | Event::Restart(id) => self.forget_stop(id),
            _ => {}
        }
    }

    /// What is started takes along what it requires.
    fn forget_stop(&mut self, id: ServiceId) {
        if self.policy.services[id.0].is_retired {
            return;
        }
        self.stopped.remove(&id.0);
        self.restarts[id.0].clear();
        for required in self.policy.services[id.0].requires.clone() {
            self.forget_stop(required);
        }
    }

    fn reload(&mut self) {
        if self.shutdown_at.is_some() {
            let changes = Changes { restarted: vec![ServiceId(0)], ..Changes::default() };
            return self.core.reload(self.policy.clone(), &changes, self.now);
        }
        let mut policy = self.policy.clone();
        let changes = change(&mut self.random, &mut policy);
        if policy.services.len() > self.policy.services.len() {
            self.processes.push(None);
            self.last_exit.push(None);
            self.left_behind.push(None);
            self.restarts.push(Vec::new());
        }
        self.say(format!("  {changes:?}"));
        for id in changes.started.iter().chain(&changes.restarted) {
            self.restarts[id.0].clear();
            self.on_request.insert(id.0);
        }
        for id in &changes.started {
            self.stopped.remove(&id.0);
        }
        self.policy = policy.clone();
        self.core.reload(policy, &changes, self.now);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for order in actions {
            if !matches!(order, Action::Announce(_)) {
                self.say(format!("  -> {order:?}"));
            }
            match order {
                Action::Spawn(id) => self.spawn(id),
                Action::CancelStart(id) => self.cancel_start(id),
                Action::Signal(id, Signal::TERM, _) => self.ask(id),
                Action::Announce(Announcement::Unready(id)) => {
                    self.pauses.may_be_blamed(id, self.now)
                }
                Action::Signal(..)
                | Action::CheckReadiness(_)
                | Action::CheckLiveness(_)
                | Action::EndChecks
                | Action::CancelReload
                | Action::Announce(_) => {}
                Action::RunStopCommand(id) => match self.random.one_in(4) {
                    true => self.pending.push(Event::StopCommandFailed(id)),
                    false => self.ask(id),
                },
                Action::Kill(id) => self.kill(id.0),
                Action::TerminateRest => {
                    assert!(self.shutdown_at.is_some());
                    self.swept_at = Some(self.now);
                }
                Action::KillAll => {
                    self.killed_all = true;
                    (0..self.processes.len()).for_each(|number| self.kill(number));
                }
                Action::Reload => panic!("no signal is routed to it"),
            }
        }
    }

    fn spawn(&mut self, id: ServiceId) {
        let number = id.0;
        assert!(self.processes[number].is_none(), "two of service {number}");
        assert!(self.shutdown_at.is_none(), "service {number} started during the shutdown");
        let policy = self.policy.services[number].clone();
        assert!(!self.stopped.contains(&number), "{number} was stopped by the operator");
        let span = policy.start_timeout.unwrap_or(EXECUTION_TIMEOUT);
        self.pauses.starts(id, Some(span), self.now);
        for other in &policy.after {
            let state = self.core.state(*other);
            let is_there = matches!(state, State::Running { ready: true, .. } | State::Gone(_));
            assert!(is_there, "service {number} started before {other:?}, which is {state:?}");
            let done = self.policy.services[other.0].kind == ServiceType::Oneshot;
            let is_fine =
                matches!(state, State::Running { .. }) || done && state == State::Gone(End::Done);
            assert!(
                is_fine || !policy.requires.contains(other),
                "{number} started without {other:?}"
            );
        }
        let start = Some(self.begin_start(id));
        let process = Process { start, ready_at: None, ends_at: None, is_asked: false };
        self.processes[number] = Some(process);
    }

    fn ask(&mut self, id: ServiceId) {
        if self.shutdown_at.is_some() {
            self.check_stop_order(id);
        }
        let stubborn = self.random.one_in(5);
        let span = self.random.millis(4000);
        let Some(process) = &mut self.processes[id.0] else { return };
        process.is_asked = true;
        if process.start.is_some() {
            // Its program has made no arrangements yet.
            process.ends_at = Some((self.now, ExitStatus::Signal(Signal::TERM)));
        } else if !stubborn {
            let end = (self.now + span, ExitStatus::Code(0));
            process.ends_at = Some(
                process.ends_at.map_or(end, |other| if other.0 <= end.0 { other } else { end }),
            );
        }
    }

    /// Whoever comes after it was asked before, if it lives.
    fn check_stop_order(&self, id: ServiceId) {
        if self.policy.services[id.0].is_retired || self.leaving.contains(&id.0) {
            return;
        }
        for (number, policy) in self.policy.services.iter().enumerate() {
            let follows = policy.after.contains(&id)
                || (self.policy.in_file_order && number > id.0 && !policy.is_retired);
            let state = self.core.state(ServiceId(number));
            let is_unasked = matches!(state, State::Running { .. } | State::Spawning { .. });
            assert!(
                !(follows && is_unasked && self.processes[number].is_some()),
                "{id:?} was asked before {number}, which is {state:?}"
            );
        }
    }

    fn kill(&mut self, number: usize) {
        if let Some(process) = &mut self.processes[number] {
            let is_held_up = matches!(process.start, Some(Start::HeldUp(_)));
            assert!(!is_held_up, "service {number} is killed, and would start after that");
            process.ends_at = Some((self.now, ExitStatus::Signal(Signal::KILL)));
        }
    }

    fn check_promises(&mut self) {
        if self.swept_at == Some(self.now) {
            return;
        }
        if let Some(deadline) = self.core.deadline() {
            let is_left_behind = deadline <= self.now && !self.pauses.is_late();
            assert!(!is_left_behind, "a deadline was left behind");
        }
        if self.core.outcome().is_none() {
            self.pauses.check_shutdown(self.policy.grace, self.killed_all, KILL_WAIT);
        }
        self.check_rest();
    }

    /// No more restarts within the span than the policy allows, since somebody looked after it.
    fn restarts_by_itself(&mut self, id: ServiceId) {
        let RestartPolicy { max, within, .. } = self.policy.services[id.0].restart;
        let times = &mut self.restarts[id.0];
        times.push(self.now);
        times.retain(|at| self.now - *at < within);
        assert!(times.len() <= max as usize, "{id:?} started too often");
    }

    /// When nothing more will happen by itself, nothing waits that could start.
    fn check_rest(&self) {
        let is_calm = self.pending.is_empty()
            && self.core.deadline().is_none()
            && self.shutdown_at.is_none()
            && self
                .processes
                .iter()
                .flatten()
                .all(|process| process.ready_at.is_none() && process.ends_at.is_none());
        if !is_calm {
            return;
        }
        for (number, policy) in self.policy.services.iter().enumerate() {
            match self.core.state(ServiceId(number)) {
                State::Waiting => {
                    let reason = policy.after.iter().find(|other| {
                        let state = self.core.state(**other);
                        !matches!(
                            state,
                            State::Running { ready: true, .. }
                                | State::Gone(End::Done | End::Failed | End::Never)
                        )
                    });
                    let is_held_up = self.core.missing(ServiceId(number)).is_some();
                    assert!(reason.is_some() || is_held_up, "service {number} waits for nothing");
                }
                State::Running { ready: false, .. } => {
                    let waits_for_ever = policy.has_readiness && policy.start_timeout.is_none();
                    assert!(waits_for_ever, "service {number} is late, and nobody will notice");
                }
                State::Running { .. } => {
                    assert!(!self.stopped.contains(&number), "{number} was stopped, and runs");
                    assert!(!self.to_end.contains(&number), "{number} was not restarted");
                }
                State::Gone(_) => {}
                other => panic!("service {number} is {other:?} for ever"),
            }
        }
    }

    fn check_outcome(&mut self) {
        let outcome = self.core.outcome().unwrap();
        self.say(format!("{outcome:?}"));
        assert_eq!(self.core.deadline(), None);
        assert!(self.is_empty() || self.killed_all, "something was left running");
        let success = |id: ServiceId, code| self.policy.services[id.0].bundle_code(code);
        let code = match outcome.cause {
            Cause::Requested(_) | Cause::AllExited(None) => 0,
            Cause::Commanded(code) | Cause::SpawnFailed(_, code) => code,
            Cause::Unready(_) | Cause::Unhealthy(_) => 124,
            Cause::Exited(id, status) => {
                assert_eq!(self.last_exit[id.0], Some(status), "not its exit");
                success(id, status.code())
            }
            Cause::AllExited(Some((id, status))) => success(id, status.code()),
        };
        assert_eq!(outcome.code, code);
    }
}

fn simulate(seed: u64) {
    let mut world = World::new(seed);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    if result.is_err() {
        panic!("seed {seed} breaks a promise; the trace in ms:\n{}", world.trace.join("\n"));
    }
}

#[test]
fn no_life_breaks_a_promise() {
    if let Ok(seed) = std::env::var("SEED") {
        let mut world = World::new(seed.parse().expect("SEED is a number"));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
        eprintln!("{}", world.trace.join("\n"));
        assert!(result.is_ok());
        return;
    }
    (0..RUNS).for_each(simulate);
}
