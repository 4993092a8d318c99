//! The command line is one table, and the keys of the file are another: all that is made of them.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code)] // What only the parser asks for.
#[path = "../src/bin/sidecar-init/command_line.rs"]
mod command_line;
#[path = "interface/completions.rs"]
mod completions;
#[path = "interface/generated.rs"]
mod generated;
#[path = "interface/manual.rs"]
mod manual;
#[path = "interface/manuals.rs"]
mod manuals;
#[path = "interface/schema.rs"]
mod schema;
#[path = "interface/schema_checks.rs"]
mod schema_checks;
#[path = "interface/shells.rs"]
mod shells;

use assert_cmd::Command;
use command_line::{Entry, FORMS, Form, REQUESTS, RUNNERS, Subcommand, entries};
use predicates::str::contains;
use sidecar_init::protocol::Request;

/// The program, without what the environment says of it.
fn sidecar_init() -> Command {
    let mut command = Command::cargo_bin("sidecar-init").unwrap();
    for name in ["SOCKET", "CONFIG", "GRACE", "REMAP"] {
        command.env_remove(format!("SIDECAR_INIT_{name}"));
    }
    command
}

fn printed(arguments: &[&str]) -> String {
    let output = sidecar_init().args(arguments).assert().success().stderr("").get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_subcommand_has_a_help_of_its_own() {
    let all = printed(&["--help"]);
    assert_eq!(printed(&["help"]), all);
    for Form(subcommand, written, _) in &FORMS[1..] {
        let word = subcommand.form().word();
        let help = printed(&[word, "--help"]);
        assert_eq!(printed(&["help", word]), help);
        assert!(help.starts_with(&format!("Usage: sidecar-init {word} [OPTIONS]")), "{help}");
        assert!(all.contains(&format!("\n  {written}")), "{written}");
        for Entry(_, written, of, _) in entries() {
            let is_there = help.lines().any(|line| line.trim().split("  ").next() == Some(written));
            let is_own = subcommand.entries().iter().any(|entry| entry.1 == *written);
            assert_eq!(is_there, is_own, "{word} {written} of {of:?}: {help}");
            assert!(all.contains(&format!("  {written}")), "{written}");
        }
        for line in help.lines().chain(all.lines()) {
            assert!(line.len() <= 86 && line.trim_end() == line, "{line:?}");
        }
    }
}

#[test]
fn the_requests_of_the_protocol_are_subcommands() {
    let words: Vec<&str> = REQUESTS.iter().map(|request| request.form().word()).collect();
    assert_eq!(words, Request::COMMANDS);
    let rest: Vec<Subcommand> = FORMS.iter().map(|form| form.0).collect();
    assert_eq!(rest, [RUNNERS, REQUESTS, &[Subcommand::Help]].concat());
}

#[test]
fn an_option_is_taken_where_the_table_says_and_nowhere_else() {
    for Form(subcommand, ..) in FORMS {
        for entry in entries() {
            let own = subcommand.entries().into_iter().find(|own| own.long() == entry.long());
            let named = format!("--{}", entry.long());
            let mut command = sidecar_init();
            command.args(Some(subcommand.form().word()).filter(|word| !word.is_empty()));
            // Without its value, or with one that it does not take, nothing is run.
            let (argument, answer) = match own {
                None => (named.clone(), named.clone()),
                Some(own) if own.1.ends_with(own.long()) => (format!("{named}=x"), "x".to_owned()),
                Some(_) => (named.clone(), format!("{named} needs a value")),
            };
            let told = command.arg(&argument).assert().code(64).stdout("").stderr(contains(answer));
            let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
            assert!(!told.contains("unknown option"), "{argument}: {told}");
            let is_taken = told.contains("needs a value") || told.contains("unexpected");
            assert_eq!(is_taken, own.is_some(), "{argument}: {told}");
        }
    }
}

#[test]
fn what_is_misspelt_or_misplaced_is_put_right() {
    for (arguments, fix) in [
        (&["status", "--jsn"][..], "unknown option --jsn; did you mean --json?"),
        (&["run", "--onlu", "x"], "unknown option --onlu; did you mean --only?"),
        (&["--watch"], "--watch goes with status: sidecar-init status --watch"),
        (
            &["--socket", "x"],
            "--socket goes with requests to a running bundle: sidecar-init status",
        ),
        (&["run", "--map", "TERM="], "--map is for one command only; in a bundle, [signals]"),
        (&["check", "-q"], "-q does not go with check, which runs nothing"),
        (&["run", "--json"], "--json goes with check: sidecar-init check --json"),
        (&["logs", "--grace", "3s"], "logs takes no option --grace"),
        (&["help", "statsu"], "'statsu' is not a subcommand; did you mean 'status'?"),
        (&["help", "run", "check"], "help takes one subcommand: help run"),
    ] {
        sidecar_init().args(arguments).assert().code(64).stdout("").stderr(contains(fix));
    }
}
