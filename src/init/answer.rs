//! What the init knows, as clients of the control socket see it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use super::Init;
use super::children::raw;
use super::health::RELOADING;
use crate::control::{
    Graph, GraphService, Health, Metrics, Problem, Run, ServiceMetrics, ServiceStatus, Status,
    Timeline, TimelineService,
};
use crate::exit::ExitStatus;
use crate::plan::Plan;
use crate::process_tree as tree;
use crate::supervisor::{End, ServiceId, State};
use crate::words::Words;

/// Where the service is in its life, in a word.
pub(super) fn state(init: &Init, id: ServiceId) -> &'static str {
    init.supervisor.state(id).kind().word()
}

/// What is wrong with the service; `None`: it is ready and well.
fn problem(init: &Init, id: ServiceId) -> Option<String> {
    if init.supervisor.shutdown_deadline().is_some() {
        return Some("the bundle is shutting down".to_owned());
    }
    let failure = init.health.last_failure(id).map(str::to_owned);
    let inconclusive = || init.health.inconclusive(id).map(str::to_owned);
    match init.supervisor.state(id) {
        State::Running { ready: true, .. } => {
            failure.or_else(|| doing(init, id).filter(|doing| *doing != RELOADING).map(Into::into))
        }
        State::Gone(End::Done) if init.is_oneshot(id) => None,
        _ => {
            let reason = failure
                .or_else(inconclusive)
                .map_or_else(String::new, |reason| format!(": {reason}"));
            Some(format!("{}{reason}", state(init, id)))
        }
    }
}

/// What the service says that it is doing, sd_notify(3).
fn doing(init: &Init, id: ServiceId) -> Option<&'static str> {
    init.health.doing(id)
}

pub(super) fn status(init: &Init, now: Instant) -> Status {
    let usages = usages(init);
    Status {
        bundle: init.plan.bundle.name.clone(),
        pid: std::process::id(),
        uptime: init.uptime(now),
        shutting_down: init.supervisor.shutdown_deadline().is_some(),
        services: init.plan.ids().map(|id| service(init, id, now, usages.get(&id))).collect(),
    }
}

fn service(init: &Init, id: ServiceId, now: Instant, usage: Option<&Usage>) -> ServiceStatus {
    // That nobody can tell is not that it is not well.
    let inconclusive = || init.health.inconclusive(id).map(str::to_owned);
    let run = init.announcer.history.running(id);
    let (last_exit_code, last_exit_signal) = match init.announcer.history.last_exit(id) {
        Some(ExitStatus::Code(code)) => (Some(code), None),
        Some(ExitStatus::Signal(signal)) => (None, Some(signal)),
        None => (None, None),
    };
    ServiceStatus {
        name: init.plan.name(id),
        state: init.supervisor.state(id).kind(),
        pid: init.children.main(id).map(|pid| raw(pid).unsigned_abs()),
        uptime: run.map(|run| now.saturating_duration_since(run.started)),
        restarts: init.supervisor.restarts(id),
        last_exit_code,
        last_exit_signal,
        memory_bytes: usage.map(|usage| usage.memory),
        cpu_seconds: usage.map(|usage| usage.processor),
        problem: problem(init, id).or_else(inconclusive),
        doing: doing(init, id).map(str::to_owned),
        says: init.health.status(id).map(str::to_owned),
    }
}

/// Whether every service is ready and well.
pub(super) fn is_healthy(init: &Init) -> bool {
    init.plan.ids().all(|id| problem(init, id).is_none())
}

pub(super) fn health(init: &Init) -> Health {
    let problem_of =
        |id| Some(Problem { service: init.plan.name(id), problem: problem(init, id)? });
    let problems: Vec<Problem> = init.plan.ids().filter_map(problem_of).collect();
    Health { healthy: problems.is_empty(), problems }
}

pub(super) fn graph(plan: &Plan) -> Graph {
    // Instances are called by the name that they have together.
    let name = |id: &ServiceId| {
        let together = plan.newest_service(*id).instance_of.clone();
        together.unwrap_or_else(|| plan.name(*id))
    };
    let names = |ids: &[ServiceId]| -> Vec<String> { ids.iter().map(name).collect() };
    let service = |id| {
        let policy = plan.policy.leading(id);
        let (after, requires) = (names(&policy.after), names(&policy.requires));
        GraphService { name: plan.name(id), after, requires }
    };
    let services = plan.ids().map(service).collect();
    Graph { in_file_order: plan.policy.in_file_order, services }
}

pub(super) fn timeline(init: &Init, now: Instant) -> Timeline {
    let since = |at: Instant| at.saturating_duration_since(init.started);
    let service = |id| {
        let past = init.announcer.history.past(id);
        let runs = past.into_iter().flat_map(|past| &past.runs).map(|run| Run {
            started: since(run.started),
            ready: run.ready.map(since),
            asked: run.asked.map(since),
            ended: run.ended.map(|(at, _)| since(at)),
        });
        TimelineService { name: init.plan.name(id), runs: runs.collect() }
    };
    Timeline { uptime: init.uptime(now), services: init.plan.ids().map(service).collect() }
}

pub(super) fn metrics(init: &Init, now: Instant) -> Metrics {
    let usages = usages(init);
    let service = |id| ServiceMetrics {
        name: init.plan.name(id),
        up: init.children.main(id).is_some(),
        healthy: problem(init, id).is_none(),
        restarts: init.supervisor.restarts(id),
        memory_bytes: usages.get(&id).map(|usage| usage.memory),
        cpu_seconds: usages.get(&id).map(|usage| usage.processor),
    };
    Metrics { uptime: init.uptime(now), services: init.plan.ids().map(service).collect() }
}

/// What the services hold and have used; nothing where `/proc` is another namespace's, whose
/// numbers mean other processes.
fn usages(init: &Init) -> BTreeMap<ServiceId, Usage> {
    if !tree::is_own_proc() {
        return BTreeMap::new();
    }
    let usage_of = |id| usage(raw(init.children.main(id)?));
    init.plan.ids().filter_map(|id| Some((id, usage_of(id)?))).collect()
}

/// What a process holds and has used.
#[derive(Clone, Copy, Debug)]
struct Usage {
    memory: u64,
    processor: f64,
}

/// From `/proc/PID/stat`: user and system time in clock ticks, and the resident pages, proc(5).
fn usage(pid: i32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second();
    Some(Usage {
        memory: field(24)? * rustix::param::page_size() as u64,
        processor: (field(14)? + field(15)?) as f64 / ticks as f64,
    })
}
