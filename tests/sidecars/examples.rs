//! The examples for Compose and Kubernetes: by their schemas, and as far as an engine alone can run them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::docker::{Container, docker, text, unique_name};
use crate::world::{
    AGENT_IMAGE, HARDENED, PRIVATE_ADDRESSES, exec, image, is_there, wait_until_healthy,
};
use test_support::notices::or_skip;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/sidecars");
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sidecars");
/// Both bring their schemas along.
const VALIDATORS: [&str; 2] = ["check-jsonschema==0.39.0", "kubernetes-validate==1.37.0"];
const TOKEN: &str = "t0ken-of-the-operator";
/// What a test adds to the example: an agent that waits, and a web in which its maker's API is.
const ADDED: &str = "
services:
  sidecars:
    environment: {SSL_CERT_FILE: /web/upstream-ca.pem}
    depends_on: {web: {condition: service_healthy}}
    volumes: ['./web:/web:ro']
  agent:
    command: [sleep, infinity]
    user: agent
  web:
    image: ${AGENT_IMAGE}
    command: [/opt/python/bin/python, /tests/upstream.py, /web]
    volumes: ['./web:/web', '${TESTS}:/tests:ro']
    healthcheck: {test: [CMD, test, -f, /web/upstream-ca.pem], interval: 1s, retries: 60}
    networks: {outside: {aliases: [api.anthropic.com, api.github.com]}}
";

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = format!("{}{}", text(&stdout), text(&stderr));
    assert!(status.success(), "{command:?}: {said}");
    said
}

#[test]
fn they_fit_their_schemas() {
    let folder = tempfile::tempdir().unwrap();
    let venv = folder.path().join("venv");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    run(Command::new(python).args(["-m", "venv"]).arg(&venv));
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet"]).args(VALIDATORS));
    let compose = format!("{EXAMPLES}/compose.yaml");
    run(Command::new(venv.join("bin/check-jsonschema")).args([
        "--builtin-schema",
        "vendor.compose-spec",
        &compose,
    ]));
    let pod = format!("{EXAMPLES}/pod.yaml");
    let validate = || {
        let mut command = Command::new(venv.join("bin/kubernetes-validate"));
        command.arg("--strict");
        command
    };
    let said = run(validate().arg(&pod));
    for resource in ["service/sidecars", "pod/sidecars", "pod/agent", "networkpolicy/agent"] {
        assert!(said.contains(&format!("passed for resource {resource}")), "{said}");
    }
    // They would find a mistake.
    let wrong = folder.path().join("wrong.yaml");
    let text = fs::read_to_string(&pod).unwrap().replace("readOnlyRootFilesystem", "readOnlyRoot");
    fs::write(&wrong, text).unwrap();
    assert!(!validate().arg(&wrong).output().unwrap().status.success());
}

/// Compose as a plugin of docker, or as a program of its own.
fn compose() -> Option<Vec<&'static str>> {
    let candidates = [vec!["docker", "compose"], vec!["docker-compose"]];
    candidates.into_iter().find(|command| {
        let version = Command::new(command[0]).args(&command[1..]).arg("version").output();
        version.is_ok_and(|output| output.status.success())
    })
}

/// A project that goes with the test.
struct Project {
    command: Vec<&'static str>,
    folder: PathBuf,
    name: String,
}

impl Project {
    fn compose(&self, arguments: &[&str]) -> Output {
        Command::new(self.command[0])
            .args(&self.command[1..])
            .args(["-p", &self.name, "-f", "compose.yaml", "-f", "agent.yaml"])
            .args(arguments)
            .current_dir(&self.folder)
            .env("CLAUDE_BOTTLE_SIDECAR_IMAGE", image())
            .env("AGENT_IMAGE", AGENT_IMAGE)
            .env("TESTS", TESTS)
            .output()
            .unwrap()
    }

    fn exec(&self, arguments: &[&str]) -> String {
        let said = self.compose(&[&["exec", "-T"], arguments].concat());
        format!("{}{}", text(&said.stdout), text(&said.stderr))
    }

    fn id(&self, service: &str) -> String {
        text(&self.compose(&["ps", "-q", service]).stdout).trim().to_owned()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.compose(&["down", "--volumes", "--timeout", "20"]);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// What the comments of the examples tell to make.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::set_permissions(path(""), PermissionsExt::from_mode(0o755)).unwrap();
    copy(Path::new(EXAMPLES), folder.path());
    for name in ["pipelock", "creds", "tokens"] {
        fs::create_dir(path(name)).unwrap();
    }
    for name in ["ANTHROPIC", "GITHUB"] {
        let token = path(&format!("tokens/EGRESS_TOKEN_{name}"));
        fs::write(&token, TOKEN).unwrap();
        chown(&token, Some(1000), None).unwrap();
        fs::set_permissions(&token, PermissionsExt::from_mode(0o400)).unwrap();
    }
    let routes = format!("--volume={}:/routes:ro", path("egress").display());
    let generate = ["pipelock-config", "--routes", "/routes/routes.yaml"];
    let options = ["run", "--rm", "--network=none", "--entrypoint=/app/supervise", &routes];
    let made = docker(&[&options[..], &[&*image()], &generate[..]].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
    fs::write(path("pipelock/pipelock.yaml"), made.stdout).unwrap();
    folder
}

#[test]
fn the_compose_file_runs_with_its_limits() {
    if !is_there() {
        return;
    }
    let Some(command) = compose() else {
        or_skip(false, "there is no Docker Compose");
        return;
    };
    let folder = prepared();
    fs::write(folder.path().join("agent.yaml"), ADDED).unwrap();
    fs::create_dir(folder.path().join("web")).unwrap();
    // The web's addresses are private ones.
    let pipelock = folder.path().join("pipelock/pipelock.yaml");
    let config = fs::read_to_string(&pipelock).unwrap() + PRIVATE_ADDRESSES;
    fs::write(pipelock, config).unwrap();
    let name = unique_name().replace('_', "-").to_lowercase();
    let project = Project { command, folder: folder.path().to_owned(), name };
    let log = || text(&project.compose(&["logs"]).stdout);
    let up = project.compose(&["up", "-d"]);
    // It waits until the sidecars are healthy, as the agent depends on that.
    assert!(up.status.success(), "{}{}", text(&up.stderr), log());

    let claude = ["run", "--rm", "-T", "agent", "claude", "--print", "say hello"];
    let said = project.compose(&claude);
    assert_eq!(text(&said.stdout), "hello from the stub\n", "{}{}", text(&said.stderr), log());
    let issues = ["agent", "gh", "api", "repos/example/app/issues", "--jq", ".[].title"];
    assert_eq!(project.exec(&issues), "first\n");
    let web = text(&docker(&["logs", &project.id("web")]).stdout);
    let arrived = |wanted: &str| web.lines().any(|line| line.contains(wanted));
    assert!(arrived(&format!("\"x-api-key\": \"{TOKEN}\"")), "{web}");
    assert!(arrived(&format!("\"authorization\": \"token {TOKEN}\"")), "{web}");
    assert!(!web.contains("OfTheAgent") && !web.contains("of-the-agent"), "{web}");

    let refused = project.exec(&["agent", "curl", "-sS", "https://denied.example.com/"]);
    assert!(refused.contains("403"), "{refused}");
    let allowlist = project.exec(&["agent", "curl", "-sS", "http://egress:9099/allowlist"]);
    assert!(allowlist.contains("EGRESS_TOKEN_GITHUB"), "{allowlist}");
    assert!(!project.exec(&["sidecars", "supervise", "list"]).contains("rror"));
    let secret = "/run/secrets/EGRESS_TOKEN_GITHUB";
    assert_eq!(project.exec(&["-u", "mitmproxy", "sidecars", "cat", secret]), TOKEN);
    for user in ["pipelock", "git-gate", "supervise"] {
        let said = project.exec(&["-u", user, "sidecars", "cat", secret]);
        assert!(said.contains("Permission denied"), "{user}: {said}");
    }
    for (service, memory, processes, restart) in
        [("sidecars", 2 << 30, 4096, "unless-stopped"), ("agent", 4_u64 << 30, 1024, "no")]
    {
        let format = "--format={{json .HostConfig}}";
        let inspected = docker(&["inspect", format, &project.id(service)]);
        let host: Value = serde_json::from_slice(&inspected.stdout).unwrap();
        assert_eq!(host["Memory"], memory, "{service}");
        assert_eq!(host["MemorySwap"], memory, "{service}");
        assert_eq!(host["PidsLimit"], processes, "{service}");
        assert_eq!(host["RestartPolicy"]["Name"], restart, "{service}");
        let log = json!({"Type": "json-file", "Config": {"max-size": "10m", "max-file": "5"}});
        assert_eq!(host["LogConfig"], log, "{service}");
    }
}

/// A directory as the kubelet makes it for a Secret or ConfigMap: root's, the group the pod's fsGroup,
/// the files behind two links.
fn kubelet_volume(folder: &Path, files: &Path, mode: u32) {
    let data = folder.join("..2026_01_02");
    copy(files, &data);
    symlink("..2026_01_02", folder.join("..data")).unwrap();
    for entry in fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        chown(entry.path(), Some(0), Some(1000)).unwrap();
        fs::set_permissions(entry.path(), PermissionsExt::from_mode(mode)).unwrap();
        let link = Path::new("..data").join(entry.file_name());
        symlink(link, folder.join(entry.file_name())).unwrap();
    }
}

/// Not a cluster's word on pod.yaml: the container as pod.yaml describes it, with volumes such as the
/// kubelet makes.
#[test]
fn the_sidecars_run_with_the_volumes_that_a_pod_gives_them() {
    if !is_there() {
        return;
    }
    let folder = prepared();
    let volumes = tempfile::tempdir().unwrap();
    fs::set_permissions(volumes.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let pod = fs::read_to_string(format!("{EXAMPLES}/pod.yaml")).unwrap();
    let mut options: Vec<String> = Vec::new();
    let (_, sidecars) = pod.split_once("    - name: sidecars\n").unwrap();
    let (mounts, _) = sidecars.split_once("\n---\n").unwrap();
    for line in mounts.lines().filter(|line| line.contains("mountPath: ")) {
        let part = |key: &str| {
            let (_, rest) = line.split_once(&format!("{key}: ")).unwrap();
            rest.split([',', '}']).next().unwrap().to_owned()
        };
        let (name, place) = (part("name"), part("mountPath"));
        let made = volumes.path().join(&name);
        fs::create_dir(&made).unwrap();
        let source = match name.as_str() {
            "egress-routes" => Some(("egress", 0o644)),
            "git-gate-config" => Some(("git-gate", 0o644)),
            "pipelock-config" => Some(("pipelock", 0o644)),
            "tokens" => Some(("tokens", 0o440)),
            _ => None,
        };
        if let Some((files, mode)) = source {
            kubelet_volume(&made, &folder.path().join(files), mode);
        }
        chown(&made, Some(0), Some(1000)).unwrap();
        let mode = if source.is_some() { 0o755 } else { 0o2777 };
        fs::set_permissions(&made, PermissionsExt::from_mode(mode)).unwrap();
        let suffix = if line.contains("readOnly: true") { ":ro" } else { "" };
        options.push(format!("--volume={}:{place}{suffix}", made.display()));
    }
    assert_eq!(options.len(), 11, "{options:?}");
    options.extend(["--network=none".to_owned(), "--memory=2g".to_owned()]);
    // Of the capabilities and the root file system pod.yaml says the same as the tests' options.
    for wanted in ["add: [CHOWN, KILL, SETGID, SETPCAP, SETUID]", "readOnlyRootFilesystem: true"] {
        assert!(sidecars.contains(wanted), "{wanted}");
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let image = image();
    let sidecars = Container::make(&["run", "-d"], &[&HARDENED[..], &options, &[&*image]].concat());
    wait_until_healthy(&sidecars);
    let secret = "/run/secrets/EGRESS_TOKEN_GITHUB";
    assert_eq!(exec(&sidecars, &["-u", "mitmproxy"], &["cat", secret]).stdout, TOKEN);
    for user in ["pipelock", "git-gate", "supervise"] {
        assert_ne!(exec(&sidecars, &["-u", user], &["cat", secret]).code, 0, "{user}");
    }
    let events = exec(&sidecars, &["-u", "supervise"], &["touch", "/run/sidecar-init/x"]);
    assert_ne!(events.code, 0);
}
