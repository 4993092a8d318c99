//! How many threads the process has.

use std::io;
use std::path::Path;

use super::directory::entries;

/// Whether the process has one thread only, for sure.
pub fn is_only_one() -> bool {
    let counted = || -> io::Result<usize> {
        Ok(entries(Path::new("/proc/self/task"))?.collect::<io::Result<Vec<_>>>()?.len())
    };
    counted().map_or_else(|_| kernel_allows_one_only(), |count| count == 1)
}

/// Where `/proc` does not tell: the kernel refuses this with EINVAL if there are more threads than
/// one, and otherwise does nothing, unshare(2). A seccomp filter may forbid the question, and then
/// nothing is known against it.
fn kernel_allows_one_only() -> bool {
    // SAFETY: alone, this flag changes nothing.
    let done = unsafe { libc::unshare(libc::CLONE_THREAD) };
    done == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_not_alone() {
        // The harness waits for its tests in the main thread.
        assert!(!is_only_one());
        assert!(!kernel_allows_one_only());
    }
}
