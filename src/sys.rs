//! The only place with `unsafe`: system calls that neither std nor rustix wraps. Nothing here decides
//! anything or knows services.
//!
//! rustix has signalfd and signal masks only as experimental features; `std::process::Command` passes a
//! blocked mask to the child and waits for its exec; and a C `main` avoids the start-up code of std's
//! runtime.

#![allow(unsafe_code)]

pub mod descriptors;
pub mod directory;
pub mod entry;
pub mod fork;
pub mod memory;
pub mod peer;
mod platform;
pub mod process;
pub mod process_ids;
pub mod signals;
pub mod spawn;
pub mod threads;
pub mod wait;
