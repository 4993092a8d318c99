//! Runs `make dist`: here for both machines, and elsewhere for this one's kind alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;
use test_support::notices::warn;
use test_support::programs::has;

pub const TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub struct Made {
    /// The packages that were made in this folder, and signed with the key.
    pub here: PathBuf,
    /// Those that were made in a copy of this folder, with a copy of `CARGO_HOME`.
    pub elsewhere: &'static Path,
    pub key: PathBuf,
    // Until the end of the test's process.
    _scratch: TempDir,
}

impl Made {
    pub fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    pub fn binary(&self, machine: &str) -> PathBuf {
        Path::new(ROOT).join(format!("target/{machine}-unknown-linux-musl/dist/sidecar-init"))
    }

    /// The one package whose name begins and ends so.
    pub fn package(&self, begin: &str, end: &str) -> PathBuf {
        let mut found = super::names(&self.here)
            .into_iter()
            .filter(|name| name.starts_with(begin) && name.ends_with(end));
        let name = found.next().unwrap_or_else(|| panic!("{begin}…{end} is missing"));
        assert_eq!(found.next(), None);
        self.here.join(name)
    }
}

/// What a program prints that must succeed.
pub fn output(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// What was made; nothing on a machine that can't.
pub fn made() -> Option<&'static Made> {
    static MADE: LazyLock<Option<Made>> = LazyLock::new(|| can_be_made().then(make));
    MADE.as_ref()
}

/// Whether Rust has what the script would ask rustup for: a test installs nothing.
fn can_be_made() -> bool {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]));
    let library = Path::new(sysroot.trim()).join("lib/rustlib");
    let mut parts = TARGETS.map(|target| library.join(target).join("lib/self-contained/libc.a"));
    let is_there = parts.iter().all(|part| part.exists()) && library.join("src").exists();
    if !is_there {
        parts.sort();
        warn("make dist is not tested: Rust's musl targets or its rust-src are not installed");
    }
    is_there && has("python3") && has("dpkg-deb") && has("ssh-keygen")
}

fn make() -> Made {
    let scratch = tempfile::tempdir().unwrap();
    let place = |name: &str| scratch.path().join(name);
    let key = place("key");
    let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "thrown away", "-f"];
    output(Command::new("ssh-keygen").args(arguments).arg(&key));
    let (copy, cargo_home) = (place("copy of the source"), place("cargo home"));
    copy_of_source(&copy);
    copy_of_cargo_home(&cargo_home);
    let mut elsewhere = dist(&copy, &TARGETS[..1]);
    let other = elsewhere.env("CARGO_HOME", &cargo_home).spawn().unwrap();
    output(dist(Path::new(ROOT), &TARGETS).arg(format!("SIGNING_KEY={}", key.display())));
    let other = other.wait_with_output().unwrap();
    assert!(other.status.success(), "elsewhere: {}", other.status);
    let made = Box::leak(copy.join("target/packages").into_boxed_path());
    Made { here: Path::new(ROOT).join("target/packages"), elsewhere: made, key, _scratch: scratch }
}

fn dist(folder: &Path, targets: &[&str]) -> Command {
    let mut make = Command::new("make");
    make.arg("--no-print-directory")
        .arg("-C")
        .arg(folder)
        .args(["dist", "SOURCE_DATE_EPOCH=1750000000"]);
    make.arg(format!("DIST={}", targets.join(" "))).stdout(Stdio::null());
    // What `make test` has told its own children.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("MAKEOVERRIDES");
    make
}

fn copy_of_source(copy: &Path) {
    fs::create_dir(copy).unwrap();
    let pack = ["--exclude=target", "--exclude=.git", "-c", "."];
    let mut packed =
        Command::new("tar").current_dir(ROOT).args(pack).stdout(Stdio::piped()).spawn().unwrap();
    output(Command::new("tar").current_dir(copy).arg("-x").stdin(packed.stdout.take().unwrap()));
    assert!(packed.wait().unwrap().success());
}

/// A `CARGO_HOME` with what was downloaded, so that it is not downloaded again, and with the settings.
fn copy_of_cargo_home(copy: &Path) {
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo"),
        PathBuf::from,
    );
    fs::create_dir_all(copy.join("registry")).unwrap();
    for part in ["registry/index", "registry/cache", "config.toml"] {
        if home.join(part).exists() {
            output(Command::new("cp").arg("-r").arg(home.join(part)).arg(copy.join(part)));
        }
    }
}
