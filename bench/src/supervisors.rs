//! How each supervisor is told to run many services.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::peers::Peers;

/// What is to be run, and where there is room for files.
pub struct Services<'a> {
    pub folder: &'a Path,
    /// Takes no argument, for runit gives none.
    pub program: &'a str,
    pub count: usize,
}

/// How to start one supervisor with these services, and what ends it.
pub struct Supervisor {
    pub name: &'static str,
    pub command: fn(&Peers, &Services) -> Command,
    pub end: Signal,
    /// How many services it can run.
    pub most: usize,
}

/// More than are measured.
pub const MANY: usize = 10_000;

/// Those of the peers that are installed.
pub fn installed() -> Vec<Supervisor> {
    let peers = [
        Supervisor { name: "s6-svscan", command: s6, end: Signal::TERM, most: MANY },
        Supervisor { name: "runsvdir", command: runit, end: Signal::HUP, most: MANY },
        Supervisor { name: "nitro", command: nitro, end: Signal::TERM, most: 400 },
        Supervisor { name: "dinit", command: dinit, end: Signal::TERM, most: MANY },
        Supervisor { name: "supervisord", command: python, end: Signal::TERM, most: MANY },
    ];
    peers.into_iter().filter(|peer| is_installed(peer.name)).collect()
}

fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(name).exists());
    if !is_there {
        eprintln!("not installed, so not measured: {name}");
    }
    is_there
}

/// A `[[service]]`, with what else is to be said of it.
pub fn service(text: &mut String, number: usize, command: &[&str], more: &str) {
    let _ = writeln!(text, "[[service]]\nname = \"s{number}\"\ncommand = {command:?}\n{more}");
}

/// sidecar-init with this bundle.
pub fn ours(binary: &Path, folder: &Path, text: &str) -> Command {
    let file = folder.join("bundle.toml");
    fs::write(&file, text).expect("a bundle");
    let mut command = Command::new(binary);
    command.args(["run", "-f"]).arg(file);
    command
}

fn service_folders(services: &Services) -> PathBuf {
    let folder = services.folder.join("services");
    for number in 0..services.count {
        let service = folder.join(format!("s{number}"));
        fs::create_dir_all(&service).expect("a folder");
        symlink(services.program, service.join("run")).expect("a link");
    }
    folder
}

fn s6(_: &Peers, services: &Services) -> Command {
    let mut command = Command::new("s6-svscan");
    command.args(["-c", "2000"]).arg(service_folders(services));
    command
}

fn runit(_: &Peers, services: &Services) -> Command {
    let mut command = Command::new("runsvdir");
    command.arg(service_folders(services));
    command
}

fn nitro(_: &Peers, services: &Services) -> Command {
    let mut command = Command::new("nitro");
    command.env("NITRO_SOCK", services.folder.join("socket")).arg(service_folders(services));
    command
}

/// By default dinit throws the output of services away; those that share its console have its own.
fn dinit(_: &Peers, services: &Services) -> Command {
    let folder = services.folder.join("services");
    fs::create_dir_all(&folder).expect("a folder");
    let mut all = String::from("type = internal\n");
    for number in 0..services.count {
        let text = format!(
            "type = process\ncommand = {}\noptions = shares-console\nrestart = true\n\
             restart-limit-count = 0\n",
            services.program
        );
        fs::write(folder.join(format!("s{number}")), text).expect("a service");
        let _ = writeln!(all, "waits-for = s{number}");
    }
    fs::write(folder.join("boot"), all).expect("a service");
    let mut command = Command::new("dinit");
    command.args(["--container", "--quiet", "--services-dir"]).arg(folder);
    command.arg("--socket-path").arg(services.folder.join("socket"));
    command
}

/// supervisord passes output on itself, which is how the bench learns that all have started.
fn python(_: &Peers, services: &Services) -> Command {
    let mut text = format!(
        "[supervisord]\nnodaemon=true\nsilent=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n\
         pidfile={}/pid\nminfds=10000\n",
        services.folder.display()
    );
    for number in 0..services.count {
        let _ = write!(
            text,
            "[program:s{number}]\ncommand={}\nstartsecs=0\nautorestart=true\n\
             stdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0\n",
            services.program
        );
    }
    let file = services.folder.join("supervisord.conf");
    fs::write(&file, text).expect("a configuration");
    let mut command = Command::new("supervisord");
    command.arg("-c").arg(file);
    command
}
