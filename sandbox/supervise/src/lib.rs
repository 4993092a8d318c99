//! Takes an agent's requests for more access, and the operator's decisions on them.
//!
//! The agent's side is an MCP server, the operator's a command line; between the two is a queue of
//! files. What is decided purely (which proposals are good, what a file would become, whether a
//! limit is reached) is apart from what reads, writes and asks.

pub mod audit;
pub mod change;
pub mod config_file;
pub mod decide;
pub mod desk;
pub mod diff;
pub mod directory;
pub mod egress;
pub mod event_file;
pub mod files;
pub mod finding;
pub mod host;
pub mod init_event;
pub mod interruption;
pub mod limit;
pub mod paint;
pub mod pipelock_check;
pub mod pipelock_config;
pub mod plan;
pub mod proposal;
pub mod proxy_client;
pub mod queue;
pub mod reload;
pub mod route;
pub mod server;
pub mod settings;
mod spelling;
pub mod text;
pub mod watcher;
pub mod yaml;
