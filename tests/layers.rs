//! The program is built as ARCHITECTURE.md says: who may import whom, what is pure, and who waits.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "layers/document.rs"]
mod document;
#[path = "layers/modules.rs"]
mod modules;
#[path = "layers/text.rs"]
mod text;

use std::fs;
use std::path::Path;

use document::{Document, begins_with};
use modules::{Modules, cycle, is_within, modules};
use text::has_word;

/// The parts of the reactor, which only `init` puts together.
const COMPONENTS: [&str; 7] = [
    "init/announcer",
    "init/children",
    "init/control",
    "init/health",
    "init/launch",
    "init/reload",
    "log",
];

/// What may sleep. Of other system calls `poll_only.rs` sees to it that they do not.
const WAITS: [&str; 22] = [
    "libc::epoll_wait",
    "libc::nanosleep",
    "libc::pause",
    "libc::poll",
    "libc::ppoll",
    "libc::pselect",
    "libc::select",
    "libc::sigtimedwait",
    "libc::sigwait",
    "libc::sigwaitinfo",
    "mio::Poll",
    "rustix::event::epoll",
    "rustix::event::poll",
    "rustix::event::select",
    "rustix::thread::clock_nanosleep",
    "rustix::thread::futex",
    "rustix::thread::nanosleep",
    "std::process::Command",
    "std::sync::Condvar",
    "std::sync::Mutex",
    "std::sync::mpsc",
    "std::thread",
];

/// The one file that may.
const POLL: &str = "poll.rs";

/// Who waits, though it is for the poll.
fn waits(modules: &Modules) -> Vec<String> {
    let others = modules.iter().filter(|(_, module)| module.file != POLL);
    let paths =
        others.flat_map(|(name, module)| module.foreign.iter().map(move |path| (name, path)));
    let waits = paths.filter(|(_, path)| WAITS.iter().any(|wait| begins_with(path, wait)));
    waits.map(|(name, path)| format!("{name} names {path}, which is for src/{POLL}")).collect()
}

/// Which parts of the reactor name more than two components, their own among them.
fn of_many_components(modules: &Modules) -> Vec<String> {
    let parts = modules.iter().filter(|(name, _)| name.starts_with("init/"));
    let named = parts.map(|(name, module)| {
        let all = || module.imports.iter().chain([name]);
        let is_named = |one: &&&str| all().any(|other| is_within(other, one));
        (name, COMPONENTS.iter().filter(is_named).count())
    });
    let many = named.filter(|(_, count)| *count > 2);
    many.map(|(name, count)| format!("{name} names {count} components")).collect()
}

fn sources() -> Vec<(String, String)> {
    fn read(folder: &Path, root: &Path, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, root, files);
            } else if !path.ends_with("tests.rs") {
                let below = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push((below, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    read(&root, &root, &mut files);
    files
}

fn program() -> Modules {
    modules(&sources())
}

#[test]
fn nothing_but_sys_has_unsafe_code() {
    let has_some =
        |(file, text): &(String, String)| has_word(text, "unsafe") && !file.starts_with("sys");
    let files: Vec<String> = sources().into_iter().filter(has_some).map(|(file, _)| file).collect();
    assert_eq!(files, [""; 0]);
    assert!(has_word("fn f() { unsafe { g() } }", "unsafe"));
    assert!(!has_word("// unsafe\nfn f() { g(\"unsafe\") }", "unsafe"));
}

#[test]
fn no_module_imports_one_that_imports_it() {
    assert_eq!(cycle(&program()).map(|cycle| cycle.join(" -> ")), None);
}

#[test]
fn layers_and_code_map_are_as_they_are_described() {
    let document = Document::parse(include_str!("../ARCHITECTURE.md"));
    let contradictions = document.contradictions(&program());
    assert!(contradictions.is_empty(), "{}", contradictions.join("\n"));
}

#[test]
fn nothing_but_the_poll_waits() {
    let found = waits(&program());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_the_init_names_many_components() {
    let found = of_many_components(&program());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn who_names_many_components_is_found() {
    let files = [
        ("init.rs", "use crate::log; mod health; mod launch; use {health::A, launch::B};"),
        ("init/health.rs", "use super::launch::B; use crate::log::C;"),
        ("init/launch.rs", "use super::health::{A, checks::D};"),
        ("init/health/checks.rs", ""),
        ("log.rs", ""),
    ];
    let modules = modules(&files.map(|(file, text)| (file.to_owned(), text.to_owned())));
    assert_eq!(of_many_components(&modules), ["init/health names 3 components"]);
}

#[test]
fn who_waits_is_found() {
    let files = [
        ("poll.rs", "use rustix::event::{PollFd, poll};"),
        ("a.rs", "use rustix::event::{PollFd, poll}; fn f() { std::thread::sleep(x) }"),
    ];
    let modules = modules(&files.map(|(file, text)| (file.to_owned(), text.to_owned())));
    assert_eq!(
        waits(&modules),
        [
            "a names rustix::event::poll, which is for src/poll.rs",
            "a names std::thread::sleep, which is for src/poll.rs",
        ]
    );
}
