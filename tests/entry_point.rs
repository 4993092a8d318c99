//! The first instructions of the binary, on machines that this one is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use test_support::programs::has;

#[test]
fn all_signals_are_blocked_and_all_else_is_as_the_kernel_left_it() {
    for machine in ["aarch64", "riscv64"] {
        let tool = |name: &str| format!("{machine}-linux-gnu-{name}");
        let (assembler, linker, emulator) = (tool("as"), tool("ld"), format!("qemu-{machine}"));
        if ![&assembler, &linker, &emulator].iter().all(|tool| has(tool)) {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        let run = |program: &str, arguments: &[&Path]| {
            let status = Command::new(program).args(arguments).status().unwrap();
            status.code().unwrap()
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (folder, object) in [("src/sys/entry", "entry.o"), ("tests/entry_point", "witness.o")] {
            let source = root.join(folder).join(format!("{machine}.s"));
            assert_eq!(run(&assembler, &[Path::new("-o"), &place(object), &source]), 0, "{folder}");
        }
        let (entry, witness, program) = (place("entry.o"), place("witness.o"), place("program"));
        let arguments =
            [Path::new("-e"), Path::new("witness"), Path::new("-o"), &program, &entry, &witness];
        assert_eq!(run(&linker, &arguments), 0, "{machine}");
        let wrong = "tests/entry_point says what it is";
        assert_eq!(run(&emulator, &[&program]), 0, "{machine}: {wrong}");
    }
}
