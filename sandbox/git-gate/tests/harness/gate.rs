//! The gate under test, and what it says.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use test_support::{until, until_or_say};

pub struct Gate {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    /// The text of a configuration for one upstream, with ports that the kernel chooses.
    pub fn config(folder: &Path, gitleaks: &Path, url: &str, more: &str) -> String {
        let (folder, gitleaks) = (folder.display(), gitleaks.display());
        format!(
            "[gate]\nroot = \"{folder}/git\"\nlisten = \"127.0.0.1:0\"\n\
             http-listen = \"127.0.0.1:0\"\nhealth-listen = \"127.0.0.1:0\"\ngitleaks = \"{gitleaks}\"\n\
             approved-fingerprints = \"{folder}/approved\"\n{more}\n\
             [[upstream]]\nname = \"app\"\nurl = \"{url}\"\nkey = \"{folder}/key\"\n\
             known-hosts = \"{folder}/known_hosts\"\n"
        )
    }

    /// Starts it, and waits until it serves.
    pub fn start(file: &Path) -> Gate {
        let mut command = Command::new(env!("CARGO_BIN_EXE_git-gate"));
        command.arg("serve").arg("-f").arg(file);
        Gate::run(&mut command)
    }

    /// The same, by a command of the test's.
    pub fn run(command: &mut Command) -> Gate {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let mut gate = Gate { child, log };
        until("the gate serves, or ends", || {
            let ended = gate.child.try_wait().unwrap();
            assert!(ended.is_none(), "the gate ended: {:?}", gate.lines());
            gate.event("serving")
        });
        gate
    }

    fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// What it has said, as text.
    pub fn log(&self) -> String {
        self.lines().join("\n")
    }

    /// The first of its lines about this.
    pub fn event(&self, event: &str) -> Option<Value> {
        self.events(event).into_iter().next()
    }

    pub fn events(&self, event: &str) -> Vec<Value> {
        let parsed = self.lines().into_iter().filter_map(|line| serde_json::from_str(&line).ok());
        parsed.filter(|line: &Value| line["event"] == event).collect()
    }

    pub fn wait_for(&self, event: &str) -> Value {
        let what = || format!("{event}, in\n{}", self.log());
        until_or_say(what, || self.event(event))
    }

    pub fn address(&self, protocol: &str) -> String {
        self.wait_for("serving")["listen"][protocol].as_str().unwrap().to_owned()
    }

    pub fn git_url(&self) -> String {
        format!("git://{}/app.git", self.address("git"))
    }

    pub fn http_url(&self) -> String {
        format!("http://{}/app.git", self.address("http"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub fn end(&mut self) -> ExitStatus {
        until("the gate ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.signal(Signal::TERM);
            self.signal(Signal::TERM);
            self.child.wait().unwrap();
        }
    }
}
