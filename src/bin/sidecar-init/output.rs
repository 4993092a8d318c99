//! What the program itself prints.

use std::io::{ErrorKind, Write};

use sidecar_init::exit::INIT_FAILED;
use sidecar_init::internal::{error_text, write_in_time};

/// Prints to stdout.
///
/// # Errors
/// The exit code, if nothing more can be printed. A closed pipe is no failure.
pub(crate) fn print(text: &str) -> Result<(), u8> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(0),
        Err(error) => {
            complain(&format!("can't write to stdout: {}", error_text(&error)));
            Err(INIT_FAILED)
        }
    }
}

/// Prints an error before there is an init.
pub(crate) fn complain(text: &str) {
    write_in_time(in_our_name(text).as_bytes());
}

pub(crate) fn in_our_name(text: &str) -> String {
    text.lines().map(|line| format!("sidecar-init: {line}\n")).collect()
}
