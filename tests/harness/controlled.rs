//! A bundle with a control socket, and the program's own subcommands to talk to it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::Assert;
use serde_json::{Value, json};

use super::{Position, Running, start_bundle};

/// A bundle that runs, and its control socket.
pub struct Controlled {
    pub running: Running,
    pub directory: tempfile::TempDir,
}

impl Controlled {
    pub fn new(position: Position, services: &str) -> Controlled {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let running = start_bundle(position, &text(&socket, services));
        super::until("the socket is there", || UnixStream::connect(&socket).ok());
        Controlled { running, directory }
    }

    /// Other services in its file.
    pub fn rewrite(&self, services: &str) {
        self.running.rewrite(&text(&self.socket(), services));
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub fn command(&self, arguments: &str) -> Command {
        client(&self.socket(), arguments)
    }

    pub fn says(&self, arguments: &str) -> Assert {
        assert_cmd::Command::from_std(self.command(arguments)).assert()
    }

    /// One request and its answer.
    pub fn ask(&self, request: &Value) -> Value {
        let mut stream = BufReader::new(UnixStream::connect(self.socket()).unwrap());
        writeln!(stream.get_mut(), "{request}").unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    pub fn service(&self, name: &str) -> Value {
        let status = self.ask(&json!({"command": "status"}));
        let services = status["services"].as_array().unwrap();
        services.iter().find(|service| service["name"] == name).unwrap().clone()
    }

    /// Waits until the witness in this service has said that it is up: before that the shell that
    /// runs it would be hit by a signal.
    pub fn wait_for_witness(&self, name: &str) {
        super::until("the witness is up", || {
            let log = self.ask(&json!({"command": "logs", "service": name}));
            log["text"].as_str().unwrap().contains(name).then_some(())
        });
    }

    pub fn ends_with(self, code: i32) {
        assert_eq!(self.running.end().code(), code);
    }
}

pub fn text(socket: &Path, services: &str) -> String {
    format!("[bundle]\nname = \"test\"\nsocket = \"{}\"\n{services}", socket.display())
}

pub fn client(socket: &Path, arguments: &str) -> Command {
    let mut command = Command::new(super::binary());
    command.env("SIDECAR_INIT_SOCKET", socket).args(arguments.split(' '));
    command
}

pub fn service(name: &str, more: &str) -> String {
    let script = super::with_witness(&format!("exec WITNESS {name} HUP=HUP TERM=TERM!0"));
    format!("[[service]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n{more}\n")
}
