//! What real servers do under the init. Each story is told once, and comes true in a container
//! (`tests/containers/real_servers.rs`) and outside (`tests/real_servers.rs`).

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod failure;
mod notifying;
mod postgres;
mod web;

pub use failure::{crash_loop, hung_servers};
pub use notifying::{redis, s6};
pub use postgres::postgres;
pub use web::{readiness_gate, restart_under_load};

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use test_support::until;

/// A bundle before it runs: its files, at the same paths for the servers and for the test.
pub struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    /// In this directory of the machine; the servers' own users may enter.
    pub fn new(below: &Path) -> Home {
        let directory = tempfile::tempdir_in(below).unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Home { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where a database may keep what it has.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Writes the bundle; `DIR` in it stands for the home.
    pub fn write_bundle(&self, services: &str) {
        let text = format!("[bundle]\nname = \"servers\"\nsocket = \"DIR/socket\"\n{services}");
        let text = self.filled(&text);
        test_support::bundles::keep(&text);
        self.write("bundle.toml", &text);
    }

    pub fn filled(&self, text: &str) -> String {
        text.replace("DIR", self.directory.path().to_str().unwrap())
    }
}

/// How it ended.
#[derive(Debug)]
pub struct End {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl End {
    pub fn is_in_time(&self, code: i32) {
        assert_eq!(self.code, code, "{self:#?}");
        let record = self.stderr.lines().last().unwrap_or_default();
        assert!(record.contains(" ended: ") && !record.contains("overran"), "{self:#?}");
    }

    /// These parts are in the init's log, in this order.
    pub fn in_order(&self, wanted: &[&str]) {
        let mut rest = &*self.stderr;
        for part in wanted {
            let Some((_, after)) = rest.split_once(part) else {
                panic!("no {part:?} in its place in\n{}", self.stderr)
            };
            rest = after;
        }
    }
}

/// A bundle that runs somewhere.
pub trait World {
    fn home(&self) -> &Home;
    /// What the init's program is called there.
    fn program(&self) -> String;
    /// How a command is run beside the servers.
    fn beside(&self) -> Beside;
    /// Waits for its end.
    fn end(self: Box<Self>) -> End;
    /// Asks for its end as `docker stop` does, and waits for it.
    fn stop(self: Box<Self>) -> End;
}

/// Runs commands beside the servers: this is what comes before each.
#[derive(Clone)]
pub struct Beside(pub Vec<String>);

impl Beside {
    /// Its stdout, if it succeeds.
    pub fn runs(&self, command: &[&str]) -> Option<String> {
        let mut words = self.0.iter().map(String::as_str).chain(command.iter().copied());
        let mut command = std::process::Command::new(words.next().unwrap());
        let output = command.args(words).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    pub fn must_run(&self, command: &[&str]) -> String {
        self.runs(command).unwrap_or_else(|| panic!("{command:?} failed"))
    }

    /// The status of an answer to GET, `"000"` without one.
    pub fn answer(&self, url: &str) -> String {
        let format = ["-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}"];
        // curl fails without an answer, and has said 000.
        let script = "curl \"$@\" || true";
        let command = [&["sh", "-c", script, "sh"], &format[..], &[url]].concat();
        self.must_run(&command)
    }
}

impl dyn World {
    pub fn must_run(&self, command: &[&str]) -> String {
        self.beside().must_run(command)
    }

    /// One of the program's commands for the control socket.
    pub fn init(&self, arguments: &str) -> Option<String> {
        let variable = self.home().filled("SIDECAR_INIT_SOCKET=DIR/socket");
        let program = self.program();
        let command = ["env", &variable, &program];
        self.beside().runs(&command.into_iter().chain(arguments.split(' ')).collect::<Vec<_>>())
    }

    /// Waits until a service is ready.
    pub fn is_ready(&self, service: &str) {
        until("the socket is there", || self.home().path("socket").exists().then_some(()));
        let ready = self.init(&format!("wait {service} --ready --timeout 60s"));
        assert!(ready.is_some(), "{:#}", self.status(service));
    }

    /// What the init says of a service.
    pub fn status(&self, service: &str) -> Value {
        let status: Value =
            serde_json::from_str(&self.init("status --json").expect("a status")).unwrap();
        let services = status["services"].as_array().unwrap();
        services.iter().find(|other| other["name"] == service).unwrap().clone()
    }

    pub fn answer(&self, url: &str) -> String {
        self.beside().answer(url)
    }
}

/// Starts a bundle whose home is furnished.
pub type Start<'start> = &'start dyn Fn(Home) -> Box<dyn World>;

/// An nginx with one server; its configuration is written to NAME.conf.
pub fn nginx(home: &Home, name: &str, port: u16, server: &str, top: &str) -> String {
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path DIR/{name}-{kind};\n"))
        .collect();
    let text = format!(
        "pid DIR/{name}.pid;\ndaemon off;\nworker_processes 1;\n{top}\nevents {{}}\nhttp {{\n\
         access_log off;\n{paths}server {{\nlisten 127.0.0.1:{port};\n{server}\n}}\n}}\n"
    );
    home.write(&format!("{name}.conf"), &home.filled(&text));
    format!("[\"nginx\", \"-e\", \"stderr\", \"-c\", \"DIR/{name}.conf\"]")
}

/// A redis that keeps nothing.
pub fn redis_command(port: u16, more: &str) -> String {
    format!(
        "[\"redis-server\", \"--bind\", \"127.0.0.1\", \"--port\", \"{port}\", \"--save\", \"\"{more}]"
    )
}
