//! From the first instruction to the program's `main`.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

// The ELF entry point of the binary (build.rs sets it in the linker): blocks every signal, then jumps
// to libc's `_start` with registers and stack unchanged.
//
// This must be early: the kernel drops a signal to PID 1 that is neither blocked nor handled
// (pid_namespaces(7)), and libc's start-up takes longer than everything that we do before the first
// exec. A TERM in that time would be lost.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".globl sidecar_init_start",
    "sidecar_init_start:",
    "mov r8, rdx", // The dynamic linker's exit function, for _start.
    "push -1",     // The set of all 64 signals.
    "mov eax, 14", // rt_sigprocmask
    "mov edi, 2",  // SIG_SETMASK
    "mov rsi, rsp",
    "xor edx, edx", // The old mask is of no use: children start with an empty one.
    "mov r10d, 8",  // sizeof the kernel's sigset_t
    "syscall",
    "pop rax",
    "mov rdx, r8",
    "jmp _start",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(include_str!("entry/aarch64.s"));

#[cfg(target_arch = "riscv64")]
std::arch::global_asm!(include_str!("entry/riscv64.s"));

/// Defines the C `main` of a binary: blocks every signal, collects the arguments, calls
/// `$run(Vec<OsString>, Inherited, bool) -> u8` and exits with its result; the bool is whether the signals
/// are blocked. 0, 1 and 2 are open then. The program must open every other descriptor close-on-exec.
#[macro_export]
macro_rules! c_main {
    ($run:path) => {
        /// Called by libc's start-up code.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main(
            argc: ::std::ffi::c_int,
            argv: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            let are_blocked = $crate::internal::signals::block_all();
            // SAFETY: libc passes argc pointers to NUL-terminated strings that live as long as the
            // process.
            let arguments = unsafe { $crate::internal::entry::arguments(argc, argv) };
            $crate::internal::descriptors::open_missing_standard();
            // SAFETY: this process has not opened a descriptor from 3 on yet. std and mio open all
            // close-on-exec, and so does this crate with rustix. The short way, which alone closes the
            // inherited ones, owns its signalfd and nothing else then.
            let inherited = unsafe { $crate::internal::descriptors::Inherited::of_process() };
            $crate::internal::entry::exit($run(arguments, inherited, are_blocked))
        }
    };
}

/// The arguments of a C `main`.
///
/// # Safety
/// `argv` must point to at least `argc` pointers to NUL-terminated strings.
pub unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(argc).unwrap_or(0);
    (0..count)
        .map(|index| {
            // SAFETY: the caller guarantees that `argv` has `argc` valid strings.
            let argument = unsafe { CStr::from_ptr(*argv.add(index)) };
            OsStr::from_bytes(argument.to_bytes()).to_os_string()
        })
        .collect()
}

unsafe extern "C" {
    /// environ(7)
    static environ: *const *const c_char;
}

/// The environment that the process got: every string, also one without `=`, which std skips. The
/// strings stay where the kernel has put them, so that they are not copied for each child.
pub(crate) fn environment() -> Vec<&'static CStr> {
    // SAFETY: libc sets `environ` before `main`. The strings live as long as they are not changed, and
    // the result is dropped before `Init::run` or the short way returns: until then the process has one
    // thread, and all code outside of `sys` is safe code, which can't change them.
    let first = unsafe { environ };
    let count = match first.is_null() {
        true => 0,
        // SAFETY: the array ends with a null pointer, where the count stops.
        false => (0..).take_while(|index| unsafe { !(*first.add(*index)).is_null() }).count(),
    };
    // SAFETY: each pointer before the null points to a NUL-terminated string.
    (0..count).map(|index| unsafe { CStr::from_ptr(*first.add(index)) }).collect()
}

/// Exits without exit handlers: the init has none, and libc's take time.
pub fn exit(code: u8) -> ! {
    // SAFETY: _exit(2) takes any number and does not return.
    unsafe { libc::_exit(c_int::from(code)) }
}
