//! The list of what is inside, and the licences.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::made::{made, output};

#[test]
fn the_list_and_the_licences_have_every_crate_that_is_linked() {
    let Some(made) = made() else { return };
    let list = fs::read(made.package("sidecar-init-", "x86_64-linux.spdx.json")).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    let packages = list["packages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names: BTreeSet<String> = packages.iter().map(|one| text(&one["name"])).collect();
    for linked in ["rustix", "serde_json", "strict-toml", "rust-std", "compiler_builtins", "musl"] {
        assert!(names.contains(linked), "{linked}: {names:?}");
    }
    for other in ["serde_derive", "tempfile", "tokio", "git-gate"] {
        assert!(!names.contains(other), "{other}");
    }

    let identities: BTreeSet<String> = packages.iter().map(|one| text(&one["SPDXID"])).collect();
    assert_eq!(identities.len(), packages.len(), "two have one name");
    let mut named: BTreeSet<String> = list["relationships"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| text(&one["relatedSpdxElement"]))
        .collect();
    assert_eq!(named, identities);
    named.retain(|identity| identity.contains("sidecar-init"));
    assert_eq!(named.len(), 1);

    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let rustix = packages.iter().find(|one| one["name"] == "rustix").unwrap();
    let sum = text(&rustix["checksums"][0]["checksumValue"]);
    assert!(lock.contains(&format!("checksum = \"{sum}\"")), "{sum}");

    let archive = made.package("sidecar-init-", "x86_64-linux.tar.gz");
    let unpack = ["-x", "-O", "--wildcards", "*/LICENSES.txt", "-f"];
    let licences = output(Command::new("tar").args(unpack).arg(archive));
    let of_others =
        names.iter().filter(|name| !["sidecar-init", "strict-toml"].contains(&name.as_str()));
    for name in of_others {
        assert!(licences.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}");
    }
    assert!(licences.contains("Copyright (c) 2005-2020 Rich Felker"));
}
