//! Runs `make dist`: here for both machines, and elsewhere for this one's kind alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;
use test_support::notices::warn;
use test_support::programs::has;

/// What `make dist` makes if it is told nothing else, and what it can be told.
const ALWAYS: [&str; 2] = ["x86_64", "aarch64"];
const AT_REQUEST: &str = "riscv64gc";
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub struct Made {
    /// The targets' first words.
    pub machines: Vec<&'static str>,
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
        Path::new(ROOT).join("target").join(target(machine)).join("dist/sidecar-init")
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
    static MADE: LazyLock<Option<Made>> = LazyLock::new(|| can_be_made().map(make));
    MADE.as_ref()
}

fn target(machine: &str) -> String {
    format!("{machine}-unknown-linux-musl")
}

/// For which machines Rust has what the script would ask rustup for: a test installs nothing.
fn can_be_made() -> Option<Vec<&'static str>> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]));
    let library = Path::new(sysroot.trim()).join("lib/rustlib");
    let has_target =
        |machine: &&str| library.join(target(machine)).join("lib/self-contained/libc.a").exists();
    if !ALWAYS.iter().all(has_target) || !library.join("src").exists() {
        warn("make dist is not tested: Rust's musl targets or its rust-src are not installed");
        return None;
    }
    let more = Some(AT_REQUEST).filter(has_target);
    let has_tools = has("python3") && has("dpkg-deb") && has("ssh-keygen");
    has_tools.then(|| ALWAYS.into_iter().chain(more).collect())
}

fn make(machines: Vec<&'static str>) -> Made {
    let scratch = tempfile::tempdir().unwrap();
    let place = |name: &str| scratch.path().join(name);
    let key = place("key");
    let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "thrown away", "-f"];
    output(Command::new("ssh-keygen").args(arguments).arg(&key));
    let (copy, cargo_home) = (place("copy of the source"), place("cargo home"));
    copy_of_source(&copy);
    copy_of_cargo_home(&cargo_home);
    let mut elsewhere = dist(&copy, &machines[..1]);
    let other = elsewhere.env("CARGO_HOME", &cargo_home).spawn().unwrap();
    output(dist(Path::new(ROOT), &machines).arg(format!("SIGNING_KEY={}", key.display())));
    let other = other.wait_with_output().unwrap();
    assert!(other.status.success(), "elsewhere: {}", other.status);
    let made = Box::leak(copy.join("target/packages").into_boxed_path());
    let here = Path::new(ROOT).join("target/packages");
    Made { machines, here, elsewhere: made, key, _scratch: scratch }
}

fn dist(folder: &Path, machines: &[&str]) -> Command {
    let targets: Vec<_> = machines.iter().map(|machine| target(machine)).collect();
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
