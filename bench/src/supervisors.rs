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
}

/// Those of the peers that are installed.
pub fn installed() -> Vec<Supervisor> {
    let peers = [
        Supervisor { name: "s6-svscan", command: s6, end: Signal::TERM },
        Supervisor { name: "runsvdir", command: runit, end: Signal::HUP },
        Supervisor { name: "supervisord", command: python, end: Signal::TERM },
    ];
    let is_there = |peer: &Supervisor| Path::new("/usr/bin").join(peer.name).exists();
    peers.into_iter().filter(is_there).collect()
}

/// A `[[service]]`, with what else is to be said of it.
pub fn service(text: &mut String, number: usize, command: &[&str], more: &str) {
    let _ = writeln!(text, "[[service]]\nname = \"s{number}\"\ncommand = {command:?}\n{more}");
}

/// sidecar-init with this bundle.
pub fn ours(peers: &Peers, folder: &Path, text: &str) -> Command {
    let file = folder.join("bundle.toml");
    fs::write(&file, text).expect("a bundle");
    let mut command = Command::new(&peers.ours);
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
    let mut command = Command::new("/usr/bin/s6-svscan");
    command.args(["-c", "2000"]).arg(service_folders(services));
    command
}

fn runit(_: &Peers, services: &Services) -> Command {
    let mut command = Command::new("/usr/bin/runsvdir");
    command.arg(service_folders(services));
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
    let mut command = Command::new("/usr/bin/supervisord");
    command.arg("-c").arg(file);
    command
}
