//! The path of a service's output.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::peers::Peers;
use crate::processes::{Measured, children, processor_time, signal, until};
use crate::statistics::median;
use crate::table::Table;

fn bundle(peers: &Peers, services: &[(&str, &[&str])]) -> (Command, std::path::PathBuf) {
    let mut text = String::new();
    for (name, command) in services {
        text.push_str(&format!("[[service]]\nname = \"{name}\"\ncommand = {command:?}\n"));
    }
    let file = std::env::temp_dir().join(format!("bench-{}.toml", std::process::id()));
    fs::write(&file, text).expect("a bundle");
    let mut command = Command::new(&peers.ours);
    command.args(["run", "-q", "-f"]).arg(&file);
    (command, file)
}

/// Bytes that came out, seconds, and the seconds of processor that the pump took.
fn pump(command: &mut Command) -> (f64, f64, f64) {
    let begin = Instant::now();
    let mut measured = Measured::start(command);
    let mut buffer = vec![0; 1 << 16];
    let (mut bytes, mut processor) = (0, 0.0);
    while let Ok(count @ 1..) = measured.stdout.read(&mut buffer) {
        bytes += count;
        let time = processor_time(measured.pid());
        processor = if time.is_nan() { processor } else { time };
    }
    let seconds = begin.elapsed().as_secs_f64();
    (bytes as f64, seconds, processor / 1e9)
}

pub fn throughput(peers: &Peers, quick: bool) -> Table {
    let lines = if quick { 640_000 } else { 6_400_000 };
    let times = if quick { 1 } else { 5 };
    let lines = lines.to_string();
    let producer = [peers.child.as_str(), "lines", &lines];
    let mut names = vec!["C floor", "sidecar-init"];
    if Path::new("/usr/bin/s6-log").exists() {
        names.push("s6-log");
    }
    let mut rates = vec![Vec::new(); names.len()];
    let mut costs = vec![Vec::new(); names.len()];
    for _ in 0..times {
        let (ours, file) = bundle(peers, &[("s", &producer)]);
        let mut floor = Command::new(&peers.floor_prefix);
        floor.args(producer);
        let mut s6_log = Command::new("bash");
        s6_log.args(["-c", "exec s6-log 'p[s] ' 1 < <(\"$@\")", "bash"]).args(producer);
        for (place, mut command) in [floor, ours, s6_log].into_iter().take(names.len()).enumerate()
        {
            let (bytes, seconds, processor) = pump(&mut command);
            rates[place].push(bytes / 1e6 / seconds);
            costs[place].push(processor * 1e3 / (bytes / 1e6));
        }
        let _ = fs::remove_file(file);
    }
    let head = ["pump", "MB/s", "ratio to C floor", "CPU ms per MB", "ratio to C floor"];
    let mut table = Table::new(&format!("Prefixed output: {lines} lines of 100 bytes"), &head);
    for (place, name) in names.into_iter().enumerate() {
        let (rate, cost) = (median(&rates[place]), median(&costs[place]));
        table.row(
            name,
            &[
                format!("{rate:.0}"),
                format!("{:.2}", rate / median(&rates[0])),
                format!("{cost:.2}"),
                format!("{:.2}", cost / median(&costs[0])),
            ],
        );
    }
    table
}

/// How long a death and a TERM take while nobody reads stdout, beside when somebody does.
pub fn stalled(peers: &Peers, quick: bool) -> Table {
    let times = if quick { 1 } else { 5 };
    let mut table = Table::new(
        "stdout stalled: ms from TERM until the first service is gone",
        &["reader", "ms p50"],
    );
    for reads in [true, false] {
        let values: Vec<f64> = (0..times).map(|_| term_while(peers, reads)).collect();
        table.row(
            if reads { "reads" } else { "stalled for 5 s" },
            &[format!("{:.1}", median(&values))],
        );
    }
    table
}

fn term_while(peers: &Peers, reads: bool) -> f64 {
    let producer = [peers.child.as_str(), "lines", "2000000000"];
    let sleeper = ["sleep", "1000"];
    let (mut command, file) = bundle(peers, &[("chatty", &producer), ("quiet", &sleeper)]);
    let mut measured = Measured::start(&mut command);
    measured.read(1000);
    until(Duration::from_secs(5), || children(measured.pid()).len() == 2);
    let quiet = children(measured.pid())[1];
    let stdout = measured.stdout;
    let reader = std::thread::spawn(move || {
        let mut stdout = stdout;
        let mut buffer = vec![0; 1 << 16];
        if !reads {
            std::thread::sleep(Duration::from_secs(5));
        }
        while let Ok(1..) = stdout.read(&mut buffer) {}
    });
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    signal(measured.child.id(), Signal::TERM);
    until(Duration::from_secs(20), || !Path::new(&format!("/proc/{quiet}")).exists());
    let time = begin.elapsed().as_secs_f64() * 1e3;
    let _ = measured.child.wait();
    let _ = reader.join();
    let _ = fs::remove_file(file);
    time
}
