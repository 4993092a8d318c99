//! The core against a pretend kernel. Everything is drawn from a seed; what must hold in every
//! run is asserted at every step. `SEED=n cargo test --test simulation` repeats one run and
//! prints its trace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod random;

use std::time::{Duration, Instant};

use sidecar_init::bundle::OnExit;
use sidecar_init::exit::ExitStatus;
use sidecar_init::signal::Signal;
use sidecar_init::supervisor::{
    Action, Cause, Event, KILL_WAIT, Policy, Rules, ServiceId, Supervisor,
};

use random::Random;

const RUNS: u64 = 20_000;
/// More steps than any run needs that comes down.
const STEPS: usize = 10_000;

/// How a pretend service behaves.
struct Behaviour {
    /// How long it takes until its program is executed, and whether that works; `None`: it never
    /// gets there.
    executes: Option<(Duration, bool)>,
    exits_after: Option<Duration>,
    code: u8,
    /// How long it takes to end after its stop signal; `None` ignores it.
    stops_in: Option<Duration>,
    unkillable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Never,
    /// On its way to its program, which is executed then, or fails to be.
    Starting {
        asked: bool,
        then: Option<(Instant, bool)>,
        ends_at: Option<(Instant, ExitStatus)>,
    },
    Alive {
        asked: bool,
        ends_at: Option<(Instant, ExitStatus)>,
    },
    Dead,
}

struct Stray {
    stops_in: Option<Duration>,
    ends_at: Option<Instant>,
}

struct World {
    trace: Vec<String>,
    begin: Instant,
    now: Instant,
    core: Supervisor,
    policy: Policy,
    behaviours: Vec<Behaviour>,
    lives: Vec<Life>,
    strays: Vec<Stray>,
    pending: Vec<Event>,
    signals_at: Vec<(Instant, Signal)>,
    spawned: usize,
    asked_from: usize,
    shutdown_at: Option<Instant>,
    first_unasked: Option<Cause>,
    requests: usize,
    /// When the strays were last asked to end: whether there are any is learnt after that.
    swept_at: Option<Instant>,
    killed_all_at: Option<Instant>,
    told_empty: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let count = random.below(6) as usize;
        let grace = random.millis(10_000);
        let mut behaviours = Vec::new();
        let mut services = Vec::new();
        for _ in 0..count {
            behaviours.push(Behaviour {
                executes: (!random.one_in(30)).then(|| {
                    let takes_time = random.one_in(3);
                    let after = if takes_time { random.millis(6000) } else { Duration::ZERO };
                    (after, !random.one_in(12))
                }),
                exits_after: random.one_in(3).then(|| random.millis(5000)),
                code: random.below(4) as u8,
                stops_in: (!random.one_in(5)).then(|| random.millis(4000)),
                unkillable: random.one_in(40),
            });
            let rules = Rules {
                grace: random.one_in(3).then(|| random.millis(3000)),
                on_exit: if random.one_in(3) { OnExit::Ignore } else { OnExit::Shutdown },
                ..Rules::default()
            };
            services.push(rules.into());
        }
        let policy = Policy { services, grace, in_file_order: true, ..Policy::default() };
        let now = Instant::now();
        let signals = random.below(3);
        let mut signals_at: Vec<_> = (0..signals)
            .map(|_| {
                (
                    now + random.millis(8000),
                    if random.one_in(4) { Signal::HUP } else { Signal::TERM },
                )
            })
            .collect();
        // Something always ends it.
        signals_at.push((now + Duration::from_secs(20), Signal::TERM));
        signals_at.sort_by_key(|(at, _)| *at);
        World {
            strays: (0..random.below(3))
                .map(|_| Stray {
                    stops_in: (!random.one_in(3)).then(|| random.millis(2000)),
                    ends_at: None,
                })
                .collect(),
            trace: Vec::new(),
            begin: now,
            now,
            core: Supervisor::new(policy.clone()),
            lives: vec![Life::Never; count],
            policy,
            behaviours,
            pending: Vec::new(),
            signals_at,
            spawned: 0,
            asked_from: count,
            shutdown_at: None,
            first_unasked: None,
            requests: 0,
            swept_at: None,
            killed_all_at: None,
            told_empty: false,
        }
    }

    fn say(&mut self, text: String) {
        let millis = (self.now - self.begin).as_millis();
        self.trace.push(format!("{millis:>6} {text}"));
    }

    fn run(&mut self) {
        let mut actions = Vec::new();
        self.core.tick(self.now, &mut actions);
        self.notice_shutdown();
        self.carry_out(actions);
        for _ in 0..STEPS {
            if self.core.outcome().is_some() {
                return self.check_outcome();
            }
            self.step();
        }
        panic!("it never comes down");
    }

    fn step(&mut self) {
        if let Some(next) = self.next_time() {
            self.now = self.now.max(next);
        }
        self.vanish_strays();
        let mut actions = Vec::new();
        for event in self.facts() {
            self.say(format!("{event:?}"));
            self.learn(event);
            self.core.handle(event, self.now, &mut actions);
            self.notice_shutdown();
        }
        self.core.tick(self.now, &mut actions);
        self.notice_shutdown();
        self.carry_out(actions);
        self.check_promises();
    }

    fn notice_shutdown(&mut self) {
        if self.shutdown_at.is_none() && self.core.shutdown_deadline().is_some() {
            self.shutdown_at = Some(self.now);
        }
    }

    /// When something happens next.
    fn next_time(&self) -> Option<Instant> {
        if !self.pending.is_empty()
            || (self.is_empty() && !self.told_empty && self.shutdown_at.is_some())
        {
            return Some(self.now);
        }
        let exits = self.lives.iter().filter_map(|life| match life {
            Life::Starting { then, ends_at, .. } => {
                let then = then.map(|(at, _)| at);
                then.into_iter().chain(ends_at.map(|(at, _)| at)).min()
            }
            Life::Alive { ends_at, .. } => ends_at.map(|(at, _)| at),
            Life::Never | Life::Dead => None,
        });
        let strays = self.strays.iter().filter_map(|stray| stray.ends_at);
        let signals = self.signals_at.first().map(|(at, _)| *at);
        exits.chain(strays).chain(signals).chain(self.core.deadline()).min()
    }

    /// What there is to learn now, exits before signals.
    fn facts(&mut self) -> Vec<Event> {
        let mut facts = std::mem::take(&mut self.pending);
        for (number, life) in self.lives.iter_mut().enumerate() {
            let (id, now) = (ServiceId(number), self.now);
            if let Life::Starting { asked, then, ends_at } = *life {
                let behaviour = &self.behaviours[number];
                let own_end = behaviour.exits_after;
                let own_end = own_end.map(|span| (now + span, ExitStatus::Code(behaviour.code)));
                if ends_at.is_some_and(|(at, _)| at <= now) {
                    // Killed on its way; nobody can tell whether it was there already.
                    facts.push(Event::Spawned(id));
                    *life = Life::Alive { asked, ends_at };
                } else if then.is_some_and(|(at, works)| at <= now && works) {
                    facts.push(Event::Spawned(id));
                    *life = Life::Alive { asked, ends_at: own_end };
                } else if then.is_some_and(|(at, _)| at <= now) {
                    facts.push(Event::SpawnFailed(id, 127));
                    *life = Life::Dead;
                }
            }
            if let Life::Alive { ends_at: Some((at, status)), .. } = *life
                && at <= self.now
            {
                *life = Life::Dead;
                facts.push(Event::Exited(ServiceId(number), status));
            }
        }
        if self.is_empty() && self.shutdown_at.is_some() && facts.is_empty() {
            self.told_empty = true;
            facts.push(Event::TreeEmpty);
        }
        while self.signals_at.first().is_some_and(|(at, _)| *at <= self.now) {
            facts.push(Event::Signaled(self.signals_at.remove(0).1));
        }
        facts
    }

    fn vanish_strays(&mut self) {
        let now = self.now;
        self.strays.retain(|stray| stray.ends_at.is_none_or(|at| at > now));
    }

    fn is_empty(&self) -> bool {
        let lives = |life: &Life| matches!(life, Life::Alive { .. } | Life::Starting { .. });
        self.strays.is_empty() && !self.lives.iter().any(lives)
    }

    /// The oracle: what must end the bundle.
    fn learn(&mut self, event: Event) {
        if self.shutdown_at.is_some() {
            self.requests += usize::from(event == Event::Signaled(Signal::TERM));
            return;
        }
        let cause = match event {
            Event::Signaled(signal @ Signal::TERM) => {
                self.requests += 1;
                Some(Cause::Requested(signal))
            }
            Event::SpawnFailed(id, code) => Some(Cause::SpawnFailed(id, code)),
            Event::Exited(id, status) if self.policy.services[id.0].on_exit == OnExit::Shutdown => {
                Some(Cause::Exited(id, status))
            }
            _ => None,
        };
        self.first_unasked = self.first_unasked.or(cause);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for order in actions {
            if !matches!(order, Action::Announce(_)) {
                self.say(format!("  -> {order:?}"));
            }
            match order {
                Action::Spawn(id) => self.spawn(id),
                Action::Signal(id, Signal::TERM, _) => self.ask(id),
                Action::Signal(id, signal, _) => {
                    assert_ne!(self.lives[id.0], Life::Never, "{signal} to one that never ran");
                }
                // Nothing of an earlier run is ever in the way here.
                Action::CancelStart(_) => {}
                Action::Kill(id) => self.kill(id),
                Action::TerminateRest => {
                    self.swept_at = Some(self.now);
                    for stray in &mut self.strays {
                        stray.ends_at =
                            stray.ends_at.or(stray.stops_in.map(|span| self.now + span));
                    }
                }
                Action::KillAll => {
                    assert!(self.killed_all_at.is_none(), "killed everything twice");
                    self.killed_all_at = Some(self.now);
                    (0..self.lives.len()).for_each(|number| self.kill(ServiceId(number)));
                    self.strays.iter_mut().for_each(|stray| stray.ends_at = Some(self.now));
                }
                Action::CheckLiveness(_)
                | Action::EndChecks
                | Action::CancelReload
                | Action::Announce(_) => {}
                Action::CheckReadiness(_) | Action::RunStopCommand(_) | Action::Reload => {
                    panic!("nobody asked for {order:?}")
                }
            }
        }
    }

    fn spawn(&mut self, id: ServiceId) {
        assert_eq!(id.0, self.spawned, "started out of order, or twice");
        assert!(self.shutdown_at.is_none(), "started during the shutdown");
        self.spawned += 1;
        let then = self.behaviours[id.0].executes.map(|(after, works)| (self.now + after, works));
        self.lives[id.0] = Life::Starting { asked: false, then, ends_at: None };
    }

    fn ask(&mut self, id: ServiceId) {
        assert!(self.shutdown_at.is_some(), "asked to end while the bundle was up");
        assert!(id.0 < self.asked_from, "asked out of order, or twice");
        self.asked_from = id.0;
        let is_killable = !self.behaviours[id.0].unkillable;
        let (asked, ends_at) = match &mut self.lives[id.0] {
            Life::Alive { asked, ends_at } => (asked, ends_at),
            Life::Starting { asked, ends_at, .. } => {
                *asked = true;
                *ends_at = is_killable.then_some((self.now, ExitStatus::Signal(Signal::TERM)));
                return;
            }
            Life::Never | Life::Dead => return,
        };
        *asked = true;
        if let Some(span) = self.behaviours[id.0].stops_in {
            let end = (self.now + span, ExitStatus::Code(0));
            *ends_at =
                Some(ends_at.map_or(end, |earlier| if earlier.0 <= end.0 { earlier } else { end }));
        }
    }

    fn kill(&mut self, id: ServiceId) {
        if let Life::Alive { ends_at, .. } | Life::Starting { ends_at, .. } = &mut self.lives[id.0]
            && !self.behaviours[id.0].unkillable
        {
            *ends_at = Some((self.now, ExitStatus::Signal(Signal::KILL)));
        }
    }

    fn check_promises(&self) {
        if self.swept_at == Some(self.now) {
            return;
        }
        if let Some(deadline) = self.core.deadline() {
            assert!(deadline > self.now, "a deadline was left behind");
        }
        let Some(shutdown_at) = self.shutdown_at else {
            let starts = self.lives.iter().any(|life| matches!(life, Life::Starting { .. }));
            assert!(starts || self.core.deadline().is_none(), "an idle bundle needs no timer");
            return;
        };
        let end = shutdown_at + self.policy.grace;
        if self.core.outcome().is_none() && self.now >= end {
            let killed_at = self.killed_all_at.expect("everything is killed at the deadline");
            assert!(killed_at <= end, "killed too late");
        }
    }

    fn check_outcome(&mut self) {
        let outcome = self.core.outcome().unwrap();
        self.say(format!("{outcome:?}"));
        let shutdown_at = self.shutdown_at.expect("it was shut down");
        assert!(self.now <= shutdown_at + self.policy.grace + KILL_WAIT, "came down too late");
        assert_eq!(self.core.deadline(), None);
        let expected = self.first_unasked;
        match outcome.cause {
            Cause::AllExited(_) => assert_eq!(expected, None),
            cause => assert_eq!(Some(cause), expected),
        }
        let code = match outcome.cause {
            Cause::Requested(_) | Cause::AllExited(None) => 0,
            Cause::SpawnFailed(_, code) => code,
            Cause::Exited(_, status) | Cause::AllExited(Some((_, status))) => status.code(),
            other => panic!("no service has checks, and there is no operator: {other:?}"),
        };
        assert_eq!(outcome.code, code);
        assert!(outcome.forced.is_none() || self.requests > 1, "forced by one request");
        if self.killed_all_at.is_none() {
            assert!(self.is_empty(), "ended before everything was gone");
            let is_unasked = |life: &Life| {
                matches!(
                    life,
                    Life::Alive { asked: false, .. } | Life::Starting { asked: false, .. }
                )
            };
            let reached = !self.lives.iter().any(is_unasked);
            assert!(reached, "a service was never asked");
        }
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
fn no_bundle_breaks_a_promise() {
    if let Ok(seed) = std::env::var("SEED") {
        let mut world = World::new(seed.parse().expect("SEED is a number"));
        world.run();
        eprintln!("{}", world.trace.join("\n"));
        return;
    }
    (0..RUNS).for_each(simulate);
}
