//! What the kernel says, in words for people.

use std::io;

/// The error's text without std's `(os error N)`.
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
