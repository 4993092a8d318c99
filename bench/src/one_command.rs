//! An init for one command: start to exit, memory, idleness, signals, exit.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::peers::{Init, Peers};
use crate::processes::{
    Folder, Measured, as_pid_1, children, memory as memory_of, minor_faults, now, signal as send,
    sleeps, until,
};
use crate::requests::bundle_with_socket;
use crate::statistics::{median, percentile};
use crate::table::Table;

fn command(init: &Init, arguments: &[&str]) -> Command {
    let mut command = Command::new(&init.path);
    command.arg("--").args(arguments);
    command
}

/// One value list for each init, taken in turn.
fn interleaved(
    inits: &[&Init],
    times: usize,
    mut measure: impl FnMut(&Init) -> f64,
) -> Vec<Vec<f64>> {
    let mut values = vec![Vec::new(); inits.len()];
    for _ in 0..times {
        for (init, values) in inits.iter().zip(&mut values) {
            values.push(measure(init));
        }
    }
    values
}

fn ratio(
    peers: &Peers,
    inits: &[&Init],
    values: &[Vec<f64>],
    of: impl Fn(&[f64]) -> f64,
) -> Vec<String> {
    let place = inits.iter().position(|init| init.name == peers.reference()).unwrap_or(0);
    let reference = of(&values[place]);
    values.iter().map(|values| format!("{:.2}", of(values) / reference)).collect()
}

pub fn start(peers: &Peers, quick: bool) -> Table {
    start_to_exit(peers, &peers.noop, 0, if quick { 200 } else { 2000 })
}

/// With another exit code than 0, of which sidecar-init says why it ended.
pub fn failure(peers: &Peers, quick: bool) -> Table {
    start_to_exit(peers, &peers.failing, 3, if quick { 200 } else { 2000 })
}

fn start_to_exit(peers: &Peers, program: &str, code: i32, times: usize) -> Table {
    let inits = peers.all();
    let values = interleaved(&inits, times, |init| {
        let mut command = silent(init, program);
        let begin = Instant::now();
        let status = command.status().expect("it starts");
        assert_eq!(status.code(), Some(code), "{}", init.name);
        begin.elapsed().as_secs_f64() * 1e6
    });
    let title = format!("Start to exit of a command that only exits with code {code}");
    latency_table(&title, peers, &inits, &values)
}

fn silent(init: &Init, program: &str) -> Command {
    let mut command = command(init, &[program]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What the init itself costs the kernel when its command only exits with code 0.
pub fn calls(peers: &Peers, quick: bool) -> Table {
    let times = if quick { 10 } else { 100 };
    let inits = peers.all();
    let faults = interleaved(&inits, times, |init| minor_faults(&mut silent(init, &peers.noop)));
    let head = ["init", "minor faults p50", "system calls", "binary KB"];
    let mut table = Table::new("One command, from start to exit", &head);
    for (init, faults) in inits.iter().zip(&faults) {
        let size = std::fs::metadata(&init.path).map_or(0, |data| data.len() / 1000);
        let calls = system_calls(init, &peers.noop);
        table.row(init.name, &[format!("{:.0}", median(faults)), calls, size.to_string()]);
    }
    table
}

/// As strace(1) counts them, where it is installed.
fn system_calls(init: &Init, program: &str) -> String {
    let mut command = Command::new("strace");
    command.args(["-qq", "-e", "signal=none"]).arg(&init.path).args(["--", program]);
    match command.stdin(Stdio::null()).output() {
        Ok(output) => String::from_utf8_lossy(&output.stderr).lines().count().to_string(),
        Err(_) => "-".to_owned(),
    }
}

/// An init whose command has said that it runs.
fn running(peers: &Peers, init: &Init, mode: &str) -> Measured {
    let mut measured = Measured::start(&mut command(init, &[&peers.child, mode]));
    measured.read(if mode == "sleep" { 1 } else { 8 });
    measured
}

pub fn memory(peers: &Peers, quick: bool) -> Table {
    let times = if quick { 3 } else { 11 };
    // All at once, so that shared pages are shared alike.
    let mut pss = vec![Vec::new(); peers.inits.len()];
    let mut dirty = vec![Vec::new(); peers.inits.len()];
    for _ in 0..times {
        for (place, init) in peers.inits.iter().enumerate() {
            let measured = running(peers, init, "sleep");
            let before = sleeps(measured.pid());
            until(Duration::from_millis(300), || sleeps(measured.pid()) > before);
            pss[place].push(memory_of(measured.pid(), "Pss:"));
            dirty[place].push(memory_of(measured.pid(), "Private_Dirty:"));
        }
    }
    let reference = format!("PSS ratio to {}", peers.reference());
    let mut table =
        Table::new("Memory while idle", &["init", "PSS KiB", "private dirty KiB", &reference]);
    let inits: Vec<&Init> = peers.inits.iter().collect();
    let ratios = ratio(peers, &inits, &pss, median);
    for (place, init) in peers.inits.iter().enumerate() {
        table.row(
            init.name,
            &[
                format!("{:.0}", median(&pss[place])),
                format!("{:.0}", median(&dirty[place])),
                ratios[place].clone(),
            ],
        );
    }
    table
}

/// The inits, and a bundle that can be asked.
pub fn idle(peers: &Peers, quick: bool) -> Table {
    let seconds = if quick { 3 } else { 10 };
    let mut all: Vec<(&str, Measured)> =
        peers.inits.iter().map(|init| (init.name, running(peers, init, "sleep"))).collect();
    let folder = Folder::new();
    let bundle = bundle_with_socket(peers, &folder, 100);
    all.push(("sidecar-init, 100 services and a control socket", bundle));
    std::thread::sleep(Duration::from_millis(500));
    let before: Vec<f64> = all.iter().map(|(_, measured)| sleeps(measured.pid())).collect();
    std::thread::sleep(Duration::from_secs(seconds));
    let mut table =
        Table::new(&format!("Wakeups while idle, in {seconds} s"), &["init", "wakeups"]);
    for ((name, measured), before) in all.iter().zip(before) {
        table.row(name, &[format!("{:.0}", sleeps(measured.pid()) - before)]);
    }
    table
}

/// The first signal of each init, which sidecar-init forwards before it starts its loop.
pub fn first_signal(peers: &Peers, quick: bool) -> Table {
    let times = if quick { 50 } else { 500 };
    let inits: Vec<&Init> = peers.inits.iter().collect();
    let values = interleaved(&inits, times, |init| {
        let mut measured = running(peers, init, "signal");
        let sent = now();
        send(measured.pid(), Signal::USR1);
        (measured.read_time() - sent) / 1e3
    });
    latency_table("From the first signal until the command has it", peers, &inits, &values)
}

pub fn signal(peers: &Peers, quick: bool) -> Table {
    let times = if quick { 300 } else { 5000 };
    let mut all: Vec<Measured> =
        peers.inits.iter().map(|init| running(peers, init, "signal")).collect();
    let mut values = vec![Vec::new(); all.len()];
    for _ in 0..times {
        for (measured, values) in all.iter_mut().zip(&mut values) {
            let sent = now();
            send(measured.pid(), Signal::USR1);
            values.push((measured.read_time() - sent) / 1e3);
        }
    }
    let inits: Vec<&Init> = peers.inits.iter().collect();
    latency_table("From a signal to the init until its command has it", peers, &inits, &values)
}

pub fn exit(peers: &Peers, quick: bool) -> Table {
    let times = if quick { 100 } else { 1000 };
    let inits: Vec<&Init> = peers.inits.iter().collect();
    let values = interleaved(&inits, times, |init| {
        let mut measured = Measured::start(&mut command(init, &[&peers.child, "exit"]));
        let ended = measured.read_time();
        measured.wait();
        (now() - ended) / 1e3
    });
    latency_table("From the command's end until the init's", peers, &inits, &values)
}

fn latency_table(title: &str, peers: &Peers, inits: &[&Init], values: &[Vec<f64>]) -> Table {
    let reference = format!("p50 ratio to {}", peers.reference());
    let mut table = Table::new(title, &["init", "us p50", "us p99", &reference]);
    let ratios = ratio(peers, inits, values, median);
    for ((init, values), ratio) in inits.iter().zip(values).zip(ratios) {
        table.row(
            init.name,
            &[format!("{:.1}", median(values)), format!("{:.1}", percentile(values, 99)), ratio],
        );
    }
    table
}

/// The init as PID 1 of its own namespace, running its command.
pub fn pid_1(peers: &Peers, init: &Init, arguments: &[&str]) -> (Measured, u32) {
    let mut command = as_pid_1();
    command.arg(&init.path).arg("--").arg(&peers.child).args(arguments);
    let measured = Measured::start(&mut command);
    let mut inner = Vec::new();
    until(Duration::from_secs(10), || {
        inner = children(measured.pid());
        !inner.is_empty()
    });
    let pid = inner[0];
    (measured, pid)
}
