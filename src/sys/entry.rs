//! The way from the kernel's first instruction to the program's own `main`.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

// The ELF entry point of the binary (build.rs tells the linker): blocks every signal, then
// goes on to libc's `_start` with registers and stack as the kernel left them.
//
// Why so early: a signal that reaches PID 1 without being blocked or handled is thrown away
// (pid_namespaces(7)), and libc's own start takes longer than everything we do up to the first
// exec. A TERM that arrives in that time would be lost.
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

/// Defines the C `main` of a binary: blocks every signal, collects the arguments and the descriptors
/// from 3 on that the process was given, calls `$run(Vec<OsString>, Vec<OwnedFd>) -> u8` and exits
/// with what it returns. None of 0, 1 and 2 is closed then.
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
            $crate::internal::signals::block_all();
            // SAFETY: libc hands `main` argc pointers to NUL-terminated strings that stay
            // valid as long as the process lives.
            let arguments = unsafe { $crate::internal::entry::arguments(argc, argv) };
            $crate::internal::descriptors::open_missing_standard();
            // SAFETY: nothing in this process has opened a descriptor from 3 on.
            let inherited = unsafe { $crate::internal::descriptors::take_inherited() };
            $crate::internal::entry::exit($run(arguments, inherited))
        }
    };
}

/// The arguments of a C `main`, byte for byte.
///
/// # Safety
/// `argv` must point to at least `argc` pointers to NUL-terminated strings.
pub unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(argc).unwrap_or(0);
    (0..count)
        .map(|index| {
            // SAFETY: the caller promises that `argv` has `argc` valid strings.
            let argument = unsafe { CStr::from_ptr(*argv.add(index)) };
            OsStr::from_bytes(argument.to_bytes()).to_os_string()
        })
        .collect()
}

unsafe extern "C" {
    /// environ(7)
    static environ: *const *const c_char;
}

/// The environment as it was handed to the process: every string of it, also one without `=`,
/// which std passes over. They are where the kernel has put them, so that they need not be copied
/// for each child.
pub(crate) fn environment() -> Vec<&'static CStr> {
    // SAFETY: libc sets `environ` before `main`. The strings last as long as nobody changes it, and
    // what is returned is dropped before `Init::run` returns: until then the process has one
    // thread, and all code outside of `sys` is safe code, which can't change it.
    let mut next = unsafe { environ };
    let mut strings = Vec::new();
    // SAFETY: the array is null or ends with a null pointer, and we stop there.
    while !next.is_null() && unsafe { !(*next).is_null() } {
        // SAFETY: each pointer before the null is to a NUL-terminated string.
        strings.push(unsafe { CStr::from_ptr(*next) });
        // SAFETY: there is at least the null pointer behind this one.
        next = unsafe { next.add(1) };
    }
    strings
}

/// Ends the process without running exit handlers: there are none of ours, and libc's would
/// only cost time.
pub fn exit(code: u8) -> ! {
    // SAFETY: _exit(2) takes any number and does not return.
    unsafe { libc::_exit(c_int::from(code)) }
}
