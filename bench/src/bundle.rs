//! Many services: start, stop and memory.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::peers::Peers;
use crate::processes::{Measured, memory, signal, tree, until};
use crate::statistics::median;
use crate::table::Table;

const PATIENCE: Duration = Duration::from_secs(120);

/// How to start one supervisor with this many services, and what ends it.
struct Supervisor {
    name: &'static str,
    command: fn(&Peers, &Path, usize) -> Command,
    end: Signal,
}

pub fn services(peers: &Peers, quick: bool) -> Table {
    let counts: &[usize] = if quick { &[1, 16] } else { &[1, 16, 256, 1000] };
    let times = if quick { 1 } else { 3 };
    let mut supervisors = vec![
        Supervisor { name: "C floor", command: floor, end: Signal::TERM },
        Supervisor { name: "sidecar-init", command: ours, end: Signal::TERM },
    ];
    if Path::new("/usr/bin/s6-svscan").exists() {
        supervisors.push(Supervisor { name: "s6-svscan", command: s6, end: Signal::TERM });
    }
    if Path::new("/usr/bin/runsvdir").exists() {
        supervisors.push(Supervisor { name: "runsvdir", command: runit, end: Signal::HUP });
    }
    if Path::new("/usr/bin/supervisord").exists() {
        supervisors.push(Supervisor { name: "supervisord", command: python, end: Signal::TERM });
    }
    let head = [
        "supervisor",
        "services",
        "start ms",
        "ratio to C floor",
        "TERM to all gone ms",
        "ratio to C floor",
        "PSS of the tree KiB",
    ];
    let mut table = Table::new("Services", &head);
    for &count in counts {
        let mut values = vec![[Vec::new(), Vec::new(), Vec::new()]; supervisors.len()];
        for _ in 0..times {
            for (supervisor, values) in supervisors.iter().zip(&mut values) {
                let measured = measure(peers, supervisor, count);
                for (value, values) in measured.into_iter().zip(values) {
                    values.push(value);
                }
            }
        }
        for (supervisor, [start, stop, pss]) in supervisors.iter().zip(&values) {
            let [floor_start, floor_stop, _] = &values[0];
            let ratio =
                |values: &[f64], floor: &[f64]| format!("{:.2}", median(values) / median(floor));
            table.row(
                supervisor.name,
                &[
                    count.to_string(),
                    format!("{:.1}", median(start)),
                    ratio(start, floor_start),
                    format!("{:.1}", median(stop)),
                    ratio(stop, floor_stop),
                    format!("{:.0}", median(pss)),
                ],
            );
        }
    }
    table
}

fn measure(peers: &Peers, supervisor: &Supervisor, count: usize) -> [f64; 3] {
    let folder = std::env::temp_dir().join(format!("bench-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let mut command = (supervisor.command)(peers, &folder, count);
    let begin = Instant::now();
    let mut measured = Measured::start(&mut command);
    measured.read(count);
    let start = begin.elapsed().as_secs_f64() * 1e3;
    // The services themselves are not the supervisor's.
    let is_service =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == *peers.child);
    let all = tree(measured.pid());
    let pss = all.iter().filter(|pid| !is_service(pid)).map(|pid| memory(*pid, "Pss:")).sum();
    let begin = Instant::now();
    signal(measured.pid(), supervisor.end);
    measured.wait();
    until(PATIENCE, || !all.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    let stop = begin.elapsed().as_secs_f64() * 1e3;
    fs::remove_dir_all(&folder).expect("the folder is ours");
    [start, stop, pss]
}

fn floor(peers: &Peers, _: &Path, count: usize) -> Command {
    let mut command = Command::new(&peers.floor_bundle);
    command.arg(count.to_string()).arg(&peers.child);
    command
}

fn ours(peers: &Peers, folder: &Path, count: usize) -> Command {
    let mut text = String::from("[bundle]\nlog = \"inherit\"\n");
    for number in 0..count {
        let _ =
            write!(text, "[[service]]\nname = \"s{number}\"\ncommand = [\"{}\"]\n", peers.child);
    }
    let file = folder.join("bundle.toml");
    fs::write(&file, text).expect("a bundle");
    let mut command = Command::new(&peers.ours);
    command.args(["run", "-f"]).arg(file);
    command
}

fn service_folders(peers: &Peers, folder: &Path, count: usize) -> PathBuf {
    let services = folder.join("services");
    for number in 0..count {
        let service = services.join(format!("s{number}"));
        fs::create_dir_all(&service).expect("a folder");
        symlink(&peers.child, service.join("run")).expect("a link");
    }
    services
}

fn s6(peers: &Peers, folder: &Path, count: usize) -> Command {
    let mut command = Command::new("/usr/bin/s6-svscan");
    command.args(["-c", "2000"]).arg(service_folders(peers, folder, count));
    command
}

fn runit(peers: &Peers, folder: &Path, count: usize) -> Command {
    let mut command = Command::new("/usr/bin/runsvdir");
    command.arg(service_folders(peers, folder, count));
    command
}

/// supervisord passes output on itself, which is how the bench learns that all have started.
fn python(peers: &Peers, folder: &Path, count: usize) -> Command {
    let mut text = format!(
        "[supervisord]\nnodaemon=true\nsilent=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n\
         pidfile={}/pid\nminfds=10000\n",
        folder.display()
    );
    for number in 0..count {
        let _ = write!(
            text,
            "[program:s{number}]\ncommand={}\nstartsecs=0\n\
             stdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0\n",
            peers.child
        );
    }
    let file = folder.join("supervisord.conf");
    fs::write(&file, text).expect("a configuration");
    let mut command = Command::new("/usr/bin/supervisord");
    command.arg("-c").arg(file);
    command
}
