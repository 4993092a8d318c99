//! The manual pages have all of the interface, and are in order.

use std::process::Command;

use sidecar_init::bundle::toml::keys;
use test_support::notices::or_skip;

use crate::command_line::{Entry, FORMS, REQUESTS, entries};
use crate::{generated, manual};

const PROGRAM: &str = include_str!("../../docs/sidecar-init.8");

#[test]
fn generated_manual_of_the_file_is_up_to_date() {
    let date = PROGRAM.lines().find_map(|line| line.strip_prefix(".Dd ")).unwrap();
    let readme = include_str!("../../README.md");
    let example = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let page = manual::page(include_str!("../../docs/bundle.md"), example, date);
    generated::holds("docs/sidecar-init.toml.5", &page);
    for key in keys() {
        assert!(page.contains(&format!("\n.It Ic {}\n", key.replace('-', "\\-"))), "{key}");
    }
}

#[test]
fn the_manual_of_the_program_has_every_subcommand_and_option() {
    let synopsis = PROGRAM.split(".Sh ").find(|section| section.starts_with("SYNOPSIS")).unwrap();
    for form in &FORMS[1..] {
        let word = form.word();
        let in_synopsis = synopsis.lines().any(|line| {
            line.strip_prefix(".Cm ").is_some_and(|words| words.split(" | ").any(|it| it == word))
        });
        assert!(in_synopsis, "the synopsis lacks {word}");
        let item = format!("\n.It Cm {word}");
        assert_eq!(PROGRAM.matches(&item).count(), 1, "{word}");
    }
    for Entry(_, written, ..) in entries() {
        // mdoc's Fl writes the first dash.
        let (letter, rest) = written.split_once("--").unwrap();
        let names = letter.replace('-', "").replace(", ", " , ");
        let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let value: Vec<String> = value
            .split('=')
            .filter(|part| !part.is_empty())
            .map(|part| match part.strip_prefix('[') {
                Some(part) => format!("Op Ar {}", part.trim_end_matches(']').to_lowercase()),
                None => format!("Ar {}", part.to_lowercase()),
            })
            .collect();
        let item = format!("\n.It Fl {names}-{name} {}", value.join(" Ns = Ns "));
        assert!(PROGRAM.contains(&format!("{}\n", item.trim_end())), "{item:?}");
    }
}

#[test]
fn the_document_of_the_control_socket_has_every_request_and_its_options() {
    let text = include_str!("../../docs/control.md");
    let (_, commands) = text.split_once("\n## The commands\n").unwrap();
    let (table, rest) = commands.split_once("\n\nThe exit code").unwrap();
    for request in REQUESTS {
        let code = format!("`{}", request.form().word());
        let row = table.lines().find(|line| line.contains(&code));
        let row = row.unwrap_or_else(|| panic!("{code} is missing"));
        for entry in request.entries() {
            let long = format!("--{}", entry.long());
            let short = entry.short().map_or(long.clone(), |letter| format!("-{letter}]"));
            let is_of_all = ["socket", "help", "version"].contains(&entry.long());
            let is_told = row.contains(&long) || row.contains(&short);
            // How long the init may take to answer is said once for all.
            let is_told = is_told || entry.long() == "timeout" && rest.contains(&long);
            assert!(is_of_all || is_told, "{code} has no {long}: {row}");
        }
    }
}

#[test]
fn mandoc_finds_nothing_in_the_manuals() {
    let is_there = Command::new("mandoc").arg("-h").output().is_ok();
    if !or_skip(is_there, "needs mandoc") {
        return;
    }
    for page in ["sidecar-init.8", "sidecar-init.toml.5"] {
        let path = format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"));
        let output = Command::new("mandoc").args(["-T", "lint", "-W", "all"]).arg(path).output();
        let output = String::from_utf8(output.unwrap().stdout).unwrap();
        // Which other manuals are installed is the machine's affair.
        let found: Vec<&str> =
            output.lines().filter(|line| !line.contains("referenced manual not found")).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
}
