//! How a process ended, and the exit codes of this program.

use std::collections::BTreeMap;
use std::fmt;

use crate::signal::Signal;

/// The command line was wrong (`EX_USAGE` of sysexits(3)).
pub const USAGE: u8 = 64;
/// The selection leaves no service to run, or leaves out a required one (`EX_DATAERR` of sysexits(3)).
pub const NOTHING_SELECTED: u8 = 65;
/// The bundle file can't be read, or does not work on this machine (`EX_CONFIG` of sysexits(3)).
pub const CONFIG: u8 = 78;
/// A service was not ready in time, or failed its liveness check, like timeout(1).
pub const CHECK_FAILED: u8 = 124;
/// The init itself failed: the kernel refused something that it needs.
pub const INIT_FAILED: u8 = 125;
/// A command was found but could not be executed, as in POSIX `sh`.
pub const NOT_EXECUTABLE: u8 = 126;
/// A command was not found, as in POSIX `sh`.
pub const NOT_FOUND: u8 = 127;

/// How a process ended, as wait(2) reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(u8),
    /// This signal killed it.
    Signal(Signal),
}

impl ExitStatus {
    /// The code that a shell, Docker and Kubernetes show: 128 + n for signal n.
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Code(code) => code,
            // At most 128 + 64, so it always fits.
            ExitStatus::Signal(signal) => 128 + signal.number() as u8,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exited with code {code}"),
            ExitStatus::Signal(signal) => {
                write!(f, "was killed by {signal} (signal {})", signal.number())
            }
        }
    }
}

/// Replaces exit codes, for example a JVM's 143 after TERM by 0
/// (<https://github.com/krallin/tini/issues/189>).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remap(BTreeMap<u8, u8>);

impl Remap {
    /// The code to exit with in place of `code`.
    pub fn apply(&self, code: u8) -> u8 {
        self.0.get(&code).copied().unwrap_or(code)
    }

    /// Adds the rules of a text such as `143=0` or `143=0,130=0`. The last rule for a code wins.
    pub fn add(&mut self, text: &str) -> Result<(), InvalidRemap> {
        for rule in text.split(',').map(str::trim).filter(|rule| !rule.is_empty()) {
            let invalid = || InvalidRemap(rule.to_owned());
            let (from, to) = rule.split_once('=').ok_or_else(invalid)?;
            let code = |text: &str| text.trim().parse::<u8>().map_err(|_| invalid());
            self.0.insert(code(from)?, code(to)?);
        }
        Ok(())
    }
}

/// An invalid remap rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRemap(String);

impl fmt::Display for InvalidRemap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" is not a remap rule; write FROM=TO with exit codes from 0 to 255, such as 143=0",
            self.0
        )
    }
}

impl std::error::Error for InvalidRemap {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_counts_as_128_and_its_number() {
        for signal in Signal::all() {
            assert_eq!(i32::from(ExitStatus::Signal(signal).code()), 128 + signal.number());
        }
    }

    #[test]
    fn remap_replaces_only_what_it_names() {
        let mut remap = Remap::default();
        assert_eq!(remap.add("143=0, 3=7,"), Ok(()));
        assert_eq!([0, 3, 143, 130].map(|code| remap.apply(code)), [0, 7, 0, 130]);
    }

    #[test]
    fn remap_refuses_what_it_cannot_read() {
        for text in ["143", "143=", "=0", "256=0", "143=-1", "a=b"] {
            assert!(Remap::default().add(text).is_err(), "{text}");
        }
    }
}
