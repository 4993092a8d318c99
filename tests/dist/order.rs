//! The functions of the binaries lie in the order in which typical runs use them first.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use test_support::programs::has;

use crate::made::made;

fn check(map: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/order");
    Command::new(script).arg("--check").arg(map).output().unwrap()
}

#[test]
fn functions_lie_in_the_order_of_their_first_use() {
    let Some(made) = made() else { return };
    for machine in &made.machines {
        let checked = check(&made.binary(machine).with_extension("map"));
        assert!(checked.status.success(), "run `make order`: {machine}: {checked:?}");
    }
}

/// A map in lld's form with one in `each` of the list's functions, of 16 bytes each.
fn map_with(each: usize, distance: usize) -> String {
    let list = include_str!("../../dist/functions.txt").lines().step_by(each);
    let mut map = format!("{:16x} {:16x} {:8x} {:5} .text\n", 4096, 4096, 1 << 20, 16);
    for (index, name) in list.enumerate() {
        let address = 4096 + index * distance;
        writeln!(map, "{address:16x} {address:16x} {:8x} {:5} {:16}{name}", 16, 1, "").unwrap();
    }
    map
}

#[test]
fn a_stale_list_and_functions_in_another_order_are_noticed() {
    if !has("python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("map");
    for (each, distance, code) in [(1, 16, 0), (2, 16, 1), (1, 64, 1)] {
        fs::write(&file, map_with(each, distance)).unwrap();
        let checked = check(&file);
        assert_eq!(checked.status.code(), Some(code), "{each}, {distance}: {checked:?}");
    }
}
