//! What the init knows, as clients of the control socket see it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use super::Init;
use super::children::raw;
use super::health::RELOADING;
use crate::exit::ExitStatus;
use crate::plan::Plan;
use crate::process_tree as tree;
use crate::supervisor::{End, ServiceId, State};
use crate::timeline::{self, Row, Span};
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

pub(super) fn status(init: &Init, now: Instant) -> Value {
    let usages = usages(init);
    let services: Vec<Value> =
        init.plan.ids().map(|id| service(init, id, now, usages.get(&id))).collect();
    json!({
        "ok": true,
        "bundle": init.plan.bundle.name,
        "pid": std::process::id(),
        "uptime_seconds": init.uptime(now).as_secs_f64(),
        "shutting_down": init.supervisor.shutdown_deadline().is_some(),
        "services": services,
    })
}

fn service(init: &Init, id: ServiceId, now: Instant, usage: Option<&Usage>) -> Value {
    // That nobody can tell is not that it is not well.
    let inconclusive = || init.health.inconclusive(id).map(str::to_owned);
    let run = init.announcer.history.running(id);
    let (code, signal) = match init.announcer.history.last_exit(id) {
        Some(ExitStatus::Code(code)) => (Some(code), None),
        Some(ExitStatus::Signal(signal)) => (None, Some(signal.to_string())),
        None => (None, None),
    };
    json!({
        "name": init.plan.name(id),
        "state": state(init, id),
        "pid": init.children.main(id).map(raw),
        "uptime_seconds": run.map(|run| now.saturating_duration_since(run.started).as_secs_f64()),
        "restarts": init.supervisor.restarts(id),
        "last_exit_code": code,
        "last_exit_signal": signal,
        "memory_bytes": usage.map(|usage| usage.memory),
        "cpu_seconds": usage.map(|usage| usage.processor),
        "problem": problem(init, id).or_else(inconclusive),
        "doing": doing(init, id),
        "says": init.health.status(id),
    })
}

/// Whether every service is ready and well.
pub(super) fn is_healthy(init: &Init) -> bool {
    init.plan.ids().all(|id| problem(init, id).is_none())
}

pub(super) fn health(init: &Init) -> Value {
    let problems: Vec<Value> = init
        .plan
        .ids()
        .filter_map(|id| {
            let problem = problem(init, id)?;
            Some(json!({"service": init.plan.name(id), "problem": problem}))
        })
        .collect();
    json!({"ok": true, "healthy": problems.is_empty(), "problems": problems})
}

pub(super) fn graph(plan: &Plan) -> Value {
    // Instances are called by the name that they have together.
    let name = |id: &ServiceId| {
        let together = plan.newest_service(*id).instance_of.clone();
        together.unwrap_or_else(|| plan.name(*id))
    };
    let names = |ids: &[ServiceId]| -> Vec<String> { ids.iter().map(name).collect() };
    let services: Vec<Value> = plan
        .ids()
        .map(|id| {
            let policy = plan.policy.leading(id);
            json!({
                "name": plan.name(id),
                "after": names(&policy.after),
                "requires": names(&policy.requires),
            })
        })
        .collect();
    json!({"ok": true, "in_file_order": plan.policy.in_file_order, "services": services})
}

pub(super) fn timeline(init: &Init, now: Instant) -> String {
    let since = |at: Instant| at.saturating_duration_since(init.started);
    let rows: Vec<Row> = init
        .plan
        .ids()
        .map(|id| {
            let runs =
                init.announcer.history.past(id).map(|past| past.runs.iter()).into_iter().flatten();
            let spans = runs.map(|run| Span {
                started: since(run.started),
                ready: run.ready.map(since),
                asked: run.asked.map(since),
                ended: run.ended.map(|(at, _)| since(at)),
            });
            Row { name: init.plan.name(id), spans: spans.collect() }
        })
        .collect();
    timeline::svg(&rows, init.uptime(now))
}

/// The text format of Prometheus.
pub(super) fn metrics(init: &Init, now: Instant) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "# TYPE sidecar_init_uptime_seconds gauge");
    let _ = writeln!(text, "sidecar_init_uptime_seconds {}", init.uptime(now).as_secs_f64());
    let usages = usages(init);
    type Figure<'a> = &'a dyn Fn(ServiceId) -> Option<f64>;
    let figures: [(&str, &str, Figure); 5] = [
        ("service_up", "gauge", &|id| Some(f64::from(u8::from(init.children.main(id).is_some())))),
        ("service_healthy", "gauge", &|id| Some(f64::from(u8::from(problem(init, id).is_none())))),
        ("service_restarts_total", "counter", &|id| Some(init.supervisor.restarts(id).into())),
        ("service_memory_bytes", "gauge", &|id| Some(usages.get(&id)?.memory as f64)),
        ("service_cpu_seconds_total", "counter", &|id| Some(usages.get(&id)?.processor)),
    ];
    for (name, kind, figure) in figures {
        let _ = writeln!(text, "# TYPE sidecar_init_{name} {kind}");
        for id in init.plan.ids() {
            if let Some(value) = figure(id) {
                // A service's name has no character that would have to be escaped.
                let _ = writeln!(
                    text,
                    "sidecar_init_{name}{{service=\"{}\"}} {value}",
                    init.plan.name(id)
                );
            }
        }
    }
    text
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
