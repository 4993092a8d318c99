//! What a stranger gets: the package of the init, and under which licences the rest is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

/// The licences that may be built in. Each is met by the notices that packages bring along.
const LICENCES: [&str; 6] = ["Apache-2.0", "BSD-3-Clause", "ISC", "MIT", "Unicode-3.0", "Zlib"];

/// What cargo says.
fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).arg("--quiet").current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_package_holds_the_init_alone() {
    let list = cargo(&["package", "--package", "sidecar-init", "--list", "--allow-dirty"]);
    let files: Vec<&str> = list.lines().collect();
    for file in ["src/lib.rs", "build.rs", "README.md", "LICENSE", "docs/sidecar-init.8"] {
        assert!(files.contains(&file), "{file} is missing");
    }
    // What cargo itself adds: the manifest, the lock file, and from which commit they are.
    let added = ["Cargo.toml", "Cargo.toml.orig", "Cargo.lock", ".cargo_vcs_info.json"];
    let documents = [
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "build.rs",
        "docs/bundle.md",
        "docs/control.md",
        "docs/sidecar-init.8",
        "examples/demo.toml",
    ];
    let is_example = |file: &str| file.starts_with("examples/") && file.ends_with(".rs");
    let others = files.into_iter().filter(|file| {
        !(file.starts_with("src/")
            || is_example(file)
            || added.contains(file)
            || documents.contains(file))
    });
    assert_eq!(others.collect::<Vec<_>>(), [""; 0]);
}

/// Whether a package under this licence may be built in.
fn is_allowed(licence: &str) -> bool {
    let expression = Expression::parse_mode(licence, ParseMode::LAX);
    expression.is_ok_and(|expression| {
        expression.evaluate(|required| {
            let id = required.license.id();
            id.is_some_and(|id| LICENCES.contains(&id.name)) && required.addition.is_none()
        })
    })
}

#[test]
fn all_that_is_built_in_may_be() {
    for (licence, allowed) in [
        ("MIT/Apache-2.0", true),
        ("MIT OR GPL-3.0-only", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0-only", false),
        ("Some licence of ours", false),
    ] {
        assert_eq!(is_allowed(licence), allowed, "{licence}");
    }
    // Without it cargo would fetch what is for other systems than Linux.
    let platform = "--filter-platform=x86_64-unknown-linux-gnu";
    let metadata = cargo(&["metadata", "--locked", "--format-version=1", platform]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50);
    let refused = packages.iter().filter(|package| {
        // `null` where it names a file or nothing.
        !package["license"].as_str().is_some_and(is_allowed)
    });
    let refused = refused.map(|package| format!("{}: {}", package["name"], package["license"]));
    assert_eq!(refused.collect::<Vec<_>>(), [""; 0]);
}
