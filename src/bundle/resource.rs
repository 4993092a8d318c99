//! The names of resource limits, setrlimit(2).

/// By number, as on x86 and ARM.
const NAMES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// The number of the resource with this name.
pub fn number(name: &str) -> Option<u32> {
    NAMES.iter().position(|known| *known == name).and_then(|number| u32::try_from(number).ok())
}

/// All names, for messages.
pub fn names() -> String {
    NAMES.join(", ")
}

/// The name of the resource with this number.
pub fn name(number: u32) -> &'static str {
    usize::try_from(number).ok().and_then(|number| NAMES.get(number).copied()).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_systems() {
        for (name, system) in [
            ("nofile", libc::RLIMIT_NOFILE),
            ("nproc", libc::RLIMIT_NPROC),
            ("core", libc::RLIMIT_CORE),
            ("as", libc::RLIMIT_AS),
            ("memlock", libc::RLIMIT_MEMLOCK),
            ("rttime", libc::RLIMIT_RTTIME),
        ] {
            assert_eq!(number(name), Some(system));
        }
    }
}
