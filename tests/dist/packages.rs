//! Each package, installed in a clean place and run.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use test_support::notices::{is_root, or_skip};
use test_support::programs::has;

use crate::made::{Made, made, output};

fn version(made: &Made) -> String {
    format!("sidecar-init {}\n", made.version())
}

#[test]
fn the_tarball_is_unpacked_and_run() {
    let Some(made) = made() else { return };
    let place = tempfile::tempdir().unwrap();
    let archive = made.package("sidecar-init-", "x86_64-linux.tar.gz");
    output(Command::new("tar").arg("-xf").arg(archive).current_dir(&place));
    let folder = place.path().join(format!("sidecar-init-{}-x86_64-linux", made.version()));
    let program = folder.join("sidecar-init");
    assert_eq!(output(Command::new(&program).arg("--version")), version(made));
    let ended =
        Command::new(&program).args(["--", "sh", "-c", "exit 42"]).stderr(Stdio::null()).status();
    assert_eq!(ended.unwrap().code(), Some(42));
    for file in [
        "README.md",
        "LICENSE",
        "LICENSES.txt",
        "bundle.schema.json",
        "man/sidecar-init.8",
        "completions/sidecar-init.bash",
    ] {
        assert!(folder.join(file).is_file(), "{file}");
    }
}

#[test]
fn the_other_machines_binaries_are_some() {
    let Some(made) = made() else { return };
    for machine in &made.machines[1..] {
        let emulator = format!("qemu-{}", machine.trim_end_matches("gc"));
        if has(&emulator) {
            let mut emulated = Command::new(emulator);
            assert_eq!(output(emulated.arg(made.binary(machine)).arg("--version")), version(made));
        }
    }
}

#[test]
fn the_debian_package_is_installed_in_an_empty_root_and_run() {
    let Some(made) = made() else { return };
    if !is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let within = |path: &str| root.path().join(path);
    for folder in ["info", "updates"] {
        fs::create_dir_all(within("var/lib/dpkg").join(folder)).unwrap();
    }
    File::create(within("var/lib/dpkg/status")).unwrap();
    let dpkg = |arguments: &[&str], file: &Path| {
        let mut command = Command::new("dpkg");
        // The root has no shell, which a script of a package would need; ours has none.
        command.arg("--root").arg(root.path()).args(arguments).arg(file);
        output(&mut command)
    };
    dpkg(&["--force-script-chrootless", "--install"], &made.package("sidecar-init_", "amd64.deb"));
    let mut run = Command::new("chroot");
    run.arg(root.path()).args([
        "/usr/bin/sidecar-init",
        "--",
        "/usr/bin/sidecar-init",
        "--version",
    ]);
    assert_eq!(output(&mut run), version(made));
    for file in [
        "man/man5/sidecar-init.toml.5.gz",
        "man/man8/sidecar-init.8.gz",
        "doc/sidecar-init/copyright",
        "bash-completion/completions/sidecar-init",
        "fish/vendor_completions.d/sidecar-init.fish",
        "zsh/vendor-completions/_sidecar-init",
        "sidecar-init/bundle.schema.json",
    ] {
        assert!(within("usr/share").join(file).is_file(), "{file}");
    }
    assert_eq!(dpkg(&["--verify"], Path::new("sidecar-init")), "");
    dpkg(&["--purge"], Path::new("sidecar-init"));
    assert!(!within("usr/bin/sidecar-init").exists());
}

#[test]
fn lintian_has_nothing_to_say() {
    let Some(made) = made() else { return };
    if !has("lintian") {
        return;
    }
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning", "--tag-display-limit", "0", "--allow-root"]);
    for architecture in ["amd64", "arm64"] {
        lintian.arg(made.package("sidecar-init_", &format!("{architecture}.deb")));
    }
    assert_eq!(output(&mut lintian), "");
}

#[test]
fn the_wheel_is_installed_in_a_new_environment_and_run() {
    let Some(made) = made() else { return };
    let can_make = Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .stderr(Stdio::null())
        .status();
    if !or_skip(can_make.unwrap().success(), "python3 has no venv") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    output(Command::new("python3").args(["-m", "venv"]).arg(place.path()));
    let program = |name: &str| Command::new(place.path().join("bin").join(name));
    let install = ["install", "--quiet", "--no-index", "--find-links"];
    output(program("pip").args(install).arg(&made.here).arg("sidecar-init"));
    assert_eq!(output(program("sidecar-init").arg("--version")), version(made));
    let shown = output(program("pip").args(["show", "--files", "sidecar-init"]));
    assert!(shown.contains(&format!("Version: {}\n", made.version())), "{shown}");
    output(program("pip").args(["uninstall", "--quiet", "--yes", "sidecar-init"]));
    assert!(!place.path().join("bin/sidecar-init").exists());
}

#[test]
fn the_image_is_built_and_its_binary_copied_to_another() {
    let Some(made) = made() else { return };
    let answers =
        Command::new("docker").arg("info").output().is_ok_and(|info| info.status.success());
    if !or_skip(answers, "no Docker engine answers") {
        return;
    }
    let name = format!("sidecar-init-test-dist-{}", std::process::id());
    let (image, other) = (format!("{name}:alone"), format!("{name}:copied"));
    let build = |name: &str, context: File| {
        // The context of an image for two machines; an engine that does not know which is its own is told.
        let build = ["build", "--quiet", "--build-arg", "TARGETARCH=amd64", "--tag", name, "-"];
        output(Command::new("docker").args(build).stdin(context));
    };
    build(&image, File::open(made.package("sidecar-init-", "image.tar.gz")).unwrap());
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("Dockerfile");
    let text = format!(
        "FROM scratch\nCOPY --from={image} /sidecar-init /init\nENTRYPOINT [\"/init\", \"--\"]\n"
    );
    fs::write(&file, text).unwrap();
    build(&other, File::open(&file).unwrap());
    let run = |arguments: &[&str]| {
        output(Command::new("docker").args(["run", "--rm", "--network", "none"]).args(arguments))
    };
    let alone = run(&[&image, "--version"]);
    let copied = run(&[&other, "/init", "--version"]);
    output(Command::new("docker").args(["rmi", &other, &image]));
    assert_eq!([alone, copied], [version(made), version(made)]);
}

#[test]
fn cargo_binstall_is_told_what_the_tarball_is_called() {
    let Some(made) = made() else { return };
    let manifest = include_str!("../../Cargo.toml");
    let table = manifest.split("[package.metadata.binstall]\n").nth(1).unwrap();
    let told = |key: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).unwrap();
        line.trim_matches('"').to_owned()
    };
    for machine in &made.machines {
        let filled = |key: &str| {
            let parts =
                [("name", "sidecar-init"), ("version", made.version()), ("target-arch", machine)];
            let with_bin = told(key).replace("{ bin }", "sidecar-init");
            parts
                .iter()
                .fold(with_bin, |text, (name, value)| text.replace(&format!("{{ {name} }}"), value))
        };
        let address = filled("pkg-url");
        let archive = made.here.join(address.rsplit('/').next().unwrap());
        let list = output(Command::new("tar").arg("-tf").arg(archive));
        assert!(list.lines().any(|file| file == filled("bin-dir")), "{list}");
    }
}
