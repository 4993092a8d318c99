//! What it costs to probe services over TCP.

use std::io::Write;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::peers::Peers;
use crate::processes::{Folder, Measured, processor_time};
use crate::statistics::median;
use crate::supervisors::{self, service};
use crate::table::Table;

/// How many services are probed, each once a second.
const SERVICES: usize = 1000;

/// A listener, and how many connections it has had.
fn listen() -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        while listener.accept().is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (port, count)
}

pub fn probes(peers: &Peers, quick: bool) -> Table {
    let times = if quick { 1 } else { 10 };
    let (port, count) = listen();
    let folder = Folder::new();
    let mut text = String::from("[bundle]\nlog = \"inherit\"\n");
    for number in 0..SERVICES {
        let live = format!("live = {{ tcp = \"127.0.0.1:{port}\", period = \"1s\" }}\n");
        service(&mut text, number, &[&peers.child], &live);
    }
    let mut ours = Measured::start(&mut supervisors::ours(&peers.ours, folder.path(), &text));
    ours.read(SERVICES);
    let begin = Instant::now();
    let mut command = Command::new(&peers.floor_probe);
    let mut floor = Measured::start(command.args([port.to_string(), SERVICES.to_string()]));
    let mut stdin = floor.child.stdin.take().expect("a pipe");
    floor.read(1);
    let (mut floor_costs, mut our_costs) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let before = processor_time(floor.pid());
        stdin.write_all(b"+").expect("it reads");
        floor.read(1);
        floor_costs.push((processor_time(floor.pid()) - before) / 1e3 / SERVICES as f64);

        let (before, probes) = (processor_time(ours.pid()), count.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_secs(2));
        let probes = count.load(Ordering::Relaxed) - probes;
        our_costs.push((processor_time(ours.pid()) - before) / 1e3 / probes as f64);
    }
    let floor_rounds = times * SERVICES as u64;
    let rate =
        (count.load(Ordering::Relaxed) - floor_rounds) as f64 / begin.elapsed().as_secs_f64();
    let title = format!("Liveness of {SERVICES} services, each asked over TCP once a second");
    let mut table =
        Table::new(&title, &["prober", "CPU us a probe", "ratio to C floor", "probes a second"]);
    for (name, costs, rate) in [
        ("C floor", &floor_costs, "as fast as it can".to_owned()),
        ("sidecar-init", &our_costs, format!("{rate:.0}")),
    ] {
        let ratio = median(costs) / median(&floor_costs);
        table.row(name, &[format!("{:.1}", median(costs)), format!("{ratio:.2}"), rate]);
    }
    table
}
