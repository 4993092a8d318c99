//! The number of threads of the process.

use std::io;
use std::path::Path;

use super::directory::entries;

/// Whether the process certainly has only one thread.
pub fn is_only_one() -> bool {
    let counted = || -> io::Result<usize> {
        Ok(entries(Path::new("/proc/self/task"))?.collect::<io::Result<Vec<_>>>()?.len())
    };
    counted().map_or_else(|_| kernel_allows_one_only(), |count| count == 1)
}

/// Without `/proc`: unshare(2) with this flag fails with EINVAL if there are several threads, and
/// otherwise has no effect. A seccomp filter may forbid the call; then one thread is assumed.
fn kernel_allows_one_only() -> bool {
    // SAFETY: this flag alone changes nothing.
    let done = unsafe { libc::unshare(libc::CLONE_THREAD) };
    done == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_not_alone() {
        // The test harness waits in the main thread.
        assert!(!is_only_one());
        assert!(!kernel_allows_one_only());
    }
}
