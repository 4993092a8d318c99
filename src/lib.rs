//! PID 1 for containers: one command or a bundle of services.

pub mod bundle;
mod cgroup;
pub mod exit;
pub mod identity;
pub mod init;
mod log;
pub mod plan;
pub mod record;
pub mod signal;
pub mod supervisor;
pub mod sys;
