//! The programs that tests need; without them tests are skipped, loudly.

use std::io::Write;
use std::path::PathBuf;

/// gitleaks 8.30, from the variable GITLEAKS or from PATH.
pub fn gitleaks() -> Option<PathBuf> {
    let named = std::env::var_os("GITLEAKS").map(PathBuf::from);
    found("gitleaks (set GITLEAKS to its path)", named.or_else(|| in_path("gitleaks")))
}

pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists())
}

pub fn found(what: &str, path: Option<PathBuf>) -> Option<PathBuf> {
    if path.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must have {what}");
        // Not eprintln!, which cargo keeps to itself for a test that passes.
        let line = "######## SKIPPED: nothing of the gate is tested, for there is no";
        let _ = std::io::stderr().write_all(format!("{line} {what} ########\n").as_bytes());
    }
    path
}
