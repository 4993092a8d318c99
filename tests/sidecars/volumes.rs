//! What survives a container, and to whom it belongs.

use std::os::unix::fs::PermissionsExt;

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
    let volumes = VOLUMES.map(|(place, _)| (Volume::new(), place));
    let options: Vec<String> =
        volumes.iter().map(|(volume, place)| format!("--volume={}:{place}", volume.0)).collect();
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
