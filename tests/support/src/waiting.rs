//! Waiting for events. No test waits for a length of time.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// No step of a test takes this long unless something hangs.
pub const HANG: Duration = Duration::from_secs(120);

/// Asks again and again until there is an answer; fails when something hangs.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_or_say(|| what.to_owned(), ask)
}

/// The same, with a message that is made when something hangs.
pub fn until_or_say<T>(what: impl Fn() -> String, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + HANG;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "never: {}", what());
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The lines of a pipe, as they come.
pub fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}
