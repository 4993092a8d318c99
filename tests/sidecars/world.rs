//! Everything that one test needs: two networks, the sidecars on both, an agent on the inner one,
//! and the web on the outer one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};

use serde_json::Value;

use crate::docker::{Container, docker, has_engine, text, unique_name};
use crate::running::Running;
use test_support::notices::{or_skip, warn};

/// Of the agent and of the web; it has Python, too.
pub const AGENT_IMAGE: &str = "claude-bottle-test:agent-3";
/// What egress puts into requests for api.example.com.
pub const TOKEN: &str = "t0ken-of-the-operator";
/// What the init says once it has its control socket.
pub const FIRST_START: &str = "service \"volumes\" started";
/// The privileges of `examples/sidecars/compose.yaml`.
pub const HARDENED: [&str; 15] = [
    "--read-only",
    "--cap-drop",
    "ALL",
    "--cap-add",
    "CHOWN",
    "--cap-add",
    "KILL",
    "--cap-add",
    "SETGID",
    "--cap-add",
    "SETPCAP",
    "--cap-add",
    "SETUID",
    "--security-opt=no-new-privileges",
    "--sysctl=net.ipv4.ip_forward=0",
];
/// The inner network of that file: no way out, and no address of the host's on it.
pub const INSIDE: [&str; 2] = ["--internal", "--opt=com.docker.network.bridge.inhibit_ipv4=true"];
/// The web's, which pipelock would refuse.
pub const PRIVATE_ADDRESSES: &str =
    "\nssrf:\n  ip_allowlist: [\"172.16.0.0/12\", \"192.168.0.0/16\", \"10.0.0.0/8\"]\n";
const ROUTES: &str = "\
routes:
  - host: api.example.com
    paths: [\"/v1/\"]
    auth: {scheme: bearer, token_env: EGRESS_TOKEN_1}
  - host: raw.example.com
";

/// The image under test.
pub fn image() -> String {
    std::env::var("IMAGE").unwrap_or_else(|_| "claude-bottle-sidecars".to_owned())
}

/// Whether there is what the tests need.
pub fn is_there() -> bool {
    static PREPARED: Once = Once::new();
    if !has_engine() {
        return false;
    }
    let image = image();
    let is_made = docker(&["image", "inspect", &image]).status.success();
    if !or_skip(is_made, &format!("there is no image {image}; make image makes it")) {
        return false;
    }
    PREPARED.call_once(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sidecars/agent_image.sh");
        let made = std::process::Command::new(script).arg(AGENT_IMAGE).status();
        assert!(made.unwrap().success(), "the image {AGENT_IMAGE} can't be made");
    });
    if !has_real_pipelock() {
        warn(&format!(
            "a STAND-IN takes pipelock's place in {image}: nothing that is tested there is proved \
             of pipelock"
        ));
    }
    true
}

/// Whether the image has pipelock itself.
pub fn has_real_pipelock() -> bool {
    static IS_REAL: OnceLock<bool> = OnceLock::new();
    *IS_REAL.get_or_init(|| {
        let pipelock =
            ["run", "--rm", "--network=none", "--entrypoint=pipelock", &image(), "version"];
        !text(&docker(&pipelock).stdout).contains("STAND-IN")
    })
}

/// What a command did.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command in a container.
pub fn exec(container: &Container, options: &[&str], command: &[&str]) -> Said {
    let arguments = [&["exec"], options, &[container.name()], command].concat();
    let output = docker(&arguments);
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// The image as it is, on no network, with the usual options and these.
pub fn alone(options: &[&str]) -> Container {
    let image = image();
    let arguments = [&HARDENED[..], &["--network=none"], options, &[&*image]].concat();
    Container::make(&["run", "-d"], &arguments)
}

/// Waits until `sidecar-init health` is content.
pub fn wait_until_healthy(sidecars: &Container) {
    // From then on there is a control socket to ask.
    sidecars.wait_for(FIRST_START);
    // One command, as each `docker exec` costs more than the sidecars do meanwhile.
    let script =
        "for service do sidecar-init wait --timeout 300s --ready \"$service\" || exit; done
                  sidecar-init health";
    let names: Vec<String> = services(sidecars).into_keys().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let waited = exec(sidecars, &[], &[&["sh", "-c", script, "sh"], &names[..]].concat());
    let log = || format!("{}{}", sidecars.stdout(), sidecars.stderr());
    assert_eq!(waited.code, 0, "not healthy: {}{}\n{}", waited.stdout, waited.stderr, log());
}

/// Changes files, sends HUP to the init, and waits until egress and pipelock have read their files again.
/// pipelock may have done so before the HUP: it watches its file, and says nothing of the same once more.
pub fn hang_up(sidecars: &Container, change: impl FnOnce()) {
    let tell = || {
        change();
        sidecars.kill("HUP");
    };
    sidecars.wait_after(|| sidecars.wait_after(tell, "routes-loaded"), "config_reload");
}

/// As the kernel does when memory runs out, and nobody in the container knows of it.
pub fn kill(sidecars: &Container, service: &str) {
    let pid = services(sidecars)[service]["pid"].to_string();
    let killed = exec(sidecars, &[], &["sh", "-c", "kill -9 \"$0\"", &pid]);
    // Without a restart the container may end first.
    assert!(matches!(killed.code, 0 | 137), "{killed:?}");
}

/// The id of a proposal that waits, as soon as there is one.
pub fn waiting(world: &World) -> String {
    let watch = ["supervise", "watch", "--json"];
    let told = Running::start(&world.sidecars, &[], &watch).line_with(&["\"proposal\"", "pending"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    told["proposal"]["id"].as_str().unwrap().to_owned()
}

/// What `sidecar-init status` says of each service, by its name.
pub fn services(sidecars: &Container) -> BTreeMap<String, Value> {
    let said = exec(sidecars, &[], &["sidecar-init", "status", "--json"]);
    let status: Value = serde_json::from_str(&said.stdout).expect(&said.stderr);
    let services = status["services"].as_array().unwrap().iter();
    services.map(|one| (one["name"].as_str().unwrap().to_owned(), one.clone())).collect()
}

/// How the sidecars are started.
pub struct Setup {
    folder: tempfile::TempDir,
    options: Vec<String>,
    agent_options: Vec<String>,
    pipelock: [&'static str; 2],
}

impl Setup {
    /// Routes for api.example.com with a token and raw.example.com without, whose TLS pipelock
    /// leaves alone; no repositories.
    pub fn new() -> Setup {
        let setup = Setup {
            folder: tempfile::tempdir().unwrap(),
            options: Vec::new(),
            agent_options: Vec::new(),
            pipelock: ["pipelock", "/etc/pipelock"],
        };
        // The containers' users have to get through it.
        fs::set_permissions(setup.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["egress", "pipelock", "git-gate", "creds", "certificate", "web"] {
            fs::create_dir(setup.path(folder)).unwrap();
        }
        setup.write("egress/routes.yaml", ROUTES);
        setup.write(
            "pipelock/pipelock.yaml",
            &pipelock_config(&["api.example.com", "raw.example.com"]),
        );
        setup.write("git-gate/upstreams.toml", "");
        setup.write("git-gate/approved-fingerprints", "");
        setup
            .environment("EGRESS_TOKEN_1", TOKEN)
            .environment("SSL_CERT_FILE", "/web/upstream-ca.pem")
    }

    /// A file or folder that the sidecars see.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes such a file.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// A key of the git gate's: for its user alone.
    pub fn write_key(&self, name: &str, content: &str) {
        self.write(name, content);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        chown(self.path(name), Some(903), Some(903)).unwrap();
    }

    /// pipelock's configuration, as `supervise pipelock-config` makes it of the routes; the web's
    /// addresses are private ones.
    pub fn generate_pipelock_config(&self) {
        let routes = self.path("egress/routes.yaml");
        let routes = format!("--volume={}:/routes.yaml:ro", routes.display());
        let options = ["run", "--rm", "--network=none", &routes, "--entrypoint=/app/supervise"];
        let generate = ["pipelock-config", "--routes", "/routes.yaml"];
        let made = docker(&[&options[..], &[&*image()], &generate[..]].concat());
        assert!(made.status.success(), "{}", text(&made.stderr));
        self.write("pipelock/pipelock.yaml", &(text(&made.stdout) + PRIVATE_ADDRESSES));
    }

    /// A variable of the sidecars' container.
    pub fn environment(self, name: &str, value: &str) -> Setup {
        self.option(&format!("--env={name}={value}"))
    }

    /// Another bundle.
    pub fn bundle(self, text: &str) -> Setup {
        test_support::bundles::keep(text);
        self.write("bundle.toml", text);
        let file = self.path("bundle.toml");
        self.option(&format!("--volume={}:/etc/sidecar-init/bundle.toml:ro", file.display()))
    }

    /// pipelock's configuration as a mount of its own, in its old place.
    pub fn pipelock_as_a_file(mut self) -> Setup {
        self.pipelock = ["pipelock/pipelock.yaml", "/etc/pipelock.yaml"];
        self
    }

    /// An option of `docker run`.
    pub fn option(mut self, option: &str) -> Setup {
        self.options.push(option.to_owned());
        self
    }

    /// The same of the agent's container.
    pub fn agent_option(mut self, option: &str) -> Setup {
        self.agent_options.push(option.to_owned());
        self
    }

    /// The sidecars' container, not started yet, on this network.
    fn create(&self, network: &str) -> Container {
        let mut arguments: Vec<String> = HARDENED.map(str::to_owned).into();
        arguments.push(format!("--network={network}"));
        for alias in ["egress", "git-gate", "supervise"] {
            arguments.push(format!("--network-alias={alias}"));
        }
        for (from, to) in [
            ("egress", "/etc/egress"),
            self.pipelock.into(),
            ("git-gate", "/etc/git-gate"),
            ("creds", "/git-gate/creds:ro"),
            ("certificate", "/var/lib/egress"),
            ("web", "/web:ro"),
        ] {
            arguments.push(format!("--volume={}:{to}", self.path(from).display()));
        }
        arguments.extend(self.options.iter().cloned());
        arguments.push(image());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Container::make(&["create"], &arguments)
    }

    /// Starts the web, the sidecars and the agent, and waits until all are ready.
    pub fn start(self) -> World {
        let world = self.start_without_waiting();
        world.wait_until_healthy();
        world
    }

    /// The same, and does not wait for the sidecars.
    pub fn start_without_waiting(self) -> World {
        let networks = [Network::new(&INSIDE), Network::new(&[])];
        let [inside, outside] = &networks;
        let web = web(self.folder.path(), outside);
        let sidecars = self.create(&inside.0);
        let connected = docker(&["network", "connect", &outside.0, sidecars.name()]);
        assert!(connected.status.success(), "{}", text(&connected.stderr));
        let started = docker(&["start", sidecars.name()]);
        assert!(started.status.success(), "{}", text(&started.stderr));
        let agent = agent(&self.path("certificate"), inside, &self.agent_options);
        World { agent, sidecars, web, setup: self, networks }
    }
}

/// The shipped configuration, with these hosts; the web's addresses are private ones.
pub fn pipelock_config(hosts: &[&str]) -> String {
    let shipped = include_str!("../../sandbox/image/pipelock.yaml");
    let listed: String = hosts.iter().map(|host| format!("  - {host}\n")).collect();
    shipped
        .replace("  - nothing.invalid\n", &listed)
        .replace("passthrough_domains: []", "passthrough_domains: [raw.example.com]")
        + PRIVATE_ADDRESSES
}

/// A Docker network that goes with the test.
struct Network(String);

impl Network {
    fn new(options: &[&str]) -> Network {
        let name = unique_name();
        let made = docker(&[&["network", "create"], options, &[&name]].concat());
        assert!(made.status.success(), "{}", text(&made.stderr));
        Network(name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        docker(&["network", "rm", &self.0]);
    }
}

fn on_network(container: &Container, network: &Network, field: &str) -> String {
    container.inspect(&format!("(index .NetworkSettings.Networks \"{}\").{field}", network.0))
}

fn web(folder: &Path, outside: &Network) -> Container {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sidecars");
    let names = ["api", "late", "raw", "denied", "git", "files"];
    let mut arguments = vec![format!("--network={}", outside.0)];
    let others = ["api.anthropic.com", "api.github.com", "github.com"];
    arguments.extend(others.map(|name| format!("--network-alias={name}")));
    arguments.extend(names.map(|name| format!("--network-alias={name}.example.com")));
    arguments.push(format!("--volume={}:/web", folder.join("web").display()));
    for script in ["upstream.py", "downloads.py", "forge.py"] {
        arguments.push(format!("--volume={scripts}/{script}:/{script}:ro"));
    }
    arguments.push(AGENT_IMAGE.to_owned());
    arguments.extend(["/opt/python/bin/python", "/upstream.py", "/web"].map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let web = Container::make(&["run", "-d"], &arguments);
    web.wait_for("certificate is made");
    web
}

/// What `examples/sidecars/compose.yaml` tells an agent, so that it is known to be enough.
fn agent_variables() -> Vec<String> {
    let example = include_str!("../../examples/sidecars/compose.yaml");
    let (_, agent) = example.split_once("\n  agent:\n").unwrap();
    let (_, variables) = agent.split_once("\n    environment:\n").unwrap();
    let lines = variables.lines().map_while(|line| line.strip_prefix("      "));
    let pairs = lines.filter_map(|line| line.split_once(": ").filter(|_| !line.starts_with('#')));
    pairs.map(|(name, value)| format!("--env={name}={}", value.trim_matches('"'))).collect()
}

fn agent(certificate: &Path, inside: &Network, options: &[String]) -> Container {
    let network = format!("--network={}", inside.0);
    let volume = format!("--volume={}:/certificate:ro", certificate.display());
    let mut arguments =
        vec![&*network, &volume, "--dns=127.0.0.1", "--cap-drop=ALL", "--user=agent"];
    let variables = agent_variables();
    arguments.extend(variables.iter().chain(options).map(String::as_str));
    arguments.extend([
        "--env=HOME=/tmp",
        "--env=PATH=/opt/python/bin:/opt/inspector/node_modules/.bin:/usr/bin:/bin",
        AGENT_IMAGE,
        "sleep",
        "infinity",
    ]);
    Container::make(&["run", "-d"], &arguments)
}

/// The containers of one test; all of it goes when the test ends.
pub struct World {
    pub agent: Container,
    pub sidecars: Container,
    pub web: Container,
    pub setup: Setup,
    // Last, as a network goes only when nothing is on it.
    networks: [Network; 2],
}

impl World {
    /// Waits until `sidecar-init health` is content.
    pub fn wait_until_healthy(&self) {
        wait_until_healthy(&self.sidecars);
    }

    /// What `docker inspect` says of a container of the inner network: `IPAddress`, `Gateway`.
    pub fn inside(&self, container: &Container, field: &str) -> String {
        on_network(container, &self.networks[0], field)
    }

    /// The same of the outer network.
    pub fn outside(&self, container: &Container, field: &str) -> String {
        on_network(container, &self.networks[1], field)
    }

    /// Runs a command as the agent.
    pub fn agent(&self, command: &[&str]) -> Said {
        exec(&self.agent, &[], command)
    }

    /// Runs a script of Python as the agent.
    pub fn agent_python(&self, script: &str, arguments: &[&str]) -> Said {
        self.agent(&[&["python", "-c", script], arguments].concat())
    }

    /// curl as the agent: what it prints, with the status of HTTP behind it.
    pub fn curl(&self, arguments: &[&str]) -> Said {
        let fixed = ["curl", "-sS", "--max-time", "60", "-w", "\n%{http_code}"];
        self.agent(&[&fixed, arguments].concat())
    }

    /// The operator's command in the sidecars' container.
    pub fn operator(&self, command: &[&str]) -> Said {
        exec(&self.sidecars, &[], command)
    }

    /// What reached the web, in its order.
    pub fn seen(&self) -> Vec<Value> {
        let lines = self.web.stdout();
        lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// egress's decisions, and what else its log says.
    pub fn egress_log(&self) -> Vec<Value> {
        let lines = self.sidecars.stdout();
        let own = lines.lines().filter_map(|line| line.strip_prefix("[egress] "));
        own.filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
