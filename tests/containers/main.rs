//! The static binary in real containers: what `docker run`, `stop`, `kill` and `inspect` see.
//!
//! Needs a Docker engine and the images of `image.sh`. Without them the tests are skipped,
//! loudly; with `CI` set they fail instead.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[allow(dead_code)]
mod docker;
#[path = "../harness/mod.rs"]
mod harness;
mod health;
mod real_servers;
mod seccomp;
#[path = "../server_stories/mod.rs"]
mod server_stories;
mod servers;
mod settings;
mod terminal;
