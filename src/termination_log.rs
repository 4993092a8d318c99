//! Writes the termination log, in which an orchestrator finds the reason of the end.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces the content of the file by one line, without blocking.
///
/// # Errors
/// The kernel's error; `ENXIO` for a FIFO without a reader, `EAGAIN` for a full one.
pub fn write(file: &Path, line: &str) -> io::Result<()> {
    // The path must neither block the init nor give it a controlling terminal: opening a FIFO without a
    // reader would block, fifo(7).
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut options = File::options();
    options.write(true).create(true).truncate(true).custom_flags(flags);
    options.open(file)?.write_all(format!("{line}\n").as_bytes())
}
