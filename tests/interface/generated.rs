//! Files of the repository that are made from tables: `make generated` writes them again.

use std::path::Path;

/// Holds that the file has this text, or writes it.
pub fn holds(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("WRITE_GENERATED").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let differ = there.lines().zip(text.lines()).find(|(there, new)| there != new);
    assert!(there == text, "{file} is out of date: run make generated; {differ:?}");
}
