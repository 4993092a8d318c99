//! How long a service is away that has died.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::peers::Peers;
use crate::processes::{Folder, Measured, now, signal};
use crate::statistics::percentile;
use crate::supervisors::{self, Services, service};
use crate::table::Table;

/// How long the service has run when it is killed. s6-supervise starts nothing again sooner than
/// a second after its end; runsv does so at once, but only if it has run for a second. Neither has
/// a switch for it.
const RUNS: [Duration; 2] = [Duration::from_millis(1200), Duration::from_millis(20)];

/// A supervisor at work, and its service's process.
struct Contender {
    name: &'static str,
    measured: Measured,
    service: u32,
    gaps: [Vec<f64>; 2],
    /// Where it has its files.
    _folder: Folder,
}

impl Contender {
    fn start(name: &'static str, command: impl Fn(&Folder) -> Command) -> Contender {
        let folder = Folder::new();
        let measured = Measured::start(&mut command(&folder));
        let mut contender = Contender {
            name,
            measured,
            service: 0,
            gaps: [Vec::new(), Vec::new()],
            _folder: folder,
        };
        contender.next_run();
        contender
    }

    /// Kills the service, and waits for its next run.
    fn kill(&mut self, place: usize) {
        let killed = now();
        signal(self.service, Signal::KILL);
        let began = self.next_run();
        self.gaps[place].push((began - killed) / 1e6);
    }

    /// When the next run of the service began.
    fn next_run(&mut self) -> f64 {
        let began = self.measured.read_time();
        let pid: [u8; 8] = self.measured.read(8).try_into().expect("eight bytes");
        self.service = u32::try_from(u64::from_ne_bytes(pid)).expect("a pid");
        began
    }
}

pub fn restarts(peers: &Peers, quick: bool) -> Table {
    let times = if quick { 3 } else { 50 };
    let floor = |_: &Folder| {
        let mut command = Command::new(&peers.floor_restart);
        command.arg(&peers.stamp);
        command
    };
    let ours = |folder: &Folder| {
        let mut text = String::from("[bundle]\nlog = \"inherit\"\n");
        let restart = "restart = { policy = \"always\", delay = \"0s\", max = 1000000 }\n";
        service(&mut text, 0, &[&peers.stamp], restart);
        supervisors::ours(&peers.ours, folder.path(), &text)
    };
    let mut contenders =
        vec![Contender::start("C floor", floor), Contender::start("sidecar-init", ours)];
    for peer in supervisors::installed() {
        contenders.push(Contender::start(peer.name, |folder| {
            let services = Services { folder: folder.path(), program: &peers.stamp, count: 1 };
            (peer.command)(peers, &services)
        }));
    }
    for _ in 0..times {
        std::thread::sleep(RUNS[0]);
        for contender in &mut contenders {
            contender.kill(0);
            std::thread::sleep(RUNS[1]);
            contender.kill(1);
        }
    }
    let [long, short] = RUNS.map(|run| run.as_secs_f64());
    let head = [
        "supervisor",
        &format!("after {long} s: ms p50"),
        "p99",
        &format!("after {short} s: ms p50"),
        "p99",
    ];
    let mut table = Table::new("From a service's death until it runs again", &head);
    for Contender { name, gaps, .. } in &contenders {
        let values = gaps.iter().flat_map(|gaps| [percentile(gaps, 50), percentile(gaps, 99)]);
        table.row(name, &values.map(|value| format!("{value:.2}")).collect::<Vec<_>>());
    }
    table
}
