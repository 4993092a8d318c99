//! The process's memory as a whole.

/// Gives memory that was freed back to the kernel. glibc keeps it for the next allocation,
/// mallopt(3), and an init that has read its bundle makes hardly any.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) only touches what has been freed.
    unsafe {
        libc::malloc_trim(0);
    }
}
