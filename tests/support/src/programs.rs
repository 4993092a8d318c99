//! The programs that tests run: those of the machine, and our own from `examples/`.

use std::path::PathBuf;
use std::process::Command;

use crate::notices::or_skip;

/// Where `PATH` has a program of this name.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Whether a program is there, for a test that can't be done without. It may have a path, with `*`
/// for what differs from machine to machine.
pub fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
    or_skip(found.status.success(), &format!("{program} is not installed"))
}

/// The program that says when it is ready, and which signals it gets.
pub fn witness() -> String {
    example("witness")
}

/// The program that does what a shell can't: notifies, or serves HTTP.
pub fn actor() -> String {
    example("actor")
}

/// The path of one of ours, where cargo puts examples.
pub fn example(name: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let build = test.parent().unwrap().parent().unwrap();
    let program = build.join("examples").join(name);
    // Cargo leaves it out where only some tests are asked for.
    assert!(
        program.exists(),
        "{} is missing; run cargo build --workspace --examples",
        program.display()
    );
    program.into_os_string().into_string().unwrap()
}
