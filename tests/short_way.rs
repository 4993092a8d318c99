//! One command by the short way: a signal arrives at each of its system calls, each of them fails, and
//! whatever is out of the ordinary is handed over to the init.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::collections::BTreeMap;
use std::process::Command;

use harness::{Ended, Position, binary, positions, run, start, start_script, with_witness};
use test_support::programs::has;
use test_support::until;

/// Memory, and calls that can't fail or are the end.
const NOT_TRIED: [&str; 6] = ["brk", "exit_group", "geteuid", "getpid", "mmap", "munmap"];
/// How rustix waits, by architecture.
const POLLS: [&str; 2] = ["poll", "ppoll"];

/// The init behind strace, which follows it and not the command.
fn traced(rule: &[&str], script: &str) -> Command {
    let mut command = Command::new("strace");
    command.args(rule).arg(binary()).args(["--", "sh", "-c", &with_witness(script)]);
    command
}

/// The system calls of the short way from `main` on, each with how often it came before, itself included.
fn calls(script: &str) -> Vec<(String, usize)> {
    let trace = tempfile::NamedTempFile::new().unwrap();
    run(&mut traced(&["-o", trace.path().to_str().unwrap()], script));
    let mut seen = BTreeMap::new();
    let text = std::fs::read_to_string(trace.path()).unwrap();
    let names = text.lines().filter_map(|line| Some(line.split_once('(')?.0.to_owned()));
    let names = names.filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    let all: Vec<(String, usize)> = names
        .map(|name| {
            let count = seen.entry(name.clone()).or_insert(0);
            *count += 1;
            (name, *count)
        })
        .collect();
    // The first that `main` does is to block all signals, as the entry point did before. An init that
    // takes over does it once more.
    let place = |nth| all.iter().position(|call| *call == ("rt_sigprocmask".to_owned(), nth));
    all[place(2).unwrap() + 1..place(3).unwrap_or(all.len())].to_vec()
}

/// Of the many that set dispositions some.
fn is_tried((name, nth): &(String, usize)) -> bool {
    name != "rt_sigaction" || [1, 15, 64].contains(nth)
}

/// All of this run, each with a fault or a signal.
fn with_each(calls: &[(String, usize)], fault: &str, script: &str) -> Vec<(String, Ended)> {
    let rule = |(name, nth): &(String, usize)| format!("inject={name}:{fault}:when={nth}");
    let rules = calls.iter().filter(|call| is_tried(call)).map(rule);
    rules
        .map(|rule| {
            let ended = run(&mut traced(&["-o", "/dev/null", "-e", &rule], script));
            (rule, ended)
        })
        .collect()
}

#[test]
fn a_signal_at_any_moment_reaches_the_command() {
    if !has("strace") {
        return;
    }
    let all = calls("exit 0");
    let last_poll = all.iter().rposition(|(name, _)| POLLS.contains(&&**name)).unwrap();
    // It has no other end than by the signal; 143: it had not asked for it yet.
    let script = "exec WITNESS up TERM=!5";
    for (rule, ended) in with_each(&all[..=last_poll], "signal=SIGTERM", script) {
        assert!([5, 143].contains(&ended.code()), "{rule}: {ended:?}");
    }
    for (rule, ended) in with_each(&all, "signal=SIGTERM", "exit 0") {
        assert!([0, 143].contains(&ended.code()), "{rule}: {ended:?}");
    }
}

#[test]
fn any_call_may_fail() {
    if !has("strace") {
        return;
    }
    for code in [0, 3] {
        let script = format!("exit {code}");
        let all = calls(&script);
        let all: Vec<_> =
            all.into_iter().filter(|(name, _)| !NOT_TRIED.contains(&&**name)).collect();
        assert!(all.iter().any(|(name, _)| name == "wait4"), "{all:?}");
        for error in ["ENOMEM", "EPERM", "ENOSYS"] {
            for (rule, ended) in with_each(&all, &format!("error={error}"), &script) {
                let is_own = ended.code() == 125 && ended.stderr.contains("can't ");
                assert!(ended.code() == code || is_own, "{rule}: {ended:?}");
            }
        }
    }
}

#[test]
fn what_is_out_of_the_ordinary_is_handed_over() {
    for position in positions() {
        let ended = |script: &str| harness::run_script(position, &[], script);
        assert_eq!(ended("exit 0").stderr, "", "{position:?}: nothing is");
        let failed = ended("exit 3");
        assert_eq!(failed.code(), 3);
        assert!(failed.record().contains("exited with code 3"), "{failed:?}");
        let killed = ended("kill -KILL $$");
        assert_eq!(killed.code(), 137);
        assert!(killed.record().contains("SIGKILL"), "{killed:?}");
        let missing = harness::run_command(position, &[], &["/no/such/program"]);
        assert_eq!(missing.code(), 127);
        assert!(missing.stderr.contains("/no/such/program"), "{missing:?}");

        let left =
            start_script(position, &[], "setsid WITNESS up TERM=asked!0 & read line; exit 0");
        let mut left = left;
        left.wait_for("up");
        let left = left.end();
        assert_eq!(left.code(), 0);
        assert!(left.stdout.contains("asked"), "{left:?}");

        let mut signalled = start_script(position, &[], "exec WITNESS up USR1=usr1 TERM=term!4");
        signalled.wait_for("up");
        for _ in 0..2 {
            signalled.signal("USR1");
            signalled.wait_for("usr1");
        }
        signalled.signal("TERM");
        signalled.wait_for("term");
        let signalled = signalled.end();
        assert_eq!(signalled.code(), 4);
        let terms = signalled.stdout.matches("term").count();
        assert_eq!(terms, 1, "once, not by both ways: {signalled:?}");
    }
}

#[test]
fn the_record_has_the_time_of_the_whole_run() {
    let ended = harness::run_script(Position::Child, &[], "sleep 1; exit 3");
    assert!(ended.record().contains("exited with code 3 after "), "{ended:?}");
    assert!(!ended.record().contains("after 0s"), "{ended:?}");
}

#[test]
fn a_death_before_a_signal_is_told_as_the_death() {
    for position in [Position::Child, Position::ChildByInit] {
        let mut running = start_script(position, &[], "echo up; read line; exit 3");
        running.wait_for("up");
        let (init, command) = (running.pid(), running.command_pid());
        harness::kill(init, "STOP");
        running.write("end\n");
        until("the command is dead", || {
            let stat = std::fs::read_to_string(format!("/proc/{command}/stat")).ok()?;
            stat.contains(") Z ").then_some(())
        });
        harness::kill(init, "TERM");
        harness::kill(init, "CONT");
        let ended = running.end();
        assert_eq!(ended.code(), 3);
        assert!(ended.record().contains("exited with code 3"), "{position:?}: {ended:?}");
    }
}

#[test]
fn a_kernel_without_pidfds_is_named_by_both_ways() {
    if !has("strace") {
        return;
    }
    for options in [&[][..], &["--grace", "8s"]] {
        let mut command = Command::new("strace");
        command.args(["-o", "/dev/null", "-e", "inject=pidfd_open:error=ENOSYS"]).arg(binary());
        let script = with_witness("exec WITNESS up TERM=!3");
        let mut running = start(command.args(options).args(["--", "sh", "-c", &script]));
        running.wait_for("up");
        harness::kill(harness::children(running.pid())[0], "TERM");
        let ended = running.end();
        assert_eq!(ended.code(), 3, "{ended:?}");
        assert_eq!(ended.stderr.matches("using SIGCHLD").count(), 1, "{options:?}: {ended:?}");
    }
}

#[test]
fn signals_that_can_not_be_blocked_are_for_the_init() {
    if !has("strace") {
        return;
    }
    let rule = ["-o", "/dev/null", "-e", "inject=rt_sigprocmask:error=EPERM"];
    assert_eq!(run(&mut traced(&rule, "exit 3")).code(), 3);
}

#[test]
fn a_command_does_not_outlive_an_init_that_can_not_take_it_over() {
    if !has("strace") {
        return;
    }
    let rule = ["-o", "/dev/null", "-e", "inject=epoll_create1:error=EMFILE"];
    let mut running = start(&mut traced(&rule, "exec WITNESS up USR1=usr1"));
    running.wait_for("up");
    let init = harness::children(running.pid())[0];
    let command = harness::children(init)[0];
    harness::kill(init, "USR1");
    let ended = running.end();
    assert_eq!(ended.code(), 125, "{ended:?}");
    assert!(ended.stderr.contains("can't start"), "{ended:?}");
    until("the command is gone", || {
        let stat = std::fs::read_to_string(format!("/proc/{command}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
    });
}
