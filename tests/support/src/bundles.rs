//! The bundles of the tests, for the one that holds them against the schema.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// The variable that names the folder for them, which `tests/run` sets.
const FOLDER: &str = "TEST_BUNDLES";

/// Keeps a bundle's file, right or wrong.
pub fn keep(text: &str) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let name = format!("{:016x}", hasher.finish());
        std::fs::write(std::path::Path::new(&folder).join(name), text).unwrap();
    }
}

/// All that are kept; none without a folder.
pub fn all() -> Vec<String> {
    let Some(folder) = std::env::var_os(FOLDER) else { return Vec::new() };
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| std::fs::read_to_string(file).unwrap()).collect()
}
