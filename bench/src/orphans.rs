//! What reaping costs, as PID 1.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::one_command::pid_1;
use crate::peers::Peers;
use crate::processes::{children, processor_time, until};
use crate::statistics::median;
use crate::table::Table;

const PATIENCE: Duration = Duration::from_secs(60);

pub fn orphans(peers: &Peers, quick: bool) -> Table {
    let (one_by_one, at_once, times) = if quick { (2000, 500, 1) } else { (20_000, 2000, 5) };
    let title = format!("Orphans: {one_by_one} one after the other, {at_once} at once");
    let mut table = Table::new(
        &title,
        &[
            "init",
            "CPU us each",
            "ratio to C floor",
            "at once: CPU us each",
            "ratio to C floor",
            "ms to clear",
        ],
    );
    let count = peers.inits.len();
    let (mut single, mut burst, mut clear) =
        (vec![Vec::new(); count], vec![Vec::new(); count], vec![Vec::new(); count]);
    for _ in 0..times {
        for (place, init) in peers.inits.iter().enumerate() {
            let (mut measured, pid) = pid_1(peers, init, &["orphans", &one_by_one.to_string()]);
            let before = processor_time(pid);
            measured.read(1);
            until(PATIENCE, || children(pid).len() == 1);
            single[place].push((processor_time(pid) - before) / 1e3 / f64::from(one_by_one));
            drop(measured);

            let (mut measured, pid) = pid_1(peers, init, &["burst", &at_once.to_string()]);
            measured.read(1);
            let (before, begin) = (processor_time(pid), Instant::now());
            let mut stdin = measured.child.stdin.take().expect("a pipe");
            stdin.write_all(b"+").expect("the command reads");
            until(PATIENCE, || children(pid).len() == 1);
            clear[place].push(begin.elapsed().as_secs_f64() * 1e3);
            burst[place].push((processor_time(pid) - before) / 1e3 / f64::from(at_once));
        }
    }
    let floor = peers.inits.iter().position(|init| init.name == "C floor").unwrap_or(0);
    for (place, init) in peers.inits.iter().enumerate() {
        let ratio =
            |values: &[Vec<f64>]| format!("{:.2}", median(&values[place]) / median(&values[floor]));
        let value = |values: &[Vec<f64>]| format!("{:.1}", median(&values[place]));
        table.row(
            init.name,
            &[value(&single), ratio(&single), value(&burst), ratio(&burst), value(&clear)],
        );
    }
    table
}
