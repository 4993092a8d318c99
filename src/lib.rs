//! PID 1 for containers: one command or a bundle of services.
//!
//! The binary `sidecar-init` uses this library, and your own program can use it in three ways.
//!
//! # Run a bundle
//!
//! Build a bundle in code, or parse one with [`bundle::toml`], and run it in this process. The init
//! takes over the whole process (signals, orphans, the working directory), so the program must do
//! nothing else, and have only one thread: `Init` returns an error if there are more.
//!
//! ```standalone_crate
//! use sidecar_init::bundle::{Bundle, Service};
//! use sidecar_init::init::{Init, Options};
//! use sidecar_init::plan::Plan;
//!
//! let mut bundle = Bundle::new("example");
//! bundle.services.push(Service::new("web", ["sleep", "1000"]));
//! let mut failing = Service::new("failing", ["sh", "-c", "exit 3"]);
//! failing.after = vec!["web".to_owned()];
//! bundle.services.push(failing);
//!
//! let code = Init::new(Plan::new(bundle)?, Options::default())?.run();
//! assert_eq!(code, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Parse a bundle from a text:
//!
//! ```
//! use sidecar_init::bundle::toml;
//!
//! let text = r#"
//!     [[service]]
//!     name = "web"
//!     command = ["sleep", "1000"]
//! "#;
//! let bundle = toml::parse("embedded.toml", text)?;
//! assert_eq!(bundle.services[0].name, "web");
//! # Ok::<(), toml::ConfigErrors>(())
//! ```
//!
//! [`source::BundleSource`] reads a file; an init with a source can reload it.
//!
//! # Control a running init
//!
//! [`client::Client`] controls a running init through its control socket, as the subcommands
//! `status`, `restart` and so on do. `examples/` has a client that uses tokio.
//!
//! ```no_run
//! use std::time::Duration;
//! use sidecar_init::client::Client;
//!
//! let client = Client::at("/run/sidecar-init.sock");
//! if !client.health()?.healthy {
//!     client.restart(["web"], Some(Duration::from_secs(30)))?;
//! }
//! # Ok::<(), sidecar_init::client::Error>(())
//! ```
//!
//! # Simulate the core
//!
//! [`supervisor`] makes all decisions and no system calls: it takes events and times as arguments.
//! The tests simulate it this way.

mod announcement;
pub mod bundle;
mod cgroup;
pub mod client;
mod duration;
mod error_text;
mod event_kind;
pub mod exit;
mod file;
mod identity;
pub mod init;
mod log;
mod metrics;
mod plain_command;
pub mod plan;
mod poll;
mod privileges;
mod probe;
mod process_tree;
mod program;
pub mod protocol;
mod record;
pub mod signal;
pub mod source;
pub mod supervisor;
mod sys;
mod termination_log;
mod time_limit;
mod timeline;
pub mod words;

/// Only for the binary of this package and its tests; not a stable API.
#[doc(hidden)]
pub mod internal {
    pub mod duration {
        pub use crate::duration::*;
    }
    pub mod termination_log {
        pub use crate::termination_log::*;
    }
    pub use crate::error_text::error_text;
    pub use crate::init::{Said, parse_notification};
    pub use crate::log::write_in_time;
    pub use crate::plain_command::{HandOver, run as run_plain_command};
    pub use crate::probe::status as http_status;
    pub use crate::sys::{descriptors, entry, memory, signals};
}
