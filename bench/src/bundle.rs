//! Many services: start, stop and memory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::peers::Peers;
use crate::processes::{Folder, Measured, memory, signal, tree, until};
use crate::statistics::median;
use crate::supervisors::{self, MANY, Services, Supervisor, service};
use crate::table::Table;

const PATIENCE: Duration = Duration::from_secs(120);

pub fn services(peers: &Peers, quick: bool) -> Table {
    let counts: &[usize] = if quick { &[1, 16] } else { &[1, 16, 256, 1000] };
    let times = if quick { 1 } else { 3 };
    let mut supervisors = vec![
        Supervisor { name: "C floor", command: floor, end: Signal::TERM, most: MANY },
        Supervisor {
            name: "C floor, stops all at once",
            command: hasty,
            end: Signal::TERM,
            most: MANY,
        },
        Supervisor { name: "sidecar-init", command: ours, end: Signal::TERM, most: MANY },
        Supervisor { name: "sidecar-init, glibc", command: glibc, end: Signal::TERM, most: MANY },
    ];
    supervisors.extend(supervisors::installed());
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
        let supervisors: Vec<&Supervisor> =
            supervisors.iter().filter(|supervisor| count <= supervisor.most).collect();
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
    let folder = Folder::new();
    let services = Services { folder: folder.path(), program: &peers.child, count };
    let mut command = (supervisor.command)(peers, &services);
    start_and_stop(peers, &mut command, supervisor.end, count)
}

/// Milliseconds until all services have said that they run, and from the signal that ends them
/// until all are gone; and KiB of all that is not a service.
pub fn start_and_stop(peers: &Peers, command: &mut Command, end: Signal, count: usize) -> [f64; 3] {
    let begin = Instant::now();
    let mut measured = Measured::start(command);
    measured.read(count);
    let start = begin.elapsed().as_secs_f64() * 1e3;
    let all = tree(measured.pid());
    // The services themselves are not the supervisor's.
    let is_service =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == *peers.child);
    let pss = all.iter().filter(|pid| !is_service(pid)).map(|pid| memory(*pid, "Pss:")).sum();
    let begin = Instant::now();
    signal(measured.pid(), end);
    measured.wait();
    until(PATIENCE, || !all.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    [start, begin.elapsed().as_secs_f64() * 1e3, pss]
}

/// In the reverse order of the start, as sidecar-init stops them.
fn floor(peers: &Peers, services: &Services) -> Command {
    floor_as(peers, services, "in-order")
}

fn hasty(peers: &Peers, services: &Services) -> Command {
    floor_as(peers, services, "at-once")
}

fn floor_as(peers: &Peers, services: &Services, mode: &str) -> Command {
    let mut command = Command::new(&peers.floor_bundle);
    command.args([&services.count.to_string(), mode, services.program]);
    command
}

fn ours(peers: &Peers, services: &Services) -> Command {
    ours_as(&peers.ours, services)
}

fn glibc(peers: &Peers, services: &Services) -> Command {
    ours_as(&peers.glibc, services)
}

fn ours_as(binary: &Path, services: &Services) -> Command {
    let mut text = String::from("[bundle]\nlog = \"inherit\"\n");
    for number in 0..services.count {
        service(&mut text, number, &[services.program], "");
    }
    supervisors::ours(binary, services.folder, &text)
}
