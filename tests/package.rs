//! What a stranger gets: the package of the init.

#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
fn the_package_holds_the_init_alone() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["package", "--package", "sidecar-init", "--list", "--allow-dirty", "--quiet"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    let list = String::from_utf8(output.stdout).unwrap();
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
        "completions/_sidecar-init",
        "completions/sidecar-init.bash",
        "completions/sidecar-init.fish",
        "docs/bundle.md",
        "docs/bundle.schema.json",
        "docs/control.md",
        "docs/sidecar-init.8",
        "docs/sidecar-init.toml.5",
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
