//! The programs that tests need; without them tests are skipped.

use std::path::PathBuf;

use test_support::notices::or_skip;
use test_support::programs::in_path;

/// gitleaks 8.30, from the variable GITLEAKS or from PATH.
pub fn gitleaks() -> Option<PathBuf> {
    let named = std::env::var_os("GITLEAKS").map(PathBuf::from);
    found("gitleaks (set GITLEAKS to its path)", named.or_else(|| in_path("gitleaks")))
}

pub fn found(what: &str, path: Option<PathBuf>) -> Option<PathBuf> {
    or_skip(path.is_some(), &format!("there is no {what}"));
    path
}
