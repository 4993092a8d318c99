//! What it costs to ask a running bundle, and to keep what its services have written.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::peers::Peers;
use crate::processes::{Folder, Guarded, Measured, children, cost, memory, processor_time, until};
use crate::statistics::median;
use crate::supervisors::{self, service};
use crate::table::Table;

const SERVICES: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

/// A bundle of so many services with a control socket.
pub fn bundle_with_socket(peers: &Peers, folder: &Folder, count: usize) -> Measured {
    let mut text = format!(
        "[bundle]\nlog = \"inherit\"\nsocket = \"{}\"\n",
        folder.path().join("socket").display()
    );
    for number in 0..count {
        service(&mut text, number, &[&peers.child], "");
    }
    let mut measured = Measured::start(&mut supervisors::ours(&peers.ours, folder.path(), &text));
    measured.read(count);
    measured
}

pub fn requests(peers: &Peers, quick: bool) -> Table {
    let times = if quick { 10 } else { 200 };
    let folder = Folder::new();
    let init = bundle_with_socket(peers, &folder, SERVICES);
    let requests = ["health", "status"];
    let mut values = [[const { Vec::new() }; 2], [const { Vec::new() }; 2]];
    for _ in 0..times {
        for (request, [client, server]) in requests.iter().zip(&mut values) {
            let mut command = Command::new(&peers.ours);
            command.args([request, "--socket"]).arg(folder.path().join("socket"));
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let before = processor_time(init.pid());
            client.push(cost(&mut command) / 1e6);
            server.push((processor_time(init.pid()) - before) / 1e6);
        }
    }
    let title = format!("Asking a bundle of {SERVICES} services");
    let mut table = Table::new(&title, &["request", "client's CPU ms", "init's CPU ms"]);
    for (request, [client, server]) in requests.iter().zip(&values) {
        let value = |values: &[f64]| format!("{:.2}", median(values));
        table.row(&format!("sidecar-init {request}"), &[value(client), value(server)]);
    }
    table
}

/// What the init holds by what becomes of the output.
pub fn rings(peers: &Peers, quick: bool) -> Table {
    let times = if quick { 1 } else { 3 };
    let socket = Folder::new();
    let socket = socket.path().join("socket");
    let cases = [
        ("inherited, no control socket", "log = \"inherit\"\n".to_owned(), "0"),
        ("with prefix, no control socket", String::new(), "0"),
        ("with prefix, control socket", format!("socket = {socket:?}\n"), "0"),
        ("the same, each has written 64 KB", format!("socket = {socket:?}\n"), "640"),
    ];
    let title = format!("Memory with {SERVICES} services");
    let mut table = Table::new(&title, &["output", "PSS KiB"]);
    for (name, keys, lines) in &cases {
        let values: Vec<f64> = (0..times).map(|_| pss(peers, keys, lines)).collect();
        table.row(name, &[format!("{:.0}", median(&values))]);
    }
    table
}

fn pss(peers: &Peers, keys: &str, lines: &str) -> f64 {
    let folder = Folder::new();
    let mut text = format!("[bundle]\n{keys}");
    for number in 0..SERVICES {
        service(&mut text, number, &[&peers.child, "talk", lines], "");
    }
    let mut command = supervisors::ours(&peers.ours, folder.path(), &text);
    let init = Guarded::start(&mut command);
    until(PATIENCE, || children(init.id()).len() == SERVICES);
    // It has nothing more to do when it sleeps all the time.
    until(PATIENCE, || {
        let before = processor_time(init.id());
        std::thread::sleep(Duration::from_millis(500));
        processor_time(init.id()) <= before
    });
    memory(init.id(), "Pss:")
}
