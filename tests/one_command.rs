//! What an init for one command promises, in both positions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use harness::{init, is_ours, run, run_command, run_script, start_script, ways};
use test_support::until;

/// Reports every signal.
const REPORTER: &str = "exec WITNESS ready ALL";

#[test]
fn every_exit_code_is_kept() {
    for position in ways() {
        for code in 0..=255 {
            let ended = run_script(position, &[], &format!("exit {code}"));
            assert_eq!(ended.code(), code, "{position:?}");
        }
    }
}

#[test]
fn death_by_a_signal_is_128_and_its_number() {
    for position in ways() {
        for signal in (1..=64).filter(|n| ![17, 18, 19, 20, 21, 22, 23, 28, 32, 33].contains(n)) {
            let ended = run_script(position, &[], &format!("ulimit -c 0; kill -{signal} $$"));
            assert_eq!(ended.code(), 128 + signal, "{position:?} {ended:?}");
        }
    }
}

#[test]
fn every_signal_is_forwarded_once() {
    for position in ways() {
        let mut running = start_script(position, &[], REPORTER);
        running.wait_for("ready");
        for signal in (1..=64).filter(|n| ![2, 9, 15, 17, 19, 32, 33].contains(n)) {
            running.signal(&signal.to_string());
            assert_eq!(running.line(), format!("got {signal}"), "{position:?}");
        }
    }
}

#[test]
fn term_is_passed_on_and_continues_what_is_stopped() {
    for position in ways() {
        let mut running = start_script(position, &[], "exec WITNESS ready TERM=term!3");
        running.wait_for("ready");
        harness::kill(running.command_pid(), "STOP");
        running.signal("TERM");
        running.wait_for("term");
        assert_eq!(running.end().code(), 3, "{position:?}");
    }
}

#[test]
fn a_second_request_kills_at_once() {
    if !is_ours("a second TERM kills") {
        return;
    }
    for position in ways() {
        let mut running =
            start_script(position, &["--grace", "1h"], "exec WITNESS ready TERM=term");
        running.wait_for("ready");
        running.signal("TERM");
        running.wait_for("term");
        running.signal("TERM");
        let ended = running.end();
        assert_eq!(ended.code(), 137, "{position:?}");
        assert!(ended.record().contains("a second request, SIGTERM"), "{ended:?}");
    }
}

#[test]
fn what_overruns_the_grace_is_killed_and_named() {
    if !is_ours("grace") {
        return;
    }
    for position in ways() {
        let script = "exec WITNESS ready";
        let mut running = start_script(position, &["--grace", "200ms"], script);
        running.wait_for("ready");
        running.signal("TERM");
        let ended = running.end();
        assert_eq!(ended.code(), 137, "{position:?}");
        assert!(ended.record().contains("overran the grace: sh"), "{ended:?}");
    }
}

#[test]
fn no_grace_is_no_reproach() {
    if !is_ours("grace") {
        return;
    }
    for position in ways() {
        let ended = run_command(position, &["--grace", "0s"], &["true"]);
        assert_eq!((ended.code(), &*ended.stderr), (0, ""), "{position:?}");
    }
}

#[test]
fn what_is_left_behind_is_asked_and_then_killed() {
    if !is_ours("draining") {
        return;
    }
    for position in ways() {
        let polite = "setsid WITNESS up TERM=asked!0";
        let script = format!("{polite} & read line; exit 5");
        let mut running = start_script(position, &[], &script);
        running.wait_for("up");
        let ended = running.end();
        assert_eq!(ended.code(), 5, "{position:?}");
        assert!(ended.stdout.contains("asked"), "{position:?} {ended:?}");

        let stubborn = "setsid WITNESS up & read line; exit 6";
        let mut running = start_script(position, &["--grace", "200ms"], stubborn);
        running.wait_for("up");
        let ended = running.end();
        assert_eq!(ended.code(), 6, "{position:?}");
        assert!(ended.record().contains("processes left behind"), "{ended:?}");
    }
}

#[test]
fn mask_and_dispositions_are_clean_whatever_was_inherited() {
    for position in ways() {
        let script = "trap '' HUP INT PIPE CHLD USR1; exec \"$@\"";
        let under = ["sh", "-c", script, "sh"].map(str::to_owned);
        let mut command = std::process::Command::new(&under[0]);
        command.args(&under[1..]);
        let init = init(position);
        command.arg(init.get_program()).args(init.get_args());
        let ended = run(command.args(["--", "cat", "/proc/self/status"]));
        for field in ["SigBlk", "SigIgn"] {
            let line = ended.stdout.lines().find(|line| line.starts_with(field)).unwrap();
            assert!(line.ends_with("\t0000000000000000"), "{position:?} {line}");
        }
    }
}

#[test]
fn the_command_leads_its_own_process_group() {
    for position in ways() {
        let ended = run_command(
            position,
            &[],
            &["sh", "-c", "read a b c d group rest < /proc/$$/stat; echo $$ $group"],
        );
        let ids: Vec<&str> = ended.stdout.split_whitespace().collect();
        assert_eq!(ids[0], ids[1], "{position:?}");
    }
}

#[test]
fn arguments_and_environment_are_passed_byte_for_byte() {
    for position in ways() {
        let odd = OsStr::from_bytes(b"\xff caf\xe9 ");
        let mut command = init(position);
        command.args(["--", "printf", "<%s>", "", " a  b ", "\"$x\"", "--", "-h"]).arg(odd);
        let output = command.env("ODD", odd).output().unwrap();
        assert_eq!(output.stdout, b"<>< a  b ><\"$x\"><--><-h><\xff caf\xe9 >", "{position:?}");
        let mut command = init(position);
        let output = command.args(["--", "printenv", "ODD"]).env("ODD", odd).output().unwrap();
        assert_eq!(output.stdout, b"\xff caf\xe9 \n", "{position:?}");
    }
}

#[test]
fn what_was_handed_over_is_the_commands_and_not_kept() {
    for position in ways() {
        let inner = init(position);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "exec 7</etc/passwd; exec \"$@\"", "sh"]);
        command.arg(inner.get_program()).args(inner.get_args());
        command.args(["--", "sh", "-c", "readlink /proc/self/fd/7; echo ready; read line"]);
        let mut running = harness::start(&mut command);
        assert_eq!(running.line(), "/etc/passwd");
        running.wait_for("ready");
        let pid = running.pid();
        let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let holds = |entry: std::fs::DirEntry| {
            std::fs::read_link(entry.path()).is_ok_and(|target| target.ends_with("passwd"))
        };
        until("it lets go", || (!open().any(holds)).then_some(()));
        if is_ours("the working directory") {
            let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
            assert_eq!(directory, std::path::Path::new("/"));
        }
    }
}

#[test]
fn an_output_that_the_command_closes_is_closed() {
    if !is_ours("letting go of stdout") {
        return;
    }
    // Behind unshare it is unshare that holds them.
    let mut running =
        start_script(harness::Position::Child, &[], "echo up; exec >&-; read line; exit 3");
    running.wait_for("up");
    running.wait_for_end_of_stdout();
    assert_eq!(running.end().code(), 3, "it went on after that");
}

#[test]
fn an_input_that_the_command_closes_is_closed() {
    use std::io::Write;
    if !is_ours("letting go of stdin") {
        return;
    }
    let script = "exec <&-; echo up; exec WITNESS ready TERM=!3";
    let mut running = start_script(harness::Position::Child, &[], script);
    running.wait_for("ready");
    let mut stdin = running.stdin.take().unwrap();
    let refused = || stdin.write_all(b"x").err().map(|error| error.kind());
    let refused = until("nobody can read it", refused);
    assert_eq!(refused, std::io::ErrorKind::BrokenPipe);
    running.signal("TERM");
    assert_eq!(running.end().code(), 3);
}

#[test]
fn sockets_handed_over_are_for_the_command() {
    if !is_ours("LISTEN_PID") {
        return;
    }
    // In `exec` the pid stays, so that the variable names the init.
    let mut command = std::process::Command::new("sh");
    let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
    command.args([
        "-c",
        script,
        "sh",
        &harness::binary(),
        "--",
        "sh",
        "-c",
        "echo $$ $LISTEN_PID $LISTEN_FDS",
    ]);
    let ended = run(&mut command);
    let ids: Vec<&str> = ended.stdout.split_whitespace().collect();
    assert_eq!((ids[0], ids[2]), (ids[1], "1"));
}

#[test]
fn a_failed_start_is_127_or_126_and_names_the_path() {
    for position in ways() {
        let missing = run_command(position, &[], &["/nonexistent/program"]);
        assert_eq!(missing.code(), 127);
        assert!(missing.stderr.contains("/nonexistent/program"), "{missing:?}");
        let not_executable = run_command(position, &[], &["/etc/passwd"]);
        assert_eq!(not_executable.code(), 126);
        assert!(not_executable.stderr.contains("/etc/passwd"), "{not_executable:?}");
        assert_eq!(run_command(position, &[], &["/etc"]).code(), 126);
        assert_eq!(run_command(position, &[], &["no-such-command"]).code(), 127);
    }
}

#[test]
fn an_entry_of_path_that_is_too_long_is_skipped() {
    for position in ways() {
        let path = format!("{}:{}", "a".repeat(5000), std::env::var("PATH").unwrap());
        let ended = run(init(position).args(["--", "sh", "-c", "exit 3"]).env("PATH", path));
        assert_eq!(ended.code(), 3, "{position:?}: {ended:?}");
        let ended = harness::run_command(position, &[], &[&"a".repeat(300)]);
        assert_eq!(ended.code(), 127, "{position:?}: {ended:?}");
    }
}

#[test]
fn signals_are_rewritten_and_dropped_by_name() {
    if !is_ours("--map") {
        return;
    }
    for position in ways() {
        let options = ["--map", "TERM=QUIT", "--map", "USR1=", "--map", "HUP=USR2"];
        let mut running = start_script(position, &options, REPORTER);
        running.wait_for("ready");
        running.signal("USR1");
        running.signal("HUP");
        assert_eq!(running.line(), "got 12");
        running.signal("TERM");
        running.wait_for("got 3");
    }
}

#[test]
fn exit_codes_are_remapped_by_option_and_environment() {
    if !is_ours("--remap") {
        return;
    }
    for position in ways() {
        assert_eq!(run_script(position, &["--remap", "143=0"], "kill -TERM $$").code(), 0);
        let mut command = init(position);
        let command = command.env("SIDECAR_INIT_REMAP", "3=4,5=6");
        assert_eq!(run(command.args(["--", "sh", "-c", "exit 5"])).code(), 6);
    }
}

#[test]
fn the_group_gets_signals_where_asked() {
    for position in ways() {
        let script = "WITNESS inner USR1=both!0 & exec WITNESS outer USR1=both!0";
        let mut running = start_script(position, &["-g"], script);
        let mut both = [running.line(), running.line()];
        both.sort();
        assert_eq!(both, ["inner", "outer"]);
        running.signal("USR1");
        assert_eq!([running.line(), running.line()], ["both", "both"], "{position:?}");
    }
}

#[test]
fn orphans_are_reaped() {
    for position in ways() {
        let script =
            "i=0; while [ $i -lt 500 ]; do (true &); i=$((i+1)); done; echo ready; read line";
        let mut running = start_script(position, &[], script);
        running.wait_for("ready");
        let (pid, command) = (running.pid(), running.command_pid());
        until("all orphans are reaped", || (harness::children(pid) == [command]).then_some(()));
    }
}

#[test]
fn the_termination_log_has_the_record() {
    if !is_ours("--termination-log") {
        return;
    }
    // The init leaves its working directory, and finds the file all the same.
    let directory = tempfile::tempdir().unwrap();
    let mut command = init(harness::Position::Child);
    command.current_dir(directory.path());
    let ended = run(command.args(["--termination-log", "log", "--", "sh", "-c", "exit 9"]));
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert_eq!(log.trim(), ended.record());
    assert!(
        log.starts_with("sidecar-init: ended: command \"sh\" exited with code 9 after "),
        "{log}"
    );
}

#[test]
fn a_termination_log_that_nobody_reads_is_not_waited_for() {
    if !is_ours("--termination-log") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let fifo = harness::fifo(&directory, "fifo");
    let ended = run_script(harness::Position::Child, &["--termination-log", &fifo], "exit 9");
    assert_eq!(ended.code(), 9);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(lines[0].contains("ended: command \"sh\" exited with code 9"), "{ended:?}");
    assert!(lines[1].contains("can't write the termination log"), "{ended:?}");
}

#[test]
fn wrong_usage_is_64_and_says_the_fix() {
    if !is_ours("usage") {
        return;
    }
    let cases: [(&[&str], &str); 18] = [
        (&[], "nothing to run: give a command after --"),
        (&["nginx"], "to run it: sidecar-init -- nginx"),
        (&["statsu"], "'statsu' is not a subcommand; did you mean 'status'?"),
        (&["--frobnicate", "--", "true"], "unknown option --frobnicate"),
        (&["--grace", "soon", "--", "true"], "\"soon\" is not a duration"),
        (&["--grace", "300000000000years", "--", "true"], "is too long; it is at most 1h"),
        (&["--grace", "--", "true"], "--grace needs a value"),
        (&["-q", "run", "-f", "x"], "'run' comes first, and its options after it"),
        (&["-q", "status"], "'status' comes first"),
        (&["run", "x.toml"], "the bundle's file comes after -f: sidecar-init run -f x.toml;"),
        (&["run", "nginx"], "a main command after --: sidecar-init run -- nginx ..."),
        (&["check", "x.toml"], "the bundle's file comes after -f: sidecar-init check -f x.toml"),
        (&["-Vx"], "unexpected 'x'"),
        (&["--version=3"], "unexpected '3'"),
        (&["--map", "TERM", "--", "true"], "write TERM=QUIT, or HUP= to drop HUP"),
        (&["--remap", "300=0", "--", "true"], "is not a remap rule"),
        (&["-f", "x", "--", "true"], "goes with run or check"),
        (&["--"], "there is no command after --"),
    ];
    for (arguments, message) in cases {
        let ended = run(init(harness::Position::Child).args(arguments));
        assert_eq!(ended.code(), 64, "{arguments:?}");
        assert!(ended.stderr.contains(message), "{arguments:?} {ended:?}");
    }
}
