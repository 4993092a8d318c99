//! The first instructions of the binary, on a machine that this one is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use test_support::programs::has;

#[test]
fn on_aarch64_all_signals_are_blocked_and_all_else_is_as_the_kernel_left_it() {
    let tools = ["aarch64-linux-gnu-as", "aarch64-linux-gnu-ld", "qemu-aarch64"];
    if !tools.iter().all(|tool| has(tool)) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let run = |program: &str, arguments: &[&Path]| {
        let status = Command::new(program).args(arguments).status().unwrap();
        status.code().unwrap()
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (source, object) in
        [("src/sys/entry/aarch64.s", "entry.o"), ("tests/entry_point/aarch64.s", "witness.o")]
    {
        let arguments = [Path::new("-o"), &place(object), &root.join(source)];
        assert_eq!(run("aarch64-linux-gnu-as", &arguments), 0, "{source}");
    }
    let (entry, witness, program) = (place("entry.o"), place("witness.o"), place("program"));
    let arguments =
        [Path::new("-e"), Path::new("witness"), Path::new("-o"), &program, &entry, &witness];
    assert_eq!(run("aarch64-linux-gnu-ld", &arguments), 0);
    assert_eq!(run("qemu-aarch64", &[&program]), 0, "tests/entry_point/aarch64.s says what it is");
}
