//! The command line of sidecar-init.
fn main() {}
