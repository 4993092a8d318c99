//! How the init is to behave, apart from what it runs.

use std::path::PathBuf;

use crate::exit::Remap;
use crate::source::BundleSource;

/// How the init is to behave, apart from what it runs.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Exit codes to be replaced.
    pub remap: Remap,
    /// Where the closing record goes besides stderr; absolute, since the init leaves its working
    /// directory.
    pub termination_log: Option<PathBuf>,
    /// What is there while every service is ready and well.
    pub ready_file: Option<PathBuf>,
    /// Say only what went wrong, and the closing record.
    pub quiet: bool,
    /// Whether colours are welcome where the output is a terminal.
    pub colour: bool,
    /// What to read again at a reload; without it there is none.
    pub source: Option<BundleSource>,
    /// What is odd about the plan, a line each, to be said first.
    pub warnings: Vec<String>,
    /// Where to open a control socket, for a bundle.
    pub socket: Option<Socket>,
}

impl Socket {
    /// A socket at this path; that it can't be made there is said in the log.
    pub fn at(path: impl Into<PathBuf>) -> Socket {
        Socket { places: vec![path.into()], is_wanted: true }
    }
}

/// Where the control socket is to be.
#[derive(Clone, Debug)]
pub struct Socket {
    /// In the file system; the first at which it can be made.
    pub places: Vec<PathBuf>,
    /// Whether somebody asked for it; if not, that it can't be made is not reported.
    pub is_wanted: bool,
}
