//! The programs that tests need; without them tests are skipped.

use std::path::PathBuf;

#[path = "../../../../tests/notices/mod.rs"]
pub mod notices;

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
    notices::or_skip(path.is_some(), &format!("there is no {what}"));
    path
}
