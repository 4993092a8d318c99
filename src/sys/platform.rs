//! Stops the build for unsupported platforms.
//!
//! System call numbers, arguments and structures are those of 64-bit Linux. On 32-bit ARM and x86 the
//! calls of the same names have 16-bit ids (setresuid(2), "C library/kernel differences"): services
//! would get group root, and user 65536 would be root. The list has the architectures on which the
//! tests have passed.

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "s390x",
        all(target_arch = "powerpc64", target_endian = "little"),
    ),
)))]
compile_error!(
    "sidecar-init is for 64-bit Linux on x86_64, aarch64, riscv64, s390x and powerpc64le; elsewhere \
     its system calls could mean something else"
);
