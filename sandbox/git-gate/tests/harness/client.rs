//! A client's clone, and git in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::text;

pub struct Client {
    pub path: PathBuf,
}

impl Client {
    pub fn at(path: &Path) -> Client {
        Client { path: path.to_owned() }
    }

    pub fn clone(url: &str, path: &Path) -> Client {
        let output = Client::try_clone(url, path);
        assert!(output.status.success(), "{}", text(&output.stderr));
        Client::at(path)
    }

    pub fn try_clone(url: &str, path: &Path) -> Output {
        plain(Command::new("git").args(["clone", "-q", url]).arg(path)).output().unwrap()
    }

    /// `git ARGUMENTS` in it, with nobody's configuration.
    pub fn git(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.path).args(arguments);
        plain(&mut command);
        command
    }

    /// The stdout of a command that succeeds.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.git(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    pub fn write(&self, file: &str, contents: impl AsRef<[u8]>) {
        let path = self.path.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    pub fn commit(&self, file: &str, contents: impl AsRef<[u8]>) {
        self.write(file, contents);
        self.commit_all("a change");
    }

    pub fn commit_all(&self, message: &str) {
        self.ok(&["add", "-A"]);
        self.ok(&["commit", "-q", "--allow-empty", "-m", message]);
    }

    pub fn head(&self) -> String {
        self.ok(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Pushes, and has to fail; what the client reads.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.git(&[&["push"], arguments].concat());
        let stderr = text(&output.stderr);
        assert!(!output.status.success(), "the push went through: {stderr}");
        stderr
    }

    /// Pushes, and has to succeed; what the client reads.
    pub fn push(&self, arguments: &[&str]) -> String {
        let output = self.git(&[&["push"], arguments].concat());
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        stderr
    }
}

fn plain(command: &mut Command) -> &mut Command {
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@example.org")])
        .envs([("GIT_COMMITTER_NAME", "C"), ("GIT_COMMITTER_EMAIL", "c@example.org")])
}
