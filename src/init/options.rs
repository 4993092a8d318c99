//! Options of the init, apart from the bundle.

use std::path::PathBuf;

use crate::exit::Remap;
use crate::source::BundleSource;

/// Options of the init, apart from the bundle.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Exit codes to be replaced.
    pub remap: Remap,
    /// The file for the closing record, besides stderr; absolute, because the init changes its working
    /// directory.
    pub termination_log: Option<PathBuf>,
    /// A file that exists while every service is ready and live.
    pub ready_file: Option<PathBuf>,
    /// Log only problems and the closing record.
    pub quiet: bool,
    /// Whether to use colours on a terminal.
    pub colour: bool,
    /// What to read at a reload; without it reloads are refused.
    pub source: Option<BundleSource>,
    /// Warnings about the plan to log first, one line each.
    pub warnings: Vec<String>,
    /// Where to open the control socket of a bundle.
    pub socket: Option<Socket>,
}

impl Socket {
    /// A socket at this path; a failure is logged.
    pub fn at(path: impl Into<PathBuf>) -> Socket {
        Socket { places: vec![path.into()], is_wanted: true }
    }
}

/// The control socket.
#[derive(Clone, Debug)]
pub struct Socket {
    /// Paths; the first one that works is used.
    pub places: Vec<PathBuf>,
    /// Whether a setting named it; if not, a failure is not logged.
    pub is_wanted: bool,
}
