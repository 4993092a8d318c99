//! What the sidecars may do, and see of each other: as the kernel tells it, not as the bundle says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::docker::{Container, docker, text};
use crate::world::{
    AGENT_IMAGE, HARDENED, Said, alone, exec, image, is_there, services, wait_until_healthy,
};

/// Each sidecar and its user.
const USERS: [(&str, &str); 4] = [
    ("egress", "mitmproxy"),
    ("pipelock", "pipelock"),
    ("git-gate", "git-gate"),
    ("supervise", "supervise"),
];
/// A variable for each of them, and one for none.
const VARIABLES: [&str; 6] = [
    "--env=EGRESS_TOKEN_1=t0ken",
    "--env=PIPELOCK_LISTEN=127.0.0.1:8888",
    "--env=SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
    "--env=GIT_GATE_CONFIG=/etc/git-gate/upstreams.toml",
    "--env=SUPERVISE_WAIT=20s",
    "--env=AWS_SECRET_ACCESS_KEY=nobody's",
];
/// CHOWN, KILL, SETGID, SETUID and SETPCAP by their numbers.
const OF_THE_INIT: u64 = 1 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8;

/// Prints what /proc says of each process below PID 1.
const LOOK: &str = r#"
import json, pathlib
seen = {}
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        lines = (folder / "status").read_text().splitlines()
        seen[folder.name] = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        variables = (folder / "environ").read_bytes().decode().split("\0")
        seen[folder.name]["environ"] = sorted(v.split("=")[0] for v in variables if v)
    except FileNotFoundError:
        seen.pop(folder.name, None)
def below(pid):
    return pid == "1" or pid in seen and below(seen[pid]["PPid"])
print(json.dumps({pid: status for pid, status in seen.items() if below(pid)}))
"#;

/// What the kernel knows of a process.
struct Process(Value);

impl Process {
    fn field(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap().trim()
    }

    fn capabilities(&self, set: &str) -> u64 {
        u64::from_str_radix(self.field(set), 16).unwrap()
    }

    fn variables(&self) -> BTreeSet<&str> {
        self.0["environ"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
    }
}

/// The init's processes by pid, as a privileged neighbour in their PID namespace sees them.
fn processes(sidecars: &Container) -> BTreeMap<String, Process> {
    let shared = format!("--pid=container:{}", sidecars.name());
    let output = docker(&[
        "run",
        "--rm",
        "--network=none",
        "--cap-add=SYS_PTRACE",
        &shared,
        AGENT_IMAGE,
        "python3",
        "-c",
        LOOK,
    ]);
    let seen: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let seen = seen.as_object().unwrap().clone();
    seen.into_iter().map(|(pid, status)| (pid, Process(status))).collect()
}

/// The process of each sidecar by the sidecar's name, and the init's.
fn sidecar_processes(sidecars: &Container) -> (BTreeMap<String, Process>, Process) {
    let mut processes = processes(sidecars);
    let init = processes.remove("1").unwrap();
    let services = services(sidecars);
    let own = USERS.map(|(service, _)| {
        let pid = services[service]["pid"].to_string();
        (service.to_owned(), processes.remove(&pid).unwrap())
    });
    let rest: Vec<_> = processes.values().map(|process| process.field("Name")).collect();
    assert!(rest.is_empty(), "whose are they? {rest:?}");
    (own.into(), init)
}

#[test]
fn each_sidecar_has_a_user_of_its_own_and_no_privileges() {
    if !is_there() {
        return;
    }
    let image = image();
    // What the services lack must not be due to the container's options.
    let as_docker_does = ["--network=none", "--no-healthcheck", &image];
    for is_hardened in [true, false] {
        let sidecars = if is_hardened {
            alone(&["--no-healthcheck"])
        } else {
            Container::make(&["run", "-d"], &as_docker_does)
        };
        wait_until_healthy(&sidecars);
        let (processes, init) = sidecar_processes(&sidecars);
        let mut users = BTreeSet::from(["0".to_owned()]);
        for (service, user) in USERS {
            let process = &processes[service];
            let id = |option| exec(&sidecars, &[], &["id", option, user]).stdout.trim().to_owned();
            let (uid, gid) = (id("-u"), id("-g"));
            assert_eq!(process.field("Uid"), [&*uid; 4].join("\t"), "{service}");
            assert_eq!(process.field("Gid"), [&*gid; 4].join("\t"), "{service}");
            assert_eq!(process.field("Groups"), gid, "{service}");
            assert!(users.insert(uid), "{service} has another's user");
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(process.capabilities(set), 0, "{service} {set}");
            }
            assert_eq!(process.field("NoNewPrivs"), "1", "{service}");
            assert_eq!(process.field("Seccomp"), init.field("Seccomp"), "{service}");
        }
        assert_eq!(init.field("Seccomp"), "2", "a filter");
        if is_hardened {
            for set in ["CapPrm", "CapEff", "CapBnd"] {
                assert_eq!(init.capabilities(set), OF_THE_INIT, "{set}");
            }
            assert_eq!(init.capabilities("CapAmb"), 0);
            assert_eq!(init.field("NoNewPrivs"), "1");
        }
    }
}

#[test]
fn each_sidecar_sees_its_own_variables_only() {
    if !is_there() {
        return;
    }
    let sidecars = alone(&[&["--no-healthcheck"], &VARIABLES[..]].concat());
    wait_until_healthy(&sidecars);
    let (processes, init) = sidecar_processes(&sidecars);
    let names = VARIABLES.map(|option| option["--env=".len()..].split_once('=').unwrap().0);
    for name in names {
        assert!(init.variables().contains(name), "{name}");
    }
    let usual = ["HOME", "LANG", "LOGNAME", "PATH", "PWD", "TZ", "USER"];
    // PYTHON...: its entry point's.
    for (service, prefixes) in [
        ("egress", &["EGRESS_", "PYTHON"][..]),
        ("pipelock", &["PIPELOCK_", "SSL_CERT_"]),
        ("git-gate", &["GIT_GATE_"]),
        ("supervise", &["SUPERVISE_"]),
    ] {
        let variables = processes[service].variables();
        let is_own = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        for name in names {
            assert_eq!(variables.contains(name), is_own(name), "{service} {name}");
        }
        let others = variables.iter().filter(|name| !usual.contains(name) && !is_own(name));
        assert_eq!(others.count(), 0, "{service}: {variables:?}");
    }
}

/// Runs a script as a service would.
fn as_user(sidecars: &Container, user: &str, script: &str, arguments: &[&str]) -> Said {
    let command = [&["sh", "-c", script, "sh"], arguments].concat();
    exec(sidecars, &["-u", user], &command)
}

#[test]
fn no_sidecar_reads_what_is_anothers() {
    if !is_there() {
        return;
    }
    let creds = tempfile::tempdir().unwrap();
    let key = creds.path().join("app");
    std::fs::write(&key, "a key\n").unwrap();
    for (path, mode) in [(creds.path(), 0o755), (&*key, 0o600)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::chown(&key, Some(903), Some(903)).unwrap();
    let volume = format!("--volume={}:/git-gate/creds:ro", creds.path().display());
    let sidecars = alone(&["--no-healthcheck", "--env=EGRESS_TOKEN_1=t0ken", &volume]);
    wait_until_healthy(&sidecars);
    let services = services(&sidecars);
    let environ = |service: &str| format!("/proc/{}/environ", services[service]["pid"]);

    let init = "/proc/1/environ".to_owned();
    let files = [
        ("mitmproxy", "/home/mitmproxy/.mitmproxy/mitmproxy-ca.pem".to_owned()),
        ("mitmproxy", environ("egress")),
        ("pipelock", "/var/lib/pipelock/ca/ca-key.pem".to_owned()),
        ("pipelock", environ("pipelock")),
        ("git-gate", "/git-gate/creds/app".to_owned()),
        ("git-gate", "/git/.git-gate".to_owned()),
        ("git-gate", environ("git-gate")),
        ("supervise", "/run/supervise/audit.jsonl".to_owned()),
        ("supervise", environ("supervise")),
        ("root", init),
    ];
    for (owner, file) in &files {
        for (_, user) in USERS {
            let read = "if [ -d \"$1\" ]; then ls \"$1\"; else cat \"$1\"; fi";
            let said = as_user(&sidecars, user, read, &[file]);
            // Of processes even the owner may look only at those that could not have been more.
            if user != *owner {
                assert_ne!(said.code, 0, "{user} reads {file}: {said:?}");
                assert!(said.stderr.contains("Permission denied"), "{user} {file}: {said:?}");
            } else if !file.starts_with("/proc") {
                assert_eq!(said.code, 0, "{user} can't read {file}: {said:?}");
            }
        }
    }
}

#[test]
fn no_sidecar_writes_or_signals_what_is_anothers() {
    if !is_there() {
        return;
    }
    let sidecars = alone(&["--no-healthcheck"]);
    wait_until_healthy(&sidecars);
    let services = services(&sidecars);
    for (service, user) in USERS {
        let own: &[&str] = match service {
            "egress" => &["/home/mitmproxy/.mitmproxy", "/var/lib/egress"],
            "pipelock" => &["/var/lib/pipelock"],
            "git-gate" => &["/git"],
            _ => &["/run/supervise"],
        };
        // /dev has nothing of the sidecars' but /dev/shm, which is everybody's.
        let find = "find / \\( -path /proc -o -path /sys -o -path /dev \\) -prune -o -writable \
                    ! -type l -print 2>/dev/null; true";
        let writable = as_user(&sidecars, user, find, &[]).stdout;
        let (own_places, others): (Vec<&str>, Vec<&str>) =
            writable.lines().partition(|place| own.iter().any(|volume| place.starts_with(volume)));
        assert!(others.is_empty(), "{service}: {others:?}");
        assert!(own.iter().all(|volume| own_places.contains(volume)), "{service}: {own_places:?}");

        for (other, _) in USERS.iter().filter(|(other, _)| *other != service) {
            let pid = services[*other]["pid"].to_string();
            let said = as_user(&sidecars, user, "kill -0 \"$1\"", &[&pid]);
            assert_ne!(said.code, 0, "{service} may signal {other}");
        }
        let said = exec(&sidecars, &["-u", user], &["sidecar-init", "shutdown"]);
        assert_eq!(said.code, 69, "{service}: {said:?}");
    }
    wait_until_healthy(&sidecars);
}

/// The words behind this one, of `docker run` in the Makefile.
fn make_sidecars() -> Vec<&'static str> {
    let makefile = include_str!("../../Makefile");
    let (_, rule) = makefile.split_once("\nsidecars:").unwrap();
    let (_, command) = rule.split_once("docker run ").unwrap();
    let command = command.split_once("$(IMAGE)").unwrap().0;
    command.split_whitespace().filter(|word| *word != "\\").collect()
}

#[test]
fn compose_file_and_makefile_run_the_image_as_these_tests_do() {
    let hardened: Vec<&str> = HARDENED.iter().flat_map(|option| option.splitn(2, '=')).collect();
    let mut made = make_sidecars();
    for option in ["--rm", "-it", "--name", "sidecars"] {
        let place = made.iter().position(|word| *word == option).unwrap();
        made.remove(place);
    }
    assert_eq!(made, hardened);

    let compose = include_str!("../../examples/sidecars/compose.yaml");
    let (sidecars, _) = compose.split_once("\n  agent:\n").unwrap();
    let value = |key: &str| {
        let mut lines = sidecars.lines().filter_map(|line| line.strip_prefix("    "));
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).unwrap()
    };
    assert_eq!(value("read_only"), "true");
    assert_eq!(value("cap_drop"), "[ALL]");
    let added = HARDENED.windows(2).filter(|pair| pair[0] == "--cap-add").map(|pair| pair[1]);
    assert_eq!(value("cap_add"), format!("[{}]", added.collect::<Vec<_>>().join(", ")));
    assert_eq!(value("security_opt"), "[\"no-new-privileges:true\"]");
    assert_eq!(value("sysctls"), "[net.ipv4.ip_forward=0]");
    assert!(!compose.contains("privileged") && !compose.contains("pid:"), "{compose}");
}

/// Or the agent could end it with some hundred connections.
#[test]
fn egress_takes_all_the_descriptors_that_it_may_have() {
    if !is_there() {
        return;
    }
    let sidecars =
        alone(&["--ulimit=nofile=512:4096", "--env=CLAUDE_BOTTLE_SIDECAR_DAEMONS=egress"]);
    wait_until_healthy(&sidecars);
    let limits = format!("/proc/{}/limits", services(&sidecars)["egress"]["pid"]);
    let said = exec(&sidecars, &["--user=mitmproxy"], &["cat", &limits]);
    let line = said.stdout.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let values: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(values, ["4096", "4096"], "{line}");
}
