//! Each system call of the init fails, once, in each way that it may: at its first, second, a middle
//! and its last occurrence. The init goes on or ends in order.
//!
//! As a test it takes a sample of these, with each call in it; `make faults` takes them all. Calls
//! before `main` are the loader's. Those of the allocator are left out (`errors.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "fault_matrix/errors.rs"]
mod errors;
mod harness;
mod life;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Position, positions};
use life::Kind;
use life::traced::{self, Lived, Trace};
use test_support::programs::has;

/// Set by `make faults`: takes all with this text in their names, instead of a sample.
const ONLY: &str = "FAULTS";
/// How many of each call the sample has.
const SAMPLE: usize = 3;
/// How many lives are lived at the same time.
const THREADS: usize = 2;

/// One call that fails in one life.
#[derive(Clone, Debug)]
struct Case {
    kind: Kind,
    position: Position,
    call: String,
    error: &'static str,
    /// Which one since `main` has begun.
    nth: usize,
    /// How many came before that.
    before: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { kind, position, call, error, nth, .. } = self;
        write!(f, "{call} {error} #{nth} {kind:?} {position:?}")
    }
}

fn counts(calls: &[traced::Call]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        *counts.entry(&*call.name).or_default() += 1;
    }
    counts
}

/// The first, the second, one in the middle and the last.
fn occurrences(count: usize) -> BTreeSet<usize> {
    [1, 2, count.div_ceil(2), count].into_iter().filter(|nth| *nth <= count).collect()
}

fn cases(kind: Kind, position: Position, trace: &Trace) -> Vec<Case> {
    let before = counts(&trace.before);
    let mut cases = Vec::new();
    for (call, count) in counts(&trace.calls) {
        for error in errors::of(call) {
            cases.extend(occurrences(count).into_iter().map(|nth| Case {
                kind,
                position,
                call: call.to_owned(),
                error,
                nth,
                before: before.get(call).copied().unwrap_or_default(),
            }));
        }
    }
    cases
}

/// Some of each call, from here and there.
fn sample(cases: &[Case]) -> Vec<Case> {
    let mut by_call: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in cases {
        by_call.entry(&case.call).or_default().push(case);
    }
    let mut sample = Vec::new();
    for (number, cases) in by_call.values().enumerate() {
        let step = (cases.len() / SAMPLE).max(1);
        let some = cases.iter().skip(number % step).step_by(step);
        sample.extend(some.map(|case| (*case).clone()));
    }
    sample
}

/// What a case came to.
#[derive(Debug)]
enum Verdict {
    /// The call did not come so often this time.
    Missed,
    Right,
    Wrong(Vec<String>),
}

/// How often it has gone to its poll.
fn turns(trace: &Trace) -> usize {
    trace.calls.iter().filter(|call| call.name.starts_with("epoll_")).count()
}

fn judge(case: &Case, lived: &Lived, usual: &Trace) -> Verdict {
    if !lived.trace.calls.iter().any(traced::Call::is_injected) {
        return Verdict::Missed;
    }
    let mut wrong = Vec::new();
    match &lived.ended {
        None => wrong.push("had to be killed".to_owned()),
        Some(ended) => {
            let code = ended.status.code();
            // What can't be had at the start is the init's own failure, or one of the file, and it
            // says which. What runs is not brought down for that.
            let is_own = matches!(code, Some(125 | 78)) && ended.stderr.contains("can't ");
            if code != Some(case.kind.code()) && (lived.was_up || !is_own) {
                wrong.push(format!("{}: {}", ended.status, ended.record()));
            }
            if ended.stderr.contains("panicked") || ended.stderr.contains("fatal runtime error") {
                let said = ended.stderr.lines().filter(|line| !line.starts_with("sidecar-init: "));
                wrong.push(said.take(4).collect::<Vec<_>>().join(" | "));
            }
        }
    }
    if let Err(step) = &lived.lived
        && (step.contains("os error 11") || step.contains("\"timeout\":true"))
    {
        wrong.push(format!("never: {step}"));
    }
    // Whose orphans are another's can't end them.
    let is_reaper = case.position == Position::Pid1 || case.call != "prctl";
    if is_reaper && !lived.survivors.is_empty() {
        wrong.push(format!("left behind: {:?}", lived.survivors));
    }
    // Checks go on while a step is waited for. A turn of an init that is not PID 1 may look at each
    // process of the machine.
    let seconds = usize::try_from(lived.seconds).unwrap();
    let (turns, usual_turns) = (turns(&lived.trace), turns(usual));
    let (count, usual) = (lived.trace.calls.len(), usual.calls.len());
    if turns > 4 * usual_turns + 1000 * (seconds + 1) || count > 20 * usual + 10_000 * seconds {
        wrong.push(format!("{turns} turns instead of {usual_turns}, {count} calls not {usual}"));
    }
    if wrong.is_empty() { Verdict::Right } else { Verdict::Wrong(wrong) }
}

/// Past cargo, which keeps to itself what a test prints.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[test]
fn a_failing_call_is_survived() {
    if !has("strace") {
        return;
    }
    let mut all = Vec::new();
    let mut usual = BTreeMap::new();
    for position in positions() {
        for kind in Kind::BOTH {
            let lived = traced::live(kind, position, &[]);
            assert_eq!(lived.lived, Ok(()), "without a fault: {lived:?}");
            all.extend(cases(kind, position, &lived.trace));
            usual.insert((kind, position == Position::Pid1), lived.trace);
        }
    }
    let only = std::env::var(ONLY);
    let is_long = only.is_ok();
    let cases = match only {
        Ok(text) => all.into_iter().filter(|case| case.to_string().contains(&text)).collect(),
        Err(_) => sample(&all),
    };
    let verdicts = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Case { call, error, nth, before, .. } = case;
                    let fault = format!("inject={call}:error={error}:when={}", before + nth);
                    let lived = traced::live(case.kind, case.position, &["-e", &fault]);
                    let usual = &usual[&(case.kind, case.position == Position::Pid1)];
                    let verdict = judge(case, &lived, usual);
                    let mut verdicts = verdicts.lock().unwrap();
                    if let Verdict::Wrong(wrong) = &verdict {
                        say(&format!("WRONG {case}: {}\n", wrong.join("; ")));
                    }
                    if is_long && let Err(step) = &lived.lived {
                        say(&format!("a step failed: {case}: {step}\n"));
                    }
                    verdicts.push((case.clone(), verdict));
                    if is_long && verdicts.len() % 50 == 0 {
                        say(&format!("{} of {}\n", verdicts.len(), cases.len()));
                    }
                }
            });
        }
    });
    let verdicts = verdicts.into_inner().unwrap();
    if is_long {
        say(&table(&verdicts));
    }
    let wrong = verdicts.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Wrong(_)));
    let wrong: Vec<String> = wrong.map(|(case, verdict)| format!("{case}: {verdict:?}")).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// For each call how many cases were right, wrong, and did not come about.
fn table(verdicts: &[(Case, Verdict)]) -> String {
    let mut rows: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for (case, verdict) in verdicts {
        let column = match verdict {
            Verdict::Right => 0,
            Verdict::Wrong(_) => 1,
            Verdict::Missed => 2,
        };
        rows.entry(&case.call).or_default()[column] += 1;
        rows.entry("all").or_default()[column] += 1;
    }
    let mut text = format!("{:20} {:>6} {:>6} {:>6}\n", "call", "right", "wrong", "missed");
    for (call, [right, wrong, missed]) in rows {
        text.push_str(&format!("{call:20} {right:>6} {wrong:>6} {missed:>6}\n"));
    }
    text
}
