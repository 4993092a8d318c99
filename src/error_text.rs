//! Texts for errors of the kernel.

use std::io;

/// The error's text without std's `(os error N)`.
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// 0 or the error number: the exit code of a child with one task. Linux has no error number above 133,
/// errno(3).
pub(crate) fn errno_of(result: io::Result<()>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            error.raw_os_error().and_then(|errno| errno.try_into().ok()).unwrap_or(u8::MAX)
        }
    }
}
