//! Writes the file in which an orchestrator looks for the reason of an end.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces what is in the file by one line, or fails at once.
///
/// # Errors
/// What the kernel says; `ENXIO` for a FIFO that nobody reads, `EAGAIN` for one that is full.
pub fn write(file: &Path, line: &str) -> io::Result<()> {
    // Whoever may choose the path must not be able to hold the init up, or to give it a
    // controlling terminal: a FIFO without a reader would be waited for, fifo(7).
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut options = File::options();
    options.write(true).create(true).truncate(true).custom_flags(flags);
    options.open(file)?.write_all(format!("{line}\n").as_bytes())
}
