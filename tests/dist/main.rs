//! What `make dist` makes: it is the same wherever it is built, and each package is installed and run
//! as a user would.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contents;
mod kernels;
mod made;
mod order;
mod packages;
mod signature;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use made::{Made, made};

/// The names of a folder's files.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn two_directories_and_two_cargo_homes_make_the_same() {
    let Some(Made { here, elsewhere, .. }) = made() else { return };
    let all = names(elsewhere);
    assert!(all.is_subset(&names(here)), "{all:?}");
    // What is about both machines is not the same where one was asked for.
    let of_both = |name: &str| name.contains("SHA256SUMS") || name.contains("image");
    let of_one: Vec<_> = all.iter().filter(|name| !of_both(name)).collect();
    assert_eq!(of_one.len(), 4, "{of_one:?}");
    for name in of_one {
        let same = fs::read(here.join(name)).unwrap() == fs::read(elsewhere.join(name)).unwrap();
        assert!(same, "{name}");
    }
}

#[test]
fn no_name_of_a_folder_is_in_a_binary() {
    let Some(made) = made() else { return };
    for machine in &made.machines {
        let binary = fs::read(made.binary(machine)).unwrap();
        assert!(binary.starts_with(b"\x7fELF"), "{machine}");
        let sysroot =
            made::output(std::process::Command::new("rustc").args(["--print", "sysroot"]));
        for folder in [env!("CARGO_MANIFEST_DIR"), sysroot.trim(), "/registry/src"] {
            let found = memchr::memmem::find(&binary, folder.as_bytes());
            assert_eq!(found, None, "{machine}: {folder}");
        }
    }
}
