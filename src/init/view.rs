//! The state of the init, as clients of the control socket see it.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use super::SHUTTING_DOWN;
use super::children::{Children, raw};
use super::health::{Health, RELOADING};
use super::history::History;
use crate::bundle::ServiceType;
use crate::exit::ExitStatus;
use crate::plan::Plan;
use crate::process_tree as tree;
use crate::protocol::{
    Graph, GraphService, HealthReport, Metrics, Problem, Run, ServiceMetrics, ServiceStatus,
    Status, Timeline, TimelineService,
};
use crate::supervisor::{End, ServiceId, State, Supervisor};
use crate::words::Words;

/// A read-only view for answers.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) plan: &'a Plan,
    pub(super) supervisor: &'a Supervisor,
    pub(super) children: &'a Children,
    pub(super) health: &'a Health,
    pub(super) history: &'a History,
    /// The reason of each service's last failed start.
    pub(super) refusals: &'a BTreeMap<ServiceId, String>,
    pub(super) started: Instant,
    /// Whether the core knows all facts.
    pub(super) is_told: bool,
}

impl View<'_> {
    fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    pub(super) fn is_oneshot(&self, id: ServiceId) -> bool {
        self.plan.bundle.services[id.0].kind == ServiceType::Oneshot
    }
}

/// The service's state as a word.
pub(super) fn state(view: &View, id: ServiceId) -> &'static str {
    view.supervisor.state(id).kind().word()
}

/// The service's problem; `None`: it is healthy.
fn problem(view: &View, id: ServiceId) -> Option<String> {
    if view.supervisor.shutdown_deadline().is_some() {
        return Some(SHUTTING_DOWN.to_owned());
    }
    let failure = view.health.last_failure(id).map(str::to_owned);
    let inconclusive = || view.health.inconclusive(id).map(str::to_owned);
    match view.supervisor.state(id) {
        State::Running { ready: true, .. } => {
            failure.or_else(|| doing(view, id).filter(|doing| *doing != RELOADING).map(Into::into))
        }
        State::Gone(End::Done) if view.is_oneshot(id) => None,
        _ => {
            let reason = failure
                .or_else(inconclusive)
                .map_or_else(String::new, |reason| format!(": {reason}"));
            Some(format!("{}{reason}", state(view, id)))
        }
    }
}

/// What the service reports that it is doing, sd_notify(3).
fn doing(view: &View, id: ServiceId) -> Option<&'static str> {
    view.health.doing(id)
}

pub(super) fn status(view: &View, now: Instant) -> Status {
    let usages = usages(view);
    Status {
        bundle: view.plan.bundle.name.clone(),
        pid: std::process::id(),
        uptime: view.uptime(now),
        shutting_down: view.supervisor.shutdown_deadline().is_some(),
        services: view.plan.ids().map(|id| service(view, id, now, usages.get(&id))).collect(),
    }
}

fn service(view: &View, id: ServiceId, now: Instant, usage: Option<&Usage>) -> ServiceStatus {
    // A check without a result does not make the service unhealthy.
    let inconclusive = || view.health.inconclusive(id).map(str::to_owned);
    let run = view.history.running(id);
    let (last_exit_code, last_exit_signal) = match view.history.last_exit(id) {
        Some(ExitStatus::Code(code)) => (Some(code), None),
        Some(ExitStatus::Signal(signal)) => (None, Some(signal)),
        None => (None, None),
    };
    ServiceStatus {
        name: view.plan.name(id),
        state: view.supervisor.state(id).kind(),
        pid: view.children.main(id).map(|pid| raw(pid).unsigned_abs()),
        uptime: run.map(|run| now.saturating_duration_since(run.started)),
        restarts: view.supervisor.restarts(id),
        last_exit_code,
        last_exit_signal,
        memory_bytes: usage.map(|usage| usage.memory),
        cpu_seconds: usage.map(|usage| usage.processor),
        problem: problem(view, id).or_else(inconclusive),
        doing: doing(view, id).map(str::to_owned),
        says: view.health.status(id).map(str::to_owned),
    }
}

pub(super) fn is_healthy(view: &View) -> bool {
    view.plan.ids().all(|id| problem(view, id).is_none())
}

pub(super) fn health(view: &View) -> HealthReport {
    let problem_of =
        |id| Some(Problem { service: view.plan.name(id), problem: problem(view, id)? });
    let problems: Vec<Problem> = view.plan.ids().filter_map(problem_of).collect();
    HealthReport { healthy: problems.is_empty(), problems }
}

pub(super) fn graph(plan: &Plan) -> Graph {
    // Instances have the name of their service.
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

pub(super) fn timeline(view: &View, now: Instant) -> Timeline {
    let since = |at: Instant| at.saturating_duration_since(view.started);
    let service = |id| {
        let past = view.history.past(id);
        let runs = past.into_iter().flat_map(|past| &past.runs).map(|run| Run {
            started: since(run.started),
            ready: run.ready.map(since),
            asked: run.asked.map(since),
            ended: run.ended.map(|(at, _)| since(at)),
        });
        TimelineService { name: view.plan.name(id), runs: runs.collect() }
    };
    Timeline { uptime: view.uptime(now), services: view.plan.ids().map(service).collect() }
}

pub(super) fn metrics(view: &View, now: Instant) -> Metrics {
    let usages = usages(view);
    let service = |id| ServiceMetrics {
        name: view.plan.name(id),
        up: view.children.main(id).is_some(),
        healthy: problem(view, id).is_none(),
        restarts: view.supervisor.restarts(id),
        memory_bytes: usages.get(&id).map(|usage| usage.memory),
        cpu_seconds: usages.get(&id).map(|usage| usage.processor),
    };
    Metrics { uptime: view.uptime(now), services: view.plan.ids().map(service).collect() }
}

/// The memory and CPU time of the services; nothing if `/proc` is another namespace's, with other pids.
fn usages(view: &View) -> BTreeMap<ServiceId, Usage> {
    if !tree::is_own_proc() {
        return BTreeMap::new();
    }
    let usage_of = |id| usage(raw(view.children.main(id)?));
    view.plan.ids().filter_map(|id| Some((id, usage_of(id)?))).collect()
}

/// The memory and CPU time of a process.
#[derive(Clone, Copy, Debug)]
struct Usage {
    memory: u64,
    processor: f64,
}

/// From `/proc/PID/stat`: user and system time in clock ticks, and resident pages, proc(5).
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
