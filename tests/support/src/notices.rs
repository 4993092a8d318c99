//! What a person has to know about tests that passed: which were skipped, and why.
//!
//! A test that is skipped has passed, and cargo keeps to itself what a passing test prints. So
//! it goes to the file that `tests/run` names, which shows it at the end, or past cargo straight to
//! stderr.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

/// The variable that names the file. `tests/run` also knows the processes of a test by it.
const FILE: &str = "TEST_NOTICES";

/// Notes that this test, or a part of it, is skipped for this reason. With `CI` set it fails.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "in CI nothing may be skipped: {reason}");
    note("SKIPPED", reason);
}

/// What was asked, and if the answer was no: a note that this test is skipped for this reason.
pub fn or_skip(can_be_done: bool, reason: &str) -> bool {
    if !can_be_done {
        skip(reason);
    }
    can_be_done
}

/// Whether the tests run as root, for a test that can't be done without.
pub fn is_root() -> bool {
    or_skip(rustix::process::geteuid().is_root(), "needs root")
}

/// Notes something without which the result would be misread.
pub fn warn(text: &str) {
    note("NOTICE", text);
}

fn note(kind: &str, text: &str) {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(path) = std::env::var_os(FILE) {
        // One write, so that tests that run at the same time don't mix their lines.
        let line = format!("{kind}\t{text}\t{}\n", test());
        let mut file = File::options().append(true).create(true).open(&path);
        let written = file.as_mut().map(|file| file.write_all(line.as_bytes()));
        return assert!(matches!(written, Ok(Ok(()))), "{FILE}: {path:?}: {written:?}");
    }
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let line = format!("######## {kind}: {text} ########\n");
    if SAID.lock().is_ok_and(|mut said| said.insert(line.clone())) {
        // Not eprintln!, which cargo would keep to itself.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// The test that asks: `program::test`. Its thread has its name.
fn test() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let program = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // Without the hash that cargo appends.
    let program = program.rsplit_once('-').map_or(&*program, |(name, _)| name);
    format!("{program}::{}", std::thread::current().name().unwrap_or("?"))
}
