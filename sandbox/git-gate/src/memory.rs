//! How much memory a process may take, and those that it starts.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Limits this process, and what it starts from now on, each for itself.
///
/// `RLIMIT_DATA` counts what is allocated (setrlimit(2), since Linux 4.7); `RLIMIT_AS` would count
/// packs that are only mapped too, and what Go and malloc reserve without using it.
pub(crate) fn limit(bytes: u64) -> io::Result<()> {
    let now = getrlimit(Resource::Data);
    let least = |limit: Option<u64>| Some(limit.map_or(bytes, |limit| limit.min(bytes)));
    let limit = Rlimit { current: least(now.current), maximum: least(now.maximum) };
    setrlimit(Resource::Data, limit).map_err(Into::into)
}

/// Whether a program says that it got no more, git and Go in their own words.
pub(crate) fn ran_out(said: &str) -> bool {
    [
        "Out of memory",
        "out of memory",
        "mmap failed",
        "annot allocate memory",
        "memory allocation of",
    ]
    .iter()
    .any(|words| said.contains(words))
}
