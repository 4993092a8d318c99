//! What the tests of all members share: waiting with a deadline, skips that are seen, and the
//! programs that they run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in any test

pub mod bundles;
pub mod notices;
pub mod programs;
mod waiting;

pub use waiting::{HANG, lines_of, until, until_or_say};

/// A port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Bytes that do not compress.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
