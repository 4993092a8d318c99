//! Many services that wait for each other: start, stop and memory by the shape of the graph.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::bundle::start_and_stop;
use crate::peers::Peers;
use crate::processes::Folder;
use crate::statistics::median;
use crate::supervisors::{self, service};
use crate::table::Table;

/// A graph of services.
struct Shape {
    name: &'static str,
    /// What the floor does that is most like it.
    floor: &'static str,
    /// What the child is told to do.
    mode: &'static str,
    /// The keys of the service with this number, of so many.
    keys: fn(usize, usize) -> String,
}

const SHAPES: [Shape; 5] = [
    Shape {
        name: "the file's order",
        floor: "in-order",
        mode: "sleep",
        keys: |_, _| String::new(),
    },
    Shape {
        name: "one root",
        floor: "at-once",
        mode: "sleep",
        keys: |number, _| after(0..number.min(1)),
    },
    Shape {
        name: "10 layers, each after all of the last",
        floor: "at-once",
        mode: "sleep",
        keys: |number, count| {
            let wide = count / 10;
            let layer = number / wide * wide;
            after(layer.saturating_sub(wide)..layer)
        },
    },
    Shape {
        name: "a chain",
        floor: "in-order",
        mode: "sleep",
        keys: |number, _| after_last(number),
    },
    Shape {
        name: "a chain, each notifies",
        floor: "ready",
        mode: "notify",
        keys: |number, _| format!("{}notify = \"fd:3\"\n", after_last(number)),
    },
];

fn after(numbers: std::ops::Range<usize>) -> String {
    if numbers.is_empty() {
        return String::new();
    }
    let names: Vec<String> = numbers.map(|number| format!("s{number}")).collect();
    format!("after = {names:?}\n")
}

fn after_last(number: usize) -> String {
    after(number.saturating_sub(1)..number)
}

pub fn order(peers: &Peers, quick: bool) -> Table {
    let (count, times) = if quick { (100, 1) } else { (1000, 5) };
    let head = [
        "supervisor",
        "graph",
        "start ms",
        "ratio to C floor",
        "TERM to all gone ms",
        "ratio to C floor",
        "PSS KiB",
    ];
    let mut table = Table::new(&format!("{count} services that wait for each other"), &head);
    for shape in &SHAPES {
        let mut values = [[const { Vec::new() }; 3], [const { Vec::new() }; 3]];
        for _ in 0..times {
            let folder = Folder::new();
            let commands = [floor(peers, shape, count), ours(peers, folder.path(), shape, count)];
            for (mut command, values) in commands.into_iter().zip(&mut values) {
                let measured = start_and_stop(peers, &mut command, Signal::TERM, count);
                measured.into_iter().zip(values).for_each(|(value, values)| values.push(value));
            }
        }
        let [floor, _] = &values;
        for (name, [start, stop, pss]) in ["C floor", "sidecar-init"].into_iter().zip(&values) {
            let value = |values: &[f64]| format!("{:.1}", median(values));
            let ratio =
                |values: &[f64], floor: &[f64]| format!("{:.2}", median(values) / median(floor));
            let pss = format!("{:.0}", median(pss));
            let (start, stop) =
                ([value(start), ratio(start, &floor[0])], [value(stop), ratio(stop, &floor[1])]);
            table.row(name, &[&[shape.name.to_owned()][..], &start, &stop, &[pss]].concat());
        }
    }
    table
}

fn floor(peers: &Peers, shape: &Shape, count: usize) -> Command {
    let mut command = Command::new(&peers.floor_bundle);
    command.args([&count.to_string(), shape.floor, &peers.child, shape.mode]);
    command
}

fn ours(peers: &Peers, folder: &Path, shape: &Shape, count: usize) -> Command {
    let mut text = String::from("[bundle]\nlog = \"inherit\"\n");
    for number in 0..count {
        let keys = (shape.keys)(number, count);
        service(&mut text, number, &[&peers.child, shape.mode], &keys);
    }
    supervisors::ours(&peers.ours, folder, &text)
}
