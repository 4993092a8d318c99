//! The binary `supervise`.
fn main() {}
