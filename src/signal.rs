//! Signals by number and by name. Pure.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The lowest real-time signal a program may use: glibc and musl keep 32 and 33
/// (musl also 34) for their threads, and signal(7) says `SIGRTMIN` is 34.
const RTMIN: u8 = 34;
/// The highest signal number on Linux (signal(7)).
const RTMAX: u8 = 64;

/// A Linux signal, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// The names of the standard signals in the order of their numbers, from 1 on (signal(7), the
/// numbers of x86 and ARM).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names for the same numbers, accepted on input only.
const ALIASES: [(&str, u8); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

impl Signal {
    /// Hang-up; by convention a request to reload the configuration.
    pub const HUP: Signal = Signal(1);
    /// Interrupt, sent by Ctrl-C.
    pub const INT: Signal = Signal(2);
    /// Ends the process; can't be caught.
    pub const KILL: Signal = Signal(9);
    /// Write to a pipe without a reader.
    pub const PIPE: Signal = Signal(13);
    /// Requests the process to end.
    pub const TERM: Signal = Signal(15);
    /// A child changed state.
    pub const CHLD: Signal = Signal(17);
    /// Continue after a stop.
    pub const CONT: Signal = Signal(18);
    /// Stops the process; can't be caught.
    pub const STOP: Signal = Signal(19);
    /// Stop from the terminal, sent by Ctrl-Z.
    pub const TSTP: Signal = Signal(20);

    /// Whether it ends a process by default, signal(7).
    pub fn terminates_by_default(self) -> bool {
        const IGNORED: [&str; 3] = ["CHLD", "URG", "WINCH"];
        const STOPS: [&str; 4] = ["STOP", "TSTP", "TTIN", "TTOU"];
        let is_other = |name| IGNORED.contains(&name) || STOPS.contains(&name);
        self != Signal::CONT && !self.name().is_some_and(is_other)
    }

    /// The signal with this number, 1 to 64.
    pub fn from_number(number: i32) -> Option<Signal> {
        match u8::try_from(number) {
            Ok(number @ 1..=RTMAX) => Some(Signal(number)),
            Ok(_) | Err(_) => None,
        }
    }

    /// The kernel's number.
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }

    /// What it is called, if it is a standard signal.
    fn name(self) -> Option<&'static str> {
        NAMES.get(usize::from(self.0) - 1).copied()
    }

    /// All signals in ascending order.
    pub fn all() -> impl Iterator<Item = Signal> {
        (1..=RTMAX).map(Signal)
    }
}

/// The full name: `SIGTERM`, `SIGRTMIN+3`, and `SIG32` for the numbers that libc reserves.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 == RTMIN => f.write_str("SIGRTMIN"),
            None if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "SIG{}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that names no signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSignal(String);

impl fmt::Display for UnknownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" is not a signal; write a name such as TERM, HUP or RTMIN+3, or a number from 1 to 64",
            self.0
        )
    }
}

impl std::error::Error for UnknownSignal {}

/// Accepts `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3` and `RTMAX-1`.
impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Signal, UnknownSignal> {
        let unknown = || UnknownSignal(text.to_owned());
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Ok(number) = name.parse::<i32>() {
            return Signal::from_number(number).ok_or_else(unknown);
        }
        let mut known = NAMES.into_iter().zip(1..).chain(ALIASES);
        if let Some((_, number)) = known.find(|(known, _)| *known == name) {
            return Ok(Signal(number));
        }
        real_time(name).ok_or_else(unknown)
    }
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Signal, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

fn real_time(name: &str) -> Option<Signal> {
    let number = if let Some(offset) = name.strip_prefix("RTMIN") {
        RTMIN.checked_add(real_time_offset(offset, '+')?)?
    } else {
        RTMAX.checked_sub(real_time_offset(name.strip_prefix("RTMAX")?, '-')?)?
    };
    (RTMIN..=RTMAX).contains(&number).then_some(Signal(number))
}

fn real_time_offset(text: &str, sign: char) -> Option<u8> {
    if text.is_empty() { Some(0) } else { text.strip_prefix(sign)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_itself() {
        for signal in Signal::all() {
            assert_eq!(signal.to_string().parse::<Signal>(), Ok(signal));
        }
    }

    #[test]
    fn takes_the_forms_people_write() {
        let same = [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("CLD", 17),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("RTMAX", 64),
            ("SIGRTMAX-2", 62),
        ];
        for (text, number) in same {
            assert_eq!(text.parse::<Signal>().map(Signal::number), Ok(number), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_signal() {
        for text in
            ["", "SIG", "0", "65", "-1", "TERMINATE", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN+"]
        {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }
}
