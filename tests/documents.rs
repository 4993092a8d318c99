//! The documents say what the program says.

#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

fn sidecar_init() -> Command {
    Command::cargo_bin("sidecar-init").unwrap()
}

/// The words of the help text that name an option, a variable or a command.
fn words(help: &str) -> impl Iterator<Item = &str> {
    let is_word_part = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    help.split(move |c| !is_word_part(c)).filter(|word| {
        word.strip_prefix("--").is_some_and(|name| !name.is_empty())
            || word.starts_with("SIDECAR_INIT_")
    })
}

#[test]
fn the_man_page_has_every_option_and_variable_of_the_help() {
    let output = sidecar_init().arg("--help").assert().success().stderr("").get_output().clone();
    let help = String::from_utf8(output.stdout).unwrap();
    let page = include_str!("../docs/sidecar-init.8");
    assert!(words(&help).count() > 10);
    for word in words(&help) {
        // mdoc's Fl writes the first dash.
        let word = word.strip_prefix('-').unwrap_or(word);
        assert!(page.contains(word), "{word} is missing in the man page");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = format!("sidecar-init {}\n", env!("CARGO_PKG_VERSION"));
    sidecar_init().arg("--version").assert().success().stdout(version);
}

#[test]
fn wrong_usage_points_to_the_help() {
    let hint = contains("Try 'sidecar-init --help'").and(contains("--nosuch"));
    sidecar_init().arg("--nosuch").assert().code(64).stdout("").stderr(hint);
}
