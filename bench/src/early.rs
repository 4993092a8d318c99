//! Signals that reach PID 1 in its first moments.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::peers::Peers;
use crate::processes::{Measured, as_pid_1, children, signal, until};
use crate::table::Table;

/// How long after the start the last signal is sent.
const FIRST_MOMENTS: Duration = Duration::from_micros(1500);
const PATIENCE: Duration = Duration::from_millis(500);

pub fn early(peers: &Peers, quick: bool) -> Table {
    let times = if quick { 20 } else { 80 };
    let title = format!("TERM lost of {times} sent to PID 1 in its first 1.5 ms");
    let mut table = Table::new(&title, &["init", "lost"]);
    let mut lost = vec![0_u32; peers.inits.len()];
    for number in 0..times {
        let delay = FIRST_MOMENTS * number / times;
        for (init, lost) in peers.inits.iter().zip(&mut lost) {
            let mut command = as_pid_1();
            command.arg(&init.path).arg("--").arg(&peers.child).arg("sleep");
            let mut measured = Measured::start(&mut command);
            let own = std::fs::canonicalize(&init.path).expect("its path");
            let mut pid = None;
            // From the moment in which the kernel shows the init's program.
            let end = Instant::now() + PATIENCE;
            while pid.is_none() && Instant::now() < end {
                pid = children(measured.pid()).into_iter().find(|pid| {
                    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == own)
                });
            }
            let Some(pid) = pid else { continue };
            let sent_at = Instant::now() + delay;
            while Instant::now() < sent_at {}
            signal(pid, Signal::TERM);
            let ended =
                until(PATIENCE, || measured.child.try_wait().is_ok_and(|status| status.is_some()));
            *lost += u32::from(!ended);
        }
    }
    for (init, lost) in peers.inits.iter().zip(lost) {
        table.row(init.name, &[lost.to_string()]);
    }
    table
}
