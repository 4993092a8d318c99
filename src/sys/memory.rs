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

/// What `PR_GET_DUMPABLE` says: whether others of the same user may look into the process, by
/// ptrace(2) and its `/proc`.
pub(super) fn dumpable() -> libc::c_int {
    // SAFETY: the option takes no argument and touches no memory.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }
}

/// Sets it back. The kernel refuses any other value than 0 and 1, harmlessly.
pub(super) fn set_dumpable(dumpable: libc::c_int) {
    let value = libc::c_ulong::from(dumpable.unsigned_abs());
    let unused: libc::c_ulong = 0;
    // SAFETY: the option takes one number, and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, value, unused, unused, unused) };
}
