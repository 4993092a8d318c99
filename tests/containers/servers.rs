//! The main job: real servers in one container, of which one dies.

use crate::docker::{Container, is_there};

const BUNDLE: &str = r#"
[bundle]
name = "servers"
select-env = "SERVERS"

[[service]]
name = "nginx"
command = ["nginx", "-g", "daemon off;"]
stop-signal = "QUIT"

[[service]]
name = "redis"
command = ["redis-server", "--save", "", "--daemonize", "no"]
user = "redis"
no-new-privileges = true
drop-capabilities = ["ALL"]
working-directory = "/"

[[service]]
name = "git"
command = ["git", "daemon", "--base-path=/srv", "--export-all", "--listen=127.0.0.1", "/srv"]
user = "nobody"

[signals]
HUP = { to = ["nginx"] }
"#;

struct Servers {
    container: Container,
    _files: tempfile::TempDir,
}

fn start(options: &[&str]) -> Servers {
    let files = tempfile::tempdir().unwrap();
    test_support::bundles::keep(BUNDLE);
    std::fs::write(files.path().join("bundle.toml"), BUNDLE).unwrap();
    let mount = format!("{}:/etc/sidecar-init:ro", files.path().display());
    let container = Container::start(&[&["-v", &mount], options].concat(), &["run"]);
    Servers { container, _files: files }
}

impl Servers {
    /// Asks a server until it answers.
    fn answers(&self, question: &str) -> String {
        let script = format!("until {question} 2>/dev/null; do sleep 0.05; done");
        self.container.exec(&["timeout", "30", "sh", "-c", &script]).unwrap_or_else(|| {
            panic!(
                "no answer to {question}:\n{}{}",
                self.container.stdout(),
                self.container.stderr()
            )
        })
    }

    fn all_answer(&self) {
        let setup = "git init -q --bare /srv/project.git && chown -R nobody /srv/project.git";
        assert!(self.container.exec(&["sh", "-c", setup]).is_some());
        assert!(self.answers("curl -fs http://127.0.0.1/").contains("nginx"));
        assert_eq!(self.answers("redis-cli ping").trim(), "PONG");
        self.answers("git ls-remote git://127.0.0.1/project.git");
    }

    fn pid_of(&self, name: &str) -> String {
        let log = self.container.stderr();
        let start = format!("sidecar-init: service \"{name}\" started (pid ");
        let line = log.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
        line.trim_end_matches(')').to_owned()
    }

    fn assert_order(&self, wanted: &[&str]) {
        let log = self.container.stderr();
        let place = |part: &&str| log.find(part).unwrap_or_else(|| panic!("no {part:?} in\n{log}"));
        let places: Vec<usize> = wanted.iter().map(place).collect();
        assert!(places.is_sorted(), "{wanted:?} in\n{log}");
    }
}

#[test]
fn one_dies_and_the_container_ends_in_order_with_its_code() {
    if !is_there() {
        return;
    }
    let servers = start(&[]);
    servers.all_answer();
    let redis = servers.pid_of("redis");
    assert!(servers.container.exec(&["kill", "-9", &redis]).is_some());
    assert_eq!(servers.container.wait(), 137);
    assert_eq!(servers.container.inspect(".State.ExitCode"), "137");
    servers.assert_order(&[
        "service \"redis\" was killed by SIGKILL (signal 9)",
        "service \"git\" is stopping (SIGTERM)",
        "service \"git\" was killed by SIGTERM (signal 15)",
        "service \"nginx\" is stopping (SIGQUIT)",
        "service \"nginx\" exited with code 0",
        "ended: service \"redis\" was killed by SIGKILL (signal 9) after ",
    ]);
    assert!(
        servers.container.record().ends_with("; exit code 137"),
        "{}",
        servers.container.record()
    );
}

#[test]
fn stop_ends_all_within_the_grace_with_0() {
    if !is_there() {
        return;
    }
    let servers = start(&[]);
    servers.all_answer();
    servers.container.kill("HUP");
    servers.answers("curl -fs http://127.0.0.1/");
    assert_eq!(servers.container.stop(), 0);
    servers.assert_order(&[
        "service \"git\" is stopping",
        "service \"redis\" is stopping",
        "service \"redis\" exited with code 0",
        "service \"nginx\" is stopping (SIGQUIT)",
        "service \"nginx\" exited with code 0",
        "ended: SIGTERM received after ",
    ]);
    assert!(!servers.container.record().contains("overran"), "{}", servers.container.record());
    assert!(servers.container.stdout().contains("[redis] "), "{}", servers.container.stdout());
}

#[test]
fn each_server_is_who_it_should_be() {
    if !is_there() {
        return;
    }
    let servers = start(&[]);
    servers.answers("redis-cli ping");
    let pid = servers.pid_of("redis");
    let status = servers.container.exec(&["cat", &format!("/proc/{pid}/status")]).unwrap();
    let id = servers.container.exec(&["id", "-u", "redis"]).unwrap();
    let id = id.trim();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert_eq!(line("Uid:"), format!("Uid:\t{id}\t{id}\t{id}\t{id}"));
    assert_eq!(line("NoNewPrivs:"), "NoNewPrivs:\t1");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(line(set), format!("{set}\t0000000000000000"));
    }
}

#[test]
fn the_environment_selects() {
    if !is_there() {
        return;
    }
    let servers = start(&["-e", "SERVERS=redis, nginx"]);
    servers.answers("redis-cli ping");
    servers.answers("curl -fs http://127.0.0.1/");
    assert_eq!(servers.container.stop(), 0);
    servers.assert_order(&["service \"nginx\" started", "service \"redis\" started"]);
    assert!(!servers.container.stderr().contains("\"git\""));

    let nothing = start(&["-e", "SERVERS=mysql"]);
    assert_eq!(nothing.container.wait(), 65);
    let known = "SERVERS leaves no service to run; the bundle has nginx, redis, git";
    assert!(nothing.container.stderr().contains(known));
}
