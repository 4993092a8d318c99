//! The binaries as PID 1 of real kernels, in an emulator: the short form of `make boots`.

use std::process::Command;

use test_support::notices::warn;
use test_support::programs::has;

use crate::made::made;

#[test]
fn each_binary_is_pid_1_of_debians_kernels() {
    if made().is_none() || !has("qemu-system-x86_64") || !has("qemu-system-aarch64") {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/boots");
    let boots = Command::new(script).arg("--few").output().unwrap();
    let said = String::from_utf8_lossy(&boots.stdout);
    let errors = String::from_utf8_lossy(&boots.stderr);
    if boots.status.code() == Some(2) {
        return warn("no kernel of Debian's can be downloaded, so none is booted");
    }
    assert!(boots.status.success(), "{said}{errors}");
    assert_eq!(said.matches(": right (").count(), 9, "{said}");
}
