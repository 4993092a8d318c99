//! What the inits under test run: says when it is ready, and which signals it gets.
//!
//! `witness WORD [SIGNAL=TEXT[!CODE]]...` prints WORD, and then for each signal its TEXT, and
//! exits with CODE if there is one. With `ALL` in place of the rules it prints `got N` for every
//! signal N. A shell would not do: a signal may reach it after it has looked for signals and
//! before it waits, or reach a child that it has just forked.

#![allow(clippy::expect_used)] // as in any test

use std::collections::BTreeMap;
use std::io::Write;
use std::ptr;

use sidecar_init::signal::Signal;

/// What to print, and what to exit with.
type Rules = BTreeMap<Signal, (String, Option<i32>)>;

fn rules(arguments: impl Iterator<Item = String>) -> Rules {
    let rule = |argument: String| {
        if argument == "ALL" {
            let all =
                Signal::all().map(|signal| (signal, (format!("got {}", signal.number()), None)));
            return all.collect::<Vec<_>>();
        }
        let (signal, text) = argument.split_once('=').expect("SIGNAL=TEXT");
        let (text, code) = match text.split_once('!') {
            Some((text, code)) => (text, Some(code.parse().expect("a code"))),
            None => (text, None),
        };
        vec![(signal.parse().expect("a signal"), (text.to_owned(), code))]
    };
    arguments.flat_map(rule).collect()
}

fn say(text: &str) {
    if !text.is_empty() {
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    }
}

/// All signals, as the kernel's `sigset_t`. libc leaves 32 and 33 out of its own.
static ALL: u64 = u64::MAX;

fn block_all() {
    // SAFETY: the kernel reads 8 bytes from a static of that size, and writes nothing.
    let result = unsafe {
        let set = &raw const ALL;
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, set, ptr::null::<u64>(), 8)
    };
    assert_eq!(result, 0);
}

/// Waits for the next signal.
fn next_signal() -> Option<Signal> {
    // SAFETY: the kernel reads 8 bytes from a static of that size, and writes nothing, as
    // the pointers for the signal's origin and for a time limit are null.
    let number = unsafe {
        let (set, none) = (&raw const ALL, ptr::null::<u8>());
        libc::syscall(libc::SYS_rt_sigtimedwait, set, none, none, 8)
    };
    // It is interrupted by STOP and CONT, signal(7).
    Signal::from_number(i32::try_from(number).ok()?)
}

fn main() {
    block_all();
    let mut arguments = std::env::args().skip(1);
    say(&arguments.next().expect("a word"));
    let rules = rules(arguments);
    loop {
        let Some((text, code)) = next_signal().and_then(|signal| rules.get(&signal)) else {
            continue;
        };
        say(text);
        if let Some(code) = code {
            std::process::exit(*code);
        }
    }
}
