//! A real upstream behind a real sshd, a real git-gate before it, and real git clients.
#![allow(dead_code, reason = "each test binary uses a part of it")]

mod client;
mod gate;
pub mod programs;
pub mod raw;
mod sshd;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub use client::Client;
pub use gate::Gate;
pub use programs::gitleaks;
use sshd::Sshd;

/// A key that is none: it only looks like one. In two parts, so that this file does not.
pub fn secret() -> String {
    ["AKIA", "IEQH746YNG7BY3A4"].concat()
}

/// All of it; removed at the end of the test.
pub struct World {
    // In this order they end: the gate first, its files last.
    pub gate: Gate,
    pub sshd: Sshd,
    folder: tempfile::TempDir,
}

/// What a test changes of the usual world.
#[derive(Default)]
pub struct Settings<'a> {
    /// Lines of `[gate]`.
    pub gate: &'a str,
    /// Stands in for gitleaks: the text of a shell script.
    pub gitleaks: Option<&'a str>,
    /// Does not pin the upstream's host key, but another one.
    pub wrong_host_key: bool,
}

impl World {
    /// The usual one. `None`: something that it needs is missing, which was said; in CI that is
    /// an error.
    pub fn begin() -> Option<World> {
        World::with(&Settings::default())
    }

    pub fn with(settings: &Settings) -> Option<World> {
        let gitleaks = gitleaks()?;
        let sshd = Sshd::find()?;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        make_upstream(path);
        let sshd = Sshd::start(&sshd, path);
        let gitleaks = match settings.gitleaks {
            Some(script) => write_script(path, &script.replace("REAL", gitleaks.to_str().unwrap())),
            None => gitleaks,
        };
        if settings.wrong_host_key {
            let other = std::fs::read_to_string(path.join("key.pub")).unwrap();
            std::fs::write(path.join("known_hosts"), sshd.known_hosts(&other)).unwrap();
        }
        let url = sshd.url(&path.join("upstream.git"));
        let config = Gate::config(path, &gitleaks, &url, settings.gate);
        std::fs::write(path.join("upstreams.toml"), config).unwrap();
        let gate = Gate::start(&path.join("upstreams.toml"));
        Some(World { gate, sshd, folder })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The bare repository behind the gate.
    pub fn upstream(&self) -> PathBuf {
        self.path("upstream.git")
    }

    pub fn mirror(&self) -> PathBuf {
        self.path("git/app.git")
    }

    /// Every ref of it with what it names.
    pub fn refs(&self, repository: &Path) -> String {
        let format = "--format=%(objectname) %(refname)";
        text(&git(repository, &["for-each-ref", format]).stdout)
    }

    /// A new clone, by git://.
    pub fn client(&self, name: &str) -> Client {
        Client::clone(&self.gate.git_url(), &self.path(name))
    }

    /// Commits to upstream behind the gate's back.
    pub fn commit_upstream(&self, branch: &str, file: &str, contents: &str) -> String {
        let client = self.path(&format!("other-{branch}-{file}"));
        let upstream = self.upstream();
        let client = Client::clone(upstream.to_str().unwrap(), &client);
        client.ok(&["checkout", "-q", "-B", branch]);
        client.commit(file, contents);
        client.ok(&["push", "-q", "-f", "origin", branch]);
        client.head()
    }
}

/// `main` with one commit.
fn make_upstream(path: &Path) {
    let upstream = path.join("upstream.git");
    run(Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(&upstream));
    run(Command::new("git").args(["init", "-q", "-b", "main"]).arg(path.join("first")));
    let client = Client::at(&path.join("first"));
    client.commit("README", "hello\n");
    client.ok(&["push", "-q", upstream.to_str().unwrap(), "main"]);
}

/// A script in a place of its own, to stand in for a program.
fn write_script(path: &Path, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let file = path.join("gitleaks-stand-in");
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file
}

pub fn git(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("git").arg("-C").arg(folder).args(arguments).output().unwrap()
}

pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    output
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
