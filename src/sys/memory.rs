//! The memory of the whole process.

/// Returns freed memory to the kernel. glibc keeps it for later allocations, mallopt(3), but an init
/// that has read its bundle allocates little.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) touches only freed memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
