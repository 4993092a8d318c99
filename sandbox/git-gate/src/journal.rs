//! The gate's own log: one JSON object a line, on the stderr of `git-gate serve`.
//!
//! The stderr of a hook leads to the client, so hooks send their lines to `serve`, as datagrams.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use visible::visible_json;

/// The variable by which hooks know where to send their lines.
pub(crate) const VARIABLE: &str = "GIT_GATE_LOG";
/// A longer text of a foreign program is cut.
const LONGEST_TEXT: usize = 4000;

/// Where `serve` hears its hooks.
pub(crate) fn socket(own: &Path) -> PathBuf {
    own.join("log.socket")
}

/// Notes something that happened to a repository.
pub(crate) fn note(event: &str, repository: &str, details: &Value) {
    let line = line(event, repository, details);
    match std::env::var_os(VARIABLE) {
        // The work goes on without its note: a full queue is no reason to refuse.
        Some(path) => drop(send(Path::new(&path), &line)),
        None => write(&line),
    }
}

/// The names of refs and what programs say of them are the client's words.
fn line(event: &str, repository: &str, details: &Value) -> String {
    let time = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
    let mut line = json!({ "time": time, "event": event, "repository": repository });
    if let (Some(line), Some(details)) = (line.as_object_mut(), details.as_object()) {
        line.extend(details.iter().map(|(key, value)| (key.clone(), cut(value))));
    }
    visible_json(&line.to_string())
}

fn send(path: &Path, line: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to(line.as_bytes(), path).map(drop)
}

/// Writes a line that is complete.
pub(crate) fn write(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn cut(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > LONGEST_TEXT => {
            Value::String(text.chars().take(LONGEST_TEXT / 4).collect::<String>() + "…")
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_texts_are_cut() {
        let long = Value::String("é".repeat(LONGEST_TEXT));
        assert!(cut(&long).as_str().unwrap().len() < LONGEST_TEXT);
        assert_eq!(cut(&json!(3)), json!(3));
    }

    #[test]
    fn what_is_invisible_in_a_name_is_shown() {
        let logged =
            line("push-accepted", "app", &json!({"refs": ["refs/heads/a\u{202e}\u{e0041}b"]}));
        assert!(logged.contains(r"refs/heads/a\u202e\udb40\udc41b"), "{logged}");
    }
}
