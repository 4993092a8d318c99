//! Measures sidecar-init beside its peers, whichever are installed, interleaved in one run, and
//! prints medians and ratios. `make bench BENCH=--help` tells how.

mod bundle;
mod early;
mod gate;
mod log;
mod one_command;
mod order;
mod orphans;
mod peers;
mod probes;
mod processes;
mod requests;
mod restarts;
mod sidecars;
mod statistics;
mod supervisors;
mod table;

use table::Table;

const HELP: &str = "\
Measures sidecar-init, as users download it and as built for glibc, beside its peers.

Usage: bench [--quick] [METRIC]...

Metrics: start failure calls memory idle first signal exit orphans early services order
         rings restarts probes requests log stalled gate sidecars
Without a metric: all of them. --quick: fewer repetitions, for a look.
gate needs target/release/git-gate, and gitleaks by the variable GITLEAKS; it is left out without.
sidecars needs a Docker engine and the image of make image (or IMAGE); it is left out without.
The report goes to stdout, progress to stderr. Run it as root, for it makes PID namespaces.
";

/// Takes a measurement; `true` for a quick one.
type Metric = fn(&peers::Peers, bool) -> Table;

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "-h" || argument == "--help") {
        print!("{HELP}");
        return;
    }
    let before = arguments.len();
    arguments.retain(|argument| argument != "--quick");
    let quick = arguments.len() < before;
    let metrics: [(&str, Metric); 20] = [
        ("start", one_command::start),
        ("failure", one_command::failure),
        ("calls", one_command::calls),
        ("memory", one_command::memory),
        ("idle", one_command::idle),
        ("first", one_command::first_signal),
        ("signal", one_command::signal),
        ("exit", one_command::exit),
        ("orphans", orphans::orphans),
        ("early", early::early),
        ("services", bundle::services),
        ("order", order::order),
        ("rings", requests::rings),
        ("restarts", restarts::restarts),
        ("probes", probes::probes),
        ("requests", requests::requests),
        ("log", log::throughput),
        ("stalled", log::stalled),
        ("gate", gate::push),
        ("sidecars", sidecars::sidecars),
    ];
    if let Some(other) = arguments.iter().find(|name| !metrics.iter().any(|(one, _)| one == name)) {
        eprintln!("bench: there is no metric {other:?}; --help lists them");
        std::process::exit(64);
    }
    let peers = peers::installed();
    println!("{}\n", peers::machine());
    for (name, measure) in metrics {
        if arguments.is_empty() || arguments.iter().any(|wanted| wanted == name) {
            eprintln!("measuring: {name}");
            println!("{}", measure(&peers, quick));
        }
    }
}
