//! PID 1 for containers: one command or a bundle of services.

pub mod bundle;
pub mod exit;
pub mod signal;
pub mod supervisor;
