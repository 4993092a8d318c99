//! A command in a container whose output is read while it runs.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::docker::Container;

/// Ended when it is dropped, if it has not ended by itself.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// `docker exec OPTIONS CONTAINER COMMAND`
    pub fn start(container: &Container, options: &[&str], command: &[&str]) -> Running {
        let arguments = [&["exec"], options, &[container.name()], command].concat();
        let mut docker = Command::new("docker");
        let mut child = docker.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    /// A script of Python.
    pub fn python(container: &Container, script: &str) -> Running {
        Running::start(container, &[], &["python", "-c", script])
    }

    /// The next line that has all of these.
    pub fn line_with(&mut self, wanted: &[&str]) -> String {
        let has_all = |line: &String| wanted.iter().all(|text| line.contains(text));
        let found = self.lines.by_ref().map_while(Result::ok).find(has_all);
        found.unwrap_or_else(|| panic!("it ended without {wanted:?}"))
    }

    /// What it prints next.
    pub fn line(&mut self) -> String {
        self.line_with(&[])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
