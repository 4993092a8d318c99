//! Who is measured, and on what machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An init for one command.
pub struct Init {
    pub name: &'static str,
    pub path: PathBuf,
}

/// Everything that is there to be measured.
pub struct Peers {
    pub inits: Vec<Init>,
    /// What no init can be faster than, with fork(2) and with vfork(2).
    pub least: [Init; 2],
    /// What users download.
    pub ours: PathBuf,
    pub glibc: PathBuf,
    pub child: String,
    pub noop: String,
    /// The same with exit code 3.
    pub failing: String,
    pub stamp: String,
    pub floor_bundle: PathBuf,
    pub floor_prefix: PathBuf,
    pub floor_probe: PathBuf,
    pub floor_restart: PathBuf,
}

/// Ours, the floor, and whichever peers are installed; compiles the C programs.
pub fn installed() -> Peers {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let arch = std::env::consts::ARCH;
    let ours = root.join(format!("target/{arch}-unknown-linux-musl/dist/sidecar-init"));
    let glibc = root.join(format!("target/{arch}-unknown-linux-gnu/release/sidecar-init"));
    for path in [&ours, &glibc] {
        assert!(path.exists(), "{} is missing; `make bench` builds it", path.display());
    }
    let build = root.join("target/bench");
    std::fs::create_dir_all(&build).expect("a folder for the C programs");
    let compile_as = |program: &str, name: &str, flags: &[&str]| {
        let source = root.join("bench/floor").join(name).with_extension("c");
        let program = build.join(program);
        let status = Command::new("cc")
            .args(["-O2", "-Wall", "-static"])
            .args(flags)
            .arg("-o")
            .arg(&program)
            .arg(&source)
            .status();
        assert!(status.is_ok_and(|status| status.success()), "can't compile {}", source.display());
        program
    };
    let compile = |name: &str| compile_as(name, name, &[]);
    let compile_noop = |name: &str, code: &str| {
        compile_as(name, "noop", &["-nostdlib", code]).to_string_lossy().into_owned()
    };
    let peers = [
        ("tini-static", "/usr/bin/tini-static"),
        ("tini", "/usr/bin/tini"),
        ("dumb-init", "/usr/bin/dumb-init"),
        ("catatonit", "/usr/bin/catatonit"),
    ];
    let mut inits = vec![
        Init { name: "sidecar-init", path: ours.clone() },
        Init { name: "sidecar-init, glibc", path: glibc.clone() },
        Init { name: "C floor", path: compile("init") },
    ];
    for (name, path) in peers {
        if Path::new(path).exists() {
            inits.push(Init { name, path: path.into() });
        } else {
            eprintln!("not installed, so not measured: {name}");
        }
    }
    let least = |name: &'static str, flags: &str| {
        let flags = format!("-DSTART={flags}");
        Init { name, path: compile_as(name, "least", &["-nostdlib", &flags]) }
    };
    Peers {
        inits,
        least: [
            least("no libc, fork", "SIGCHLD"),
            least("no libc, vfork", "(CLONE_VM|CLONE_VFORK|SIGCHLD)"),
        ],
        ours,
        glibc,
        child: compile("child").to_string_lossy().into_owned(),
        noop: compile_noop("noop", "-DCODE=0"),
        failing: compile_noop("failing", "-DCODE=3"),
        stamp: compile("stamp").to_string_lossy().into_owned(),
        floor_bundle: compile("bundle"),
        floor_prefix: compile("prefix"),
        floor_probe: compile("probe"),
        floor_restart: compile("restart"),
    }
}

impl Peers {
    /// The inits, and what none can be faster than.
    pub fn all(&self) -> Vec<&Init> {
        self.inits.iter().chain(&self.least).collect()
    }

    /// The ratio to tini-static, or where that is missing to the C floor.
    pub fn reference(&self) -> &'static str {
        let has_tini = self.inits.iter().any(|init| init.name == "tini-static");
        if has_tini { "tini-static" } else { "C floor" }
    }
}

/// The facts that absolute figures depend on.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("?");
    format!("Linux {}, {cores} cores, {model}", kernel.trim())
}
