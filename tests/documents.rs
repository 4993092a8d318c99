//! The documents say what the program says.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

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

#[test]
fn it_is_built_where_the_readme_says_that_it_works_and_nowhere_else() {
    // Only a target's name is needed, not its standard library: without any, `compile_error` is
    // itself what is missing where it would have been called.
    let is_refused = |target: &str| {
        let mut rustc = std::process::Command::new("rustc");
        rustc.env("RUSTC_BOOTSTRAP", "1").args(["--target", target, "--crate-type", "lib"]);
        rustc.args(["-Zcrate-attr=feature(no_core)", "-Zcrate-attr=no_core", "--emit", "metadata"]);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sys/platform.rs");
        // Not /dev/null, in place of which rustc would put a file, if root asks for it.
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("metadata");
        let output = rustc.arg("-o").arg(place).arg(source).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!errors.contains("find specification for target"), "{errors}");
        errors.contains("cannot find macro `compile_error`")
    };
    let readme = include_str!("../README.md");
    let places = readme.split("## Where it works").nth(1).unwrap().split("\n## ").next().unwrap();
    for (name, target) in [
        ("x86_64", "x86_64-unknown-linux-gnu"),
        ("aarch64", "aarch64-unknown-linux-musl"),
        ("riscv64", "riscv64gc-unknown-linux-gnu"),
        ("s390x", "s390x-unknown-linux-gnu"),
        ("powerpc64le", "powerpc64le-unknown-linux-gnu"),
    ] {
        assert!(places.contains(name), "{name}: {places}");
        assert!(!is_refused(target), "{target}");
    }
    for target in [
        "armv7-unknown-linux-gnueabihf",
        "arm-unknown-linux-musleabi",
        "i686-unknown-linux-gnu",
        "x86_64-unknown-linux-gnux32",
        "powerpc64-unknown-linux-gnu",
        "loongarch64-unknown-linux-gnu",
        "aarch64-apple-darwin",
    ] {
        assert!(is_refused(target), "{target}");
    }
}

/// The names of a document's headings as links have them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// Where the links of a document lead that are no addresses of the web.
fn local_links(text: &str) -> impl Iterator<Item = &str> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    links.filter(|link| !link.contains("://") && !link.starts_with("mailto:"))
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    let folder = std::fs::read_dir(root.join("docs")).unwrap();
    documents.extend(folder.map(|entry| entry.unwrap().path()));
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut seen = 0;
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in local_links(&text) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            assert!(target.exists(), "{}: {link}", document.display());
            if !anchor.is_empty() {
                let there = std::fs::read_to_string(&target).unwrap();
                let known = anchors(&there);
                assert!(
                    known.iter().any(|known| known == anchor),
                    "{}: {link}",
                    document.display()
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 10);
}

#[test]
fn a_heading_is_linked_to_by_its_words() {
    let text =
        "# One\n## `make bench` and its peers\n[a](#one), [b](docs/b.md#c d) and [w](https://w)\n";
    assert_eq!(anchors(text), ["one", "make-bench-and-its-peers"]);
    assert_eq!(local_links(text).collect::<Vec<_>>(), ["#one", "docs/b.md#c"]);
}
