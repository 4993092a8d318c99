//! Pushes and fetches that no git would make: the protocol itself, over smart HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use super::{Client, World, text};

/// The id that stands for "no such ref".
pub const NONE: &str = "0000000000000000000000000000000000000000";

/// One line of git's protocol (gitprotocol-common(5)).
pub fn packet(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

/// A push that makes this ref, with this pack; what the client reads.
pub fn push(world: &World, name: &str, id: &str, pack: &[u8]) -> String {
    let command = packet(&format!("{NONE} {id} {name}\0report-status side-band-64k"));
    let body = [command.as_bytes(), b"0000", pack].concat();
    post(world, "git-receive-pack", "", &body)
}

/// Posts this to a service; what comes back.
pub fn post(world: &World, service: &str, header: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.gate.address("http")).unwrap();
    let head = format!(
        "POST /app.git/{service} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\
         Content-Type: application/x-{service}-request\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    text(&answer)
}

impl Client {
    /// A pack of these objects.
    pub fn pack(&self, ids: &[&str]) -> Vec<u8> {
        let mut command = self.command(&["pack-objects", "-q", "--stdout"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all((ids.join("\n") + "\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    /// Makes an object of this kind, malformed or not.
    pub fn object(&self, kind: &str, contents: &[u8]) -> String {
        let mut command =
            self.command(&["hash-object", "-t", kind, "-w", "--stdin", "--literally"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(contents).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        text(&output.stdout).trim().to_owned()
    }

    /// The ids of what is new since upstream's `main`.
    pub fn new_objects(&self) -> Vec<String> {
        let list = self.ok(&["rev-list", "--objects", "--no-object-names", "HEAD", "^origin/main"]);
        list.lines().map(str::to_owned).collect()
    }
}
