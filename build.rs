//! Makes the first instructions of the binary those that block every signal; see
//! `src/sys/entry.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if matches!(architecture.as_str(), "x86_64" | "aarch64" | "riscv64") {
        // Both a C compiler and a linker that is called directly know this form.
        println!("cargo::rustc-link-arg-bins=--entry=sidecar_init_start");
    }
}
