//! The only place with `unsafe`: what neither std nor rustix wraps. Nothing here decides anything,
//! and nothing here knows a service.
//!
//! It is here because rustix has no signalfd and no signal mask outside its experimental part,
//! because `std::process::Command` hands a blocked mask on to the child and waits for its exec, and
//! because a C `main` saves the start of std's runtime.

#![allow(unsafe_code)]

pub mod descriptors;
pub mod directory;
pub mod entry;
pub mod fork;
pub mod memory;
pub mod peer;
mod platform;
pub mod process_ids;
pub mod signals;
pub mod spawn;
pub mod threads;
pub mod wait;
