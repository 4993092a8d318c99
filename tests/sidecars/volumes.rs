//! What survives a container, and to whom it belongs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use crate::docker::{Container, docker, text, unique_name};
use crate::world::{HARDENED, alone, exec, image, is_there, wait_until_healthy};

/// Each volume, with its user and mode.
const VOLUMES: [(&str, &str); 5] = [
    ("/home/mitmproxy/.mitmproxy", "mitmproxy:mitmproxy 700"),
    ("/var/lib/egress", "mitmproxy:mitmproxy 755"),
    ("/var/lib/pipelock", "pipelock:pipelock 755"),
    ("/git", "git-gate:git-gate 750"),
    ("/run/supervise", "supervise:root 2770"),
];

/// A named volume that goes with the test.
struct Volume(String);

impl Volume {
    fn new() -> Volume {
        let name = unique_name();
        let made = docker(&["volume", "create", &name]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        Volume(name)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        docker(&["volume", "rm", &self.0]);
    }
}

#[test]
fn a_new_container_with_the_same_volumes_keeps_the_authorities() {
    if !is_there() {
        return;
    }
    let (_volumes, options) = new_volumes();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let fingerprints = || {
        let sidecars = alone(&options);
        wait_until_healthy(&sidecars);
        // Whichever pipelock has made its key, the real one or the stand-in: the other takes it over.
        let key = ["head", "-n1", "/var/lib/pipelock/ca/ca-key.pem"];
        let key = exec(&sidecars, &["-u", "pipelock"], &key).stdout;
        assert_eq!(key.trim(), "-----BEGIN EC PRIVATE KEY-----");
        let log = sidecars.stdout();
        assert!(!log.contains("install-ca"), "it gives hints that are not for here: {log}");
        let files = [
            ("mitmproxy", "/home/mitmproxy/.mitmproxy/mitmproxy-ca.pem"),
            ("mitmproxy", "/var/lib/egress/ca.pem"),
            ("pipelock", "/var/lib/pipelock/ca/ca.pem"),
            ("pipelock", "/var/lib/pipelock/ca/ca-key.pem"),
        ];
        // Root without capabilities may not read the keys.
        files.map(|(user, file)| {
            let said = exec(&sidecars, &["-u", user], &["sha256sum", file]);
            assert_eq!(said.code, 0, "{said:?}");
            said.stdout
        })
    };
    let first = fingerprints();
    assert_eq!(fingerprints(), first);
}

/// Of every file in the volumes that a new container has to leave as it is, the sum and the name.
const SUMS: &str = "find /git/app.git /home/mitmproxy/.mitmproxy /run/supervise /var/lib/pipelock/ca \
                    -type f ! -name VERSION -exec sha256sum {} +";
/// One upstream, which does not answer.
const UPSTREAMS: &str = "[[upstream]]\nname = \"app\"\nurl = \"ssh://git@git.example.com/app.git\"\n\
                         key = \"/git-gate/creds/key\"\nknown-hosts = \"/git-gate/creds/known_hosts\"\n";

/// A new volume for each place, as options of `docker run`.
fn new_volumes() -> (Vec<Volume>, Vec<String>) {
    let places = VOLUMES.iter().map(|(place, _)| *place).chain(["/run/sidecar-init"]);
    places
        .map(|place| {
            let volume = Volume::new();
            let option = format!("--volume={}:{place}", volume.0);
            (volume, option)
        })
        .unzip()
}

/// Runs a script as a root who may do everything, beside these volumes; what it prints.
fn with_volumes(options: &[&str], script: &str) -> String {
    let image = image();
    let run = ["run", "--rm", "--network=none", "--entrypoint=sh"];
    let said = docker(&[&run, options, &[&*image, "-euc", script]].concat());
    assert!(said.status.success(), "{}", text(&said.stderr));
    text(&said.stdout)
}

/// The gate's own configuration.
fn write_gate(folder: &Path) -> [String; 2] {
    for (name, content, mode) in [
        ("git-gate/upstreams.toml", UPSTREAMS, 0o644),
        ("git-gate/approved-fingerprints", "", 0o644),
        ("creds/key", "key", 0o600),
        ("creds/known_hosts", "git.example.com key", 0o644),
    ] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        chown(&path, Some(903), Some(903)).unwrap();
    }
    fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    let mounts = [("git-gate", "/etc/git-gate"), ("creds", "/git-gate/creds")];
    mounts.map(|(from, to)| format!("--volume={}/{from}:{to}:ro", folder.display()))
}

#[test]
fn volumes_from_before_they_had_a_version_are_taken_over() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_volumes, options) = new_volumes();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    with_volumes(&options, include_str!("version_1/make.sh"));
    let sums = || -> BTreeSet<String> {
        with_volumes(&options, SUMS).lines().map(str::to_owned).collect()
    };
    let before = sums();
    let gate = write_gate(folder.path());
    let sidecars = alone(&[&options[..], &gate.each_ref().map(String::as_str)].concat());
    wait_until_healthy(&sidecars);
    let listed = exec(&sidecars, &[], &["supervise", "list", "--all"]).stdout;
    let what = "what version 1 has kept is not used as it is; use it, or raise the version of that \
                volume in own_volumes.sh";
    for (id, status) in [
        ("aaaaaaaa", "pending"),
        ("bbbbbbbb", "pending"),
        ("cccccccc", "pending"),
        ("dddddddd", "pending"),
        ("eeeeeeee", "rejected"),
    ] {
        assert!(listed.contains(&format!("{id}  {status} ")), "{what}: {id}: {listed}");
    }
    assert!(!listed.contains("skipped"), "{what}: {listed}");
    drop(sidecars);
    let lost: Vec<String> = before.difference(&sums()).cloned().collect();
    assert!(lost.is_empty() && before.len() > 12, "{what}: {lost:?} of {before:?}");
    let event = with_volumes(&options, "head -n1 /run/sidecar-init/events.jsonl");
    assert!(event.contains("2026-11-28T12:00:00Z"), "{what}: {event}");
    let script = "for volume do printf '%s ' \"$volume\"; cat \"$volume/VERSION\"; done";
    let places = options.iter().map(|option| option.rsplit(':').next().unwrap());
    let places: Vec<&str> = places.collect();
    let versions = with_volumes(&options, &format!("set -- {}; {script}", places.join(" ")));
    let expected: String = places.iter().map(|place| format!("{place} 1\n")).collect();
    assert_eq!(versions, expected);
}

#[test]
fn a_volume_of_a_later_version_is_left_alone() {
    if !is_there() {
        return;
    }
    for (version, expected) in [
        (
            "2",
            "/git is of version 2, and this image knows version 1; use the image that wrote it, or \
             mount another volume there",
        ),
        (
            "x",
            "/git/VERSION is not the number of a version; if what is in /git is of version 1, remove \
             the file",
        ),
    ] {
        let volume = Volume::new();
        let option = format!("--volume={}:/git", volume.0);
        with_volumes(&[&option], &format!("echo {version} >/git/VERSION; chown -R git-gate /git"));
        let sidecars = alone(&[&option]);
        sidecars.wait_for(&format!("[volumes] volumes: {expected}"));
        assert_eq!(sidecars.wait(), 78, "{}", sidecars.stderr());
        assert_eq!(with_volumes(&[&option], "ls -A /git"), "VERSION\n");
    }
}

#[test]
fn directories_that_docker_has_made_for_root_are_given_to_their_services() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let options: Vec<String> = VOLUMES
        .iter()
        .map(|(place, _)| format!("--volume={}{place}:{place}", folder.path().display()))
        .collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let sidecars = alone(&options);
    wait_until_healthy(&sidecars);
    for (place, owner) in VOLUMES {
        let said = exec(&sidecars, &[], &["stat", "-c", "%U:%G %a", place]);
        assert_eq!(said.stdout.trim(), owner, "{place}");
    }
}

/// As Kubernetes makes an emptyDir of a pod with an fsGroup.
#[test]
fn directories_that_all_may_write_to_are_closed() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let places = VOLUMES.map(|(place, _)| place).into_iter().chain(["/run/sidecar-init"]);
    let options: Vec<String> = places
        .map(|place| {
            let path = format!("{}{place}", folder.path().display());
            std::fs::create_dir_all(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(0), Some(1000)).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o2777)).unwrap();
            format!("--volume={path}:{place}")
        })
        .collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let sidecars = alone(&options);
    wait_until_healthy(&sidecars);
    for (place, owner) in VOLUMES.into_iter().chain([("/run/sidecar-init", "root:root 2755")]) {
        let said = exec(&sidecars, &[], &["stat", "-c", "%U:%G %a", place]);
        assert_eq!(said.stdout.trim(), owner, "{place}");
    }
}

#[test]
fn without_the_capability_for_that_the_message_says_what_to_do() {
    if !is_there() {
        return;
    }
    let image = image();
    let place = HARDENED.iter().position(|option| *option == "CHOWN").unwrap();
    let hardened = [&HARDENED[..place - 1], &HARDENED[place + 1..]].concat();
    let arguments = [&hardened, &["--network=none", &*image][..]].concat();
    let sidecars = Container::make(&["run", "-d"], &arguments);
    assert_eq!(sidecars.wait(), 78, "{}", sidecars.stderr());
    let fix = "[volumes] volumes: /home/mitmproxy/.mitmproxy belongs to root, and can't be given \
               to mitmproxy; let the container keep the capability CHOWN, or chown the directory \
               to ";
    assert!(sidecars.stderr().contains(fix), "{}", sidecars.stderr());
    let record = sidecars.record();
    let named = "sidecar-init: ended: service \"volumes\" exited with code 78 after ";
    assert!(record.starts_with(named), "{record}");
}

#[test]
fn a_volume_that_is_somebody_elses_is_left_alone() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(12345), Some(12345)).unwrap();
    let sidecars = alone(&[&format!("--volume={}:/var/lib/pipelock", folder.path().display())]);
    assert_eq!(sidecars.wait(), 78, "{}", sidecars.stderr());
    let fix = "[pipelock-ca] pipelock-ca: pipelock can't write to /var/lib/pipelock; mount a \
               volume that belongs to 902\n";
    assert!(sidecars.stderr().contains(fix), "{}", sidecars.stderr());
}
