//! What a hook says to the client while it waits: git shows these lines behind `remote:`.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// How often a client hears that work goes on.
const PERIOD: Duration = Duration::from_secs(5);

/// Says one line.
pub(crate) fn say(text: &str) {
    // A client that is gone hears nothing; the session's own end is noticed elsewhere.
    let _ = writeln!(io::stderr().lock(), "git-gate: {text}");
}

/// Says again and again what is going on, until it is dropped.
pub(crate) struct Ongoing {
    _end: Sender<()>,
}

impl Ongoing {
    pub(crate) fn begin(text: impl Fn() -> String + Send + 'static) -> Ongoing {
        Ongoing::every_time(move || say(&text()))
    }

    /// The same, by other means.
    pub(crate) fn every_time(speak: impl Fn() + Send + 'static) -> Ongoing {
        let (end, ended) = mpsc::channel::<()>();
        thread::spawn(move || {
            while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                speak();
            }
        });
        Ongoing { _end: end }
    }
}
