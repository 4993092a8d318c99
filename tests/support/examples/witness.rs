//! What the inits under test run: says when it is ready, and which signals it gets.
//!
//! `witness WORD [SIGNAL=TEXT[!CODE]]...` prints WORD, and then for each signal its TEXT, and
//! exits with CODE if there is one. With `ALL` in place of the rules it prints `got N` for every
//! signal N. A shell would not do: a signal may reach it after it has looked for signals and
//! before it waits, or reach a child that it has just forked.

#![allow(clippy::expect_used)] // as in any test

use std::collections::BTreeMap;
use std::io::Write;

use rustix::event::{PollFd, PollFlags, poll};
use sidecar_init::internal::signals::{Signals, block_all};
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

fn main() {
    block_all();
    let signals = Signals::open().expect("a signalfd");
    let mut arguments = std::env::args().skip(1);
    say(&arguments.next().expect("a word"));
    let rules = rules(arguments);
    loop {
        let _ = poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
        let mut received = Vec::new();
        signals.read(&mut received).expect("signals");
        for received in received {
            let Some((text, code)) = rules.get(&received.signal) else { continue };
            say(text);
            if let Some(code) = code {
                std::process::exit(*code);
            }
        }
    }
}
