//! PID 1 for containers: one command or a bundle of services.
//!
//! The binary `sidecar-init` is one user of this library; a program of your own can be another.
//! [`bundle::toml`] reads a bundle, [`plan`] looks up what it names on this machine, and
//! [`init`] runs it. The init takes over the whole process (signals, orphans, descriptors), so
//! it is made while there is one thread, and by a program that does nothing beside it.
//!
//! ```
//! use sidecar_init::{bundle, file, init, plan};
//!
//! let text = r#"
//!     [[service]]
//!     name = "web"
//!     command = ["sleep", "1000"]
//!
//!     [[service]]
//!     name = "failing"
//!     command = ["sh", "-c", "exit 3"]
//! "#;
//! let bundle = bundle::toml::parse("embedded.toml", text)?;
//! let mut files = file::Files::default();
//! let plan = plan::Plan::bundle(bundle, None, &mut files).expect("it names no accounts");
//! let code = init::Init::new(plan, init::Options::default())?.run();
//! assert_eq!(code, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`supervisor`] is the core alone, which decides everything and touches nothing: it can be
//! driven with events and times of your own.

mod announcement;
pub mod bundle;
mod cgroup;
pub mod client;
pub mod control;
pub mod duration;
pub mod error_text;
pub mod event_kind;
pub mod exit;
pub mod file;
pub mod identity;
pub mod init;
mod log;
mod metrics;
pub mod plan;
mod poll;
mod privileges;
pub mod probe;
mod process_tree;
pub mod record;
pub mod signal;
pub mod source;
pub mod supervisor;
pub mod sys;
pub mod termination_log;
pub mod time_limit;
mod timeline;
pub mod words;

pub use log::write_in_time;
