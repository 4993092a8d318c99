//! How each system call may fail, as its man page says and machines do.

/// The errors to try with this call.
pub fn of(call: &str) -> &'static [&'static str] {
    match call {
        // The allocator's. Without memory Rust's standard library aborts, and there is nothing that
        // an init could do instead.
        "brk" | "mmap" | "mremap" | "munmap" | "madvise" | "mprotect" => &[],
        // They can't fail, or not with the arguments that the init gives.
        "getpid" | "getppid" | "gettid" | "getuid" | "geteuid" | "getgid" | "getegid" | "umask"
        | "rt_sigprocmask" | "rt_sigaction" | "rt_sigreturn" | "exit_group" => &[],

        "read" | "pread64" | "readv" => &["EIO", "EAGAIN", "EINTR"],
        "write" | "writev" | "pwritev2" => &["EIO", "EAGAIN", "EINTR", "ENOSPC", "EPIPE"],
        "open" | "openat" => &["EMFILE", "ENFILE", "ENOMEM", "EACCES", "EIO"],
        "stat" | "statx" | "fstat" | "newfstatat" => &["ENOMEM", "EACCES", "EIO", "ENOSYS"],
        "access" | "readlink" | "readlinkat" => &["EACCES", "ENOENT", "EIO"],
        "unlink" | "unlinkat" | "rename" | "mkdir" | "mkdirat" | "rmdir" => {
            &["EACCES", "EROFS", "EIO"]
        }
        "chmod" | "fchmod" | "fchmodat" | "chown" | "fchown" | "lchown" | "fchownat" => {
            &["EPERM", "EROFS", "EIO"]
        }
        "getdents64" => &["EIO", "ENOMEM"],
        "getcwd" | "chdir" => &["EACCES", "ENOMEM", "ENOENT"],
        // The descriptor is closed in any case on Linux; here it stays open.
        "close" => &["EIO", "EINTR"],
        "close_range" => &["ENOSYS", "ENOMEM"],
        "fcntl" => &["EMFILE", "EINVAL", "ENOMEM"],
        "ioctl" => &["ENOTTY", "EIO"],
        "pipe2" | "epoll_create1" | "eventfd2" | "signalfd4" | "timerfd_create" => {
            &["EMFILE", "ENFILE", "ENOMEM"]
        }
        "epoll_ctl" => &["ENOMEM", "ENOSPC", "EPERM"],
        "epoll_wait" | "epoll_pwait" | "poll" | "ppoll" => &["EINTR"],
        "timerfd_settime" => &["EINVAL"],
        "clone" | "clone3" | "fork" | "vfork" => &["EAGAIN", "ENOMEM", "EPERM"],
        "wait4" | "waitid" => &["EINTR"],
        "kill" | "tgkill" => &["ESRCH", "EPERM"],
        "pidfd_open" => &["EMFILE", "ENOMEM", "ENOSYS", "EPERM"],
        // ESRCH: in truth never before it is reaped, and nobody else reaps.
        "pidfd_send_signal" => &["EPERM", "ENOSYS"],
        "socket" => &["EMFILE", "ENFILE", "ENOMEM", "EACCES"],
        "bind" => &["EADDRINUSE", "EACCES", "ENOMEM", "EROFS"],
        "listen" => &["EADDRINUSE"],
        "accept" | "accept4" => &["EMFILE", "ENFILE", "ENOMEM", "ECONNABORTED", "EPROTO"],
        "connect" => &["ECONNREFUSED", "EAGAIN", "ENOMEM", "ENETUNREACH", "EACCES"],
        "getsockopt" | "setsockopt" | "getpeername" | "getsockname" => &["ENOBUFS", "ENOMEM"],
        "sendto" | "sendmsg" => &["EAGAIN", "ECONNREFUSED", "ENOBUFS", "ENOMEM", "EPIPE"],
        "recvfrom" | "recvmsg" => &["EAGAIN", "EINTR", "ENOMEM", "ECONNRESET"],
        "prctl" => &["EINVAL", "EPERM"],
        "getrandom" => &["EAGAIN", "ENOSYS"],
        _ => &["EINVAL", "ENOMEM", "EPERM", "ENOSYS"],
    }
}
