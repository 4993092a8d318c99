//! The sidecars' image: one container with all four beside a container for each.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::peers::Peers;
use crate::processes::{memory, tree};
use crate::statistics::median;
use crate::table::Table;

const DAEMONS: [&str; 4] = ["egress", "pipelock", "git-gate", "supervise"];
/// As in the Compose file, and without what would run besides the sidecars.
const OPTIONS: [&str; 10] = [
    "--network=none",
    "--no-healthcheck",
    "--read-only",
    "--cap-drop=ALL",
    "--cap-add=CHOWN",
    "--cap-add=KILL",
    "--cap-add=SETGID",
    "--cap-add=SETPCAP",
    "--cap-add=SETUID",
    "--security-opt=no-new-privileges",
];
/// The least that any of it can take, as the agent's way out needs it.
const FLOOR: &str = "mitmdump alone";

/// A container that is removed when the measurement is over.
struct Container {
    name: String,
    client: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Container {
    /// `docker run OPTIONS IMAGE COMMAND`
    fn start(options: &[&str], image: &str, command: &[&str]) -> Container {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-{}-{number}", std::process::id());
        let mut client = Command::new("sh")
            .args(["-c", "exec docker run --rm --name \"$@\" 2>&1", "sh", &name])
            .args(OPTIONS)
            .args(options)
            .arg(image)
            .args(command)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let output = BufReader::new(client.stdout.take().expect("a pipe")).lines();
        Container { name, client, output }
    }

    /// Only these sidecars.
    fn with(image: &str, daemons: &[&str]) -> Container {
        let selected = format!("--env=CLAUDE_BOTTLE_SIDECAR_DAEMONS={}", daemons.join(","));
        Container::start(&[&selected], image, &[])
    }

    /// Waits until it has written a line for each of these.
    fn wait_for(&mut self, wanted: &[String]) {
        let mut missing = wanted.to_vec();
        while !missing.is_empty() {
            let line = self.output.next().unwrap_or_else(|| panic!("it ended without {missing:?}"));
            let line = line.expect("its output");
            missing.retain(|wanted| !line.contains(wanted));
        }
    }

    /// Its PID 1, as the host counts.
    fn pid(&self) -> u32 {
        docker(&["inspect", "-f", "{{.State.Pid}}", &self.name])
            .and_then(|pid| pid.trim().parse().ok())
            .expect("its pid")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "-f", "-v", &self.name]);
        let _ = self.client.wait();
    }
}

/// What the command prints, if it succeeds.
fn docker(arguments: &[&str]) -> Option<String> {
    let output = Command::new("docker").args(arguments).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The lines in which the init says that they are ready.
fn ready(daemons: &[&str]) -> Vec<String> {
    daemons.iter().map(|daemon| format!("service \"{daemon}\" is ready")).collect()
}

fn bundle(image: &str) -> Vec<Container> {
    let mut container = Container::with(image, &DAEMONS);
    container.wait_for(&ready(&DAEMONS));
    vec![container]
}

fn one_container_each(image: &str) -> Vec<Container> {
    let mut containers: Vec<_> =
        DAEMONS.iter().map(|daemon| Container::with(image, &[daemon])).collect();
    for (container, daemon) in containers.iter_mut().zip(DAEMONS) {
        container.wait_for(&ready(&[daemon]));
    }
    containers
}

fn mitmdump(image: &str) -> Vec<Container> {
    let options = ["--entrypoint=mitmdump", "--env=PYTHONUNBUFFERED=1"];
    let mut container = Container::start(&options, image, &["--set", "confdir=/dev/shm/mitmdump"]);
    container.wait_for(&["listening at".to_owned()]);
    vec![container]
}

/// What brings something up, and waits until all of it is ready.
type Start = fn(&str) -> Vec<Container>;

pub fn sidecars(_: &Peers, quick: bool) -> Table {
    let times = if quick { 1 } else { 5 };
    let head = [
        "containers",
        "docker run until all are ready, ms p50",
        &format!("ratio to {FLOOR}"),
        "PSS of all MB",
        "of the inits KiB",
    ];
    let mut table = Table::new("The four sidecars", &head);
    let image = std::env::var("IMAGE").unwrap_or_else(|_| "claude-bottle-sidecars".to_owned());
    if docker(&["image", "inspect", &image]).is_none() {
        let reason = format!("not measured: no Docker engine, or no image {image} (make image)");
        table.row(&reason, &["", "", "", ""].map(str::to_owned));
        return table;
    }
    let contenders: [(&str, Start); 3] = [
        (FLOOR, mitmdump),
        ("one with all four", bundle),
        ("four, started at the same time", one_container_each),
    ];
    let mut values = contenders.map(|_| [Vec::new(), Vec::new(), Vec::new()]);
    for _ in 0..times {
        for ((_, start), [spans, all, inits]) in contenders.iter().zip(&mut values) {
            let begin = Instant::now();
            let containers = start(&image);
            spans.push(begin.elapsed().as_secs_f64() * 1e3);
            let pids: Vec<u32> = containers.iter().map(Container::pid).collect();
            let pss = |pid: &u32| memory(*pid, "Pss:");
            all.push(pids.iter().copied().flat_map(tree).map(|pid| pss(&pid)).sum());
            inits.push(pids.iter().map(pss).sum());
        }
    }
    for ((name, _), [spans, all, inits]) in contenders.iter().zip(&values) {
        // PID 1 of the floor is mitmdump itself.
        let inits = if *name == FLOOR { "-".into() } else { format!("{:.0}", median(inits)) };
        table.row(
            name,
            &[
                format!("{:.0}", median(spans)),
                format!("{:.2}", median(spans) / median(&values[0][0])),
                format!("{:.0}", median(all) / 1024.0),
                inits,
            ],
        );
    }
    table
}
