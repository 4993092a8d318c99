//! Drives the docker command, and cleans up after itself.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use test_support::notices::or_skip;

/// What containers are made of, and the packages in it.
pub struct Image {
    pub name: &'static str,
    packages: &'static str,
    made: Once,
}

pub static BASE: Image = Image {
    name: "sidecar-init-test:base",
    packages: "ca-certificates,curl,git,nginx-light,procps,redis-server,util-linux",
    made: Once::new(),
};
/// Larger: for those tests only that need its servers.
pub static SERVERS: Image = Image {
    name: "sidecar-init-test:servers",
    packages: "ca-certificates,curl,nginx-light,postgresql,procps,redis-server,s6,util-linux",
    made: Once::new(),
};
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Whether there is an engine; makes the usual image at the first call.
pub fn is_there() -> bool {
    has(&BASE)
}

/// Whether there is an engine; without one the test is skipped.
pub fn has_engine() -> bool {
    let engine = Command::new("docker").arg("info").output();
    let answers = engine.is_ok_and(|output| output.status.success());
    or_skip(answers, "no Docker engine answers, so nothing is tested in a real container")
}

/// Whether there is an engine; makes this image at the first call.
pub fn has(image: &Image) -> bool {
    if !has_engine() {
        return false;
    }
    image.made.call_once(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/containers/image.sh");
        let made = Command::new(script).args([image.name, image.packages]).status();
        assert!(made.unwrap().success(), "the image {} can't be made", image.name);
        assert!(binary().exists(), "{} is missing; run `make build`", binary().display());
    });
    true
}

/// The static binary that `make build` makes.
pub fn binary() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/target/release/sidecar-init");
    std::env::var_os("SIDECAR_INIT_STATIC").map_or_else(|| default.into(), PathBuf::from)
}

/// A container that is removed at the end of the test.
pub struct Container {
    name: String,
}

/// For a container or network of this test process.
pub fn unique_name() -> String {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("sidecar-init-test-{}-{number}", std::process::id())
}

/// Runs `docker ARGUMENTS` to its end.
pub fn docker(arguments: &[&str]) -> Output {
    Command::new("docker").args(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Container {
    /// `docker run -d OPTIONS IMAGE sidecar-init ARGUMENTS`, from the usual image.
    pub fn start(options: &[&str], arguments: &[&str]) -> Container {
        let arguments = [&["/sidecar-init"], arguments].concat();
        Container::start_from(BASE.name, options, &arguments)
    }

    /// `docker run -d OPTIONS IMAGE COMMAND`
    pub fn start_from(image: &str, options: &[&str], command: &[&str]) -> Container {
        let mount = format!("{}:/sidecar-init:ro", binary().display());
        let fixed = ["--network", "none", "-v", &mount];
        let arguments = [&fixed, options, &[image], command].concat();
        Container::make(&["run", "-d"], &arguments)
    }

    /// `docker VERB --name NAME ARGUMENTS`, where the verb is one that makes a container.
    pub fn make(verb: &[&str], arguments: &[&str]) -> Container {
        let name = unique_name();
        let arguments = [verb, &["--name", &name], arguments].concat();
        let output = docker(&arguments);
        let container = Container { name: name.clone() };
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        container
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for its end; its exit code as Docker tells it.
    pub fn wait(&self) -> i32 {
        let output = docker(&["wait", &self.name]);
        text(&output.stdout).trim().parse().unwrap()
    }

    /// A field of `docker inspect`.
    pub fn inspect(&self, field: &str) -> String {
        let output = docker(&["inspect", "-f", &format!("{{{{{field}}}}}"), &self.name]);
        text(&output.stdout).trim().to_owned()
    }

    pub fn stdout(&self) -> String {
        text(&docker(&["logs", &self.name]).stdout)
    }

    pub fn stderr(&self) -> String {
        text(&docker(&["logs", &self.name]).stderr)
    }

    pub fn record(&self) -> String {
        self.stderr().lines().last().unwrap_or_default().to_owned()
    }

    pub fn stop(&self) -> i32 {
        docker(&["stop", &self.name]);
        self.wait()
    }

    pub fn kill(&self, signal: &str) {
        assert!(docker(&["kill", "-s", signal, &self.name]).status.success());
    }

    /// Runs a command in it; its stdout if it succeeds.
    pub fn exec(&self, command: &[&str]) -> Option<String> {
        let output = docker(&[&["exec", &self.name], command].concat());
        output.status.success().then(|| text(&output.stdout))
    }

    /// Waits until a line with this text is in its log.
    pub fn wait_for(&self, wanted: &str) {
        self.wait_for_lines(wanted, 1);
    }

    /// Does it, and waits for one line more with this text.
    pub fn wait_after<T>(&self, action: impl FnOnce() -> T, wanted: &str) -> T {
        let log = self.stdout() + &self.stderr();
        let before = log.lines().filter(|line| line.contains(wanted)).count();
        let done = action();
        self.wait_for_lines(wanted, before + 1);
        done
    }

    /// Waits until so many lines with this text are in its log.
    pub fn wait_for_lines(&self, wanted: &str, count: usize) {
        let mut follow = Follow(self.follow());
        let reader = BufReader::new(follow.0.stdout.take().unwrap());
        let lines = reader.lines().map_while(Result::ok).filter(|line| line.contains(wanted));
        let found = lines.take(count).count();
        let log = || format!("{}{}", self.stdout(), self.stderr());
        assert_eq!(found, count, "it ended, or hangs, without {wanted:?}:\n{}", log());
    }

    /// What Docker says of its health, from its start on, at each change.
    pub fn health(&self) -> impl Iterator<Item = String> {
        let filter = format!("container={}", self.name);
        let mut command = Command::new("timeout");
        command.args(["300", "docker", "events", "--since", "0", "--filter", &filter]);
        command.args(["--filter", "event=health_status", "--format", "{{.Status}}"]);
        let mut events = Follow(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(events.0.stdout.take().unwrap()).lines();
        std::iter::from_fn(move || {
            // Ends with the iterator.
            let _events = &mut events;
            let line = lines.next()?.ok()?;
            line.strip_prefix("health_status: ").map(str::to_owned)
        })
    }

    /// Ends with the container, or when something hangs.
    fn follow(&self) -> Child {
        let script = "exec timeout 300 docker logs -f \"$1\" 2>&1";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", &self.name]).stdout(Stdio::piped());
        command.spawn().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "-f", "-v", &self.name]);
    }
}

struct Follow(Child);

impl Drop for Follow {
    fn drop(&mut self) {
        // timeout(1) hands it on to docker, which KILL would leave behind.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}
