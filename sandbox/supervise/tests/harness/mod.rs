//! Runs the real binary, with plainly named stand-ins for what is around it: a script for the
//! init, and threads for the two proxies. A stand-in grants what was in its file when the init
//! last told it to reload, as the real one does.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

pub mod stand_ins;

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::Receiver;

use serde_json::{Value, json};
use stand_ins::Proxies;
use supervise::decide;
use supervise::plan::Plan;
use supervise::proposal::{Proposal, ProposalId};
use supervise::queue::Queue;
use supervise::settings::Settings;
use test_support::{HANG, lines_of, until};

/// The files of one container, and its proxies.
pub struct World {
    directory: tempfile::TempDir,
    pub proxies: Proxies,
    pub variables: Vec<(String, String)>,
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir(root.join("run")).unwrap();
        std::fs::create_dir(root.join("etc")).unwrap();
        let proxies = Proxies::start(root);
        let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
        let variables = [
            ("SUPERVISE_PORT", "0".to_owned()),
            ("SUPERVISE_HEALTH_ADDRESS", "127.0.0.1:0".to_owned()),
            ("SUPERVISE_WAIT", "0".to_owned()),
            ("SUPERVISE_QUEUE_DIR", path("run/queue")),
            ("SUPERVISE_AUDIT_FILE", path("run/audit.jsonl")),
            ("SUPERVISE_LOCK_FILE", path("lock")),
            ("SUPERVISE_EVENTS_FILE", path("run/events.jsonl")),
            ("SUPERVISE_ROUTES_FILE", path("etc/routes.yaml")),
            ("SUPERVISE_PIPELOCK_FILE", path("etc/pipelock.yaml")),
            ("SUPERVISE_FINGERPRINTS_FILE", path("etc/approved-fingerprints")),
            ("SUPERVISE_EGRESS_ADDRESS", proxies.egress.clone()),
            ("SUPERVISE_PIPELOCK_ADDRESS", proxies.pipelock.clone()),
            ("SUPERVISE_RELOAD_TIMEOUT", "20s".to_owned()),
            ("SIDECAR_INIT", proxies.init.to_str().unwrap().to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
        World { directory, proxies, variables }
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The program under test, through another one if need be.
    pub fn command(&self, through: &[&str], arguments: &[&str]) -> Command {
        let mut words = through.to_vec();
        words.push(env!("CARGO_BIN_EXE_supervise"));
        words.extend(arguments);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).envs(self.variables.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// A command of the operator, at a terminal of its own.
    pub fn at_terminal(&self, arguments: &str) -> Command {
        self.at_terminal_of(80, arguments)
    }

    /// At one of so many columns.
    pub fn at_terminal_of(&self, columns: usize, arguments: &str) -> Command {
        let program = env!("CARGO_BIN_EXE_supervise");
        let line = format!("stty columns {columns} && {program} {arguments}");
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).envs(self.variables.iter().cloned());
        command.env("TERM", "xterm").env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    /// A command of the operator.
    pub fn operator(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(&[], arguments).output().unwrap())
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let said = self.operator(arguments);
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.stdout).unwrap()
    }

    pub fn settings(&self) -> Settings {
        let value = |name: &str| self.variables.iter().find(|(known, _)| known == name);
        Settings::read(&|name| value(name).map(|(_, value)| value.clone())).unwrap()
    }

    fn proposal(&self, id: &str) -> Proposal {
        let id = ProposalId::try_from(id.to_owned()).unwrap();
        Queue::new(self.path("run/queue")).find(&id).unwrap().unwrap().proposal
    }

    /// What `approve` shows, and waits with for the operator.
    pub fn plan(&self, id: &str) -> Plan {
        Plan::make(&self.settings(), &self.proposal(id).request).unwrap()
    }

    /// What `approve` does once the operator has said yes.
    pub fn approve(&self, id: &str, plan: &Plan) -> Result<(), String> {
        let (settings, queue) = (self.settings(), Queue::new(self.path("run/queue")));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(decide::approve(&settings, &queue, &self.proposal(id), plan, None))
    }

    pub fn serve(&self) -> Server {
        Server::start(&mut self.command(&[], &["serve"]))
    }

    /// The audit log's events, in their order.
    pub fn audited(&self) -> Vec<String> {
        let event = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(line["time"].is_string() && line["by"].is_string(), "{line}");
            line["event"].as_str().unwrap().to_owned()
        };
        self.read("run/audit.jsonl").lines().map(event).collect()
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn of(output: Output) -> Self {
        Said {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A server that runs.
pub struct Server {
    child: Child,
    pub port: u16,
    /// Where it tells its health, if there.
    pub health: Option<String>,
    lines: Receiver<String>,
    /// What it said before it was ready.
    pub early: Vec<String>,
}

impl Server {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stderr.take().unwrap());
        let mut server = Server { child, port: 0, health: None, lines, early: Vec::new() };
        loop {
            let line = server.line();
            if let Some(address) = line.strip_prefix("supervise: listening on ") {
                server.port = address.rsplit(':').next().unwrap().parse().unwrap();
                return server;
            }
            match line.strip_prefix("supervise: health on ") {
                Some(address) => server.health = Some(address.to_owned()),
                None => server.early.push(line),
            }
        }
    }

    pub fn line(&self) -> String {
        self.lines.recv_timeout(HANG).expect("the server says something")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client { url: self.url("/") }
    }

    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub fn wait(mut self) -> i32 {
        let status = until("the server ends", || self.child.try_wait().unwrap());
        status.code().unwrap()
    }

    pub fn stop(self) {
        self.terminate();
        assert_eq!(self.wait(), 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An agent's side of the conversation.
#[derive(Clone)]
pub struct Client {
    url: String,
}

impl Client {
    /// One POST; the status and the body.
    pub fn post(&self, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(HANG))
            .build();
        let mut request = ureq::Agent::new_with_config(config)
            .post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    pub fn call(&self, method: &str, parameters: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters});
        let (status, body) = self.post(&[], &body.to_string());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A tool that has to succeed: its structured content.
    pub fn tool(&self, name: &str, arguments: Value) -> Value {
        let answer = self.call("tools/call", json!({"name": name, "arguments": arguments}));
        let result = &answer["result"];
        assert_eq!(result["isError"], false, "{answer}");
        result["structuredContent"].clone()
    }

    /// A tool that has to refuse: its message.
    pub fn refusal(&self, name: &str, arguments: Value) -> String {
        let answer = self.call("tools/call", json!({"name": name, "arguments": arguments}));
        let result = &answer["result"];
        assert_eq!(result["isError"], true, "{answer}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// Proposes a route to this host, and gives the proposal's id.
    pub fn propose(&self, host: &str) -> String {
        let arguments = json!({"host": host, "paths": ["/v1/"], "methods": ["GET"],
            "justification": "the build needs it", "wait_seconds": 0});
        let answer = self.tool("propose_egress_route", arguments);
        assert_eq!(answer["status"], "pending");
        answer["id"].as_str().unwrap().to_owned()
    }

    pub fn status(&self, id: &str) -> Value {
        self.tool("proposal_status", json!({"id": id}))
    }
}
