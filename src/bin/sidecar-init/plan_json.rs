//! The plan as JSON: the settings of the file and the values looked up on the machine. Of variables it
//! has only the names, because their values may be secrets.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sidecar_init::bundle::environment::Variables;
use sidecar_init::bundle::health_check::{Check, Probe, Readiness};
use sidecar_init::bundle::{
    Account, Environment, OnEvent, Place, ResourceLimit, RestartPolicy, RestartWhen, Service,
    capability, resource,
};
use sidecar_init::plan::{LookedUp, Plan};
use sidecar_init::words::Words;

use crate::run::named_socket;

pub(crate) fn plan(plan: &Plan) -> Value {
    let bundle = &plan.bundle;
    let services: Vec<Value> = bundle
        .services
        .iter()
        .zip(&plan.looked_up)
        .map(|(service, looked_up)| self::service(service, looked_up))
        .collect();
    let signals: Map<String, Value> = bundle
        .signals
        .iter()
        .map(|(signal, route)| (signal.to_string(), json!(route.to_string())))
        .collect();
    json!({
        "name": bundle.name,
        "select_env": bundle.select_env,
        "socket": named_socket(bundle.socket.as_deref()).map(|path| path.to_string_lossy().into_owned()),
        "on_event": on_event(&bundle.on_event),
        "grace_seconds": seconds(bundle.grace),
        "in_file_order": plan.policy.in_file_order,
        "directory": plan.directory,
        "services": services,
        "signals": signals,
    })
}

/// One service, with its user if that is not the init's.
pub(crate) fn service(service: &Service, looked_up: &LookedUp) -> Value {
    let who = looked_up.identity.as_ref();
    let groups = who.and_then(|who| who.credentials.as_ref()).map(|new| new.groups.clone());
    let limits: Map<String, Value> = service.rlimits.iter().map(limit).collect();
    let listen: Vec<String> = service.listen.iter().map(ToString::to_string).collect();
    json!({
        "name": service.name,
        "command": words(&service.command),
        "type": service.kind.word(),
        "instance_of": service.instance_of,
        "after": service.after,
        "requires": service.requires,
        "when_required_exits": service.when_required_exits.word(),
        "working_directory": service.working_directory,
        "environment": environment(&service.environment, &looked_up.environment_files),
        "user": service.identity.user.as_ref().map(account),
        "group": service.identity.group.as_ref().map(account),
        "user_id": who.map(|who| who.user),
        "group_id": who.map(|who| who.group),
        "group_ids": groups,
        "umask": service.umask.map(|umask| format!("{umask:04o}")),
        "rlimits": limits,
        "nice": service.nice,
        "oom_score_adj": service.oom_score_adj,
        "no_new_privileges": service.no_new_privileges,
        "drop_capabilities": capability::names(service.drop_capabilities),
        "parent_death_signal": service.parent_death_signal.map(|signal| signal.to_string()),
        "listen": listen,
        "ready": service.readiness.as_ref().map(readiness),
        "start_timeout_seconds": service.start_timeout.map(seconds),
        "live": service.liveness.as_deref().map(check),
        "watchdog_seconds": service.watchdog.map(seconds),
        "restart": restart(&service.restart),
        "stop_signal": service.stop_signal.to_string(),
        "stop_command": service.stop_command.as_deref().map(words),
        "drain_seconds": seconds(service.drain),
        "grace_seconds": service.grace.map(seconds),
        "on_exit": service.on_exit.word(),
        "success_codes": service.success_codes,
        "log": service.log.word(),
        "log_full": service.log_full.word(),
    })
}

fn on_event(on_event: &OnEvent) -> Value {
    let OnEvent { command, file, events, .. } = on_event;
    let events: Vec<&str> = events.iter().map(|kind| kind.word()).collect();
    json!({"command": words(command), "file": file, "events": events})
}

fn environment(environment: &Environment, read: &[Arc<Variables>]) -> Value {
    let files: Vec<_> = environment.files.iter().map(|(file, _)| file).collect();
    let in_files: Vec<_> =
        read.iter().flat_map(|file| file.iter()).map(|(name, _)| name.to_string_lossy()).collect();
    let set: Vec<_> = environment.set.iter().map(|(name, _)| name).collect();
    json!({"pass": environment.pass, "drop": environment.drop, "files": files, "in_files": in_files, "set": set})
}

fn readiness(readiness: &Readiness) -> Value {
    match readiness {
        Readiness::Check(check) => self::check(check),
        Readiness::Log(text) => json!({"log": text}),
        Readiness::Descriptor(number) => json!({"notify": format!("fd:{number}")}),
        Readiness::Systemd => json!({"notify": "systemd"}),
    }
}

fn check(check: &Check) -> Value {
    let (kind, target, status) = match &check.probe {
        Probe::Tcp(address) => ("tcp", json!(address.to_string()), None),
        Probe::Unix(path) => ("unix", json!(path), None),
        Probe::Http(target) => {
            let url = format!("http://{}{}", target.host, target.path);
            ("http", json!(url), target.status)
        }
        Probe::Exec(command) => ("exec", words(command), None),
        Probe::File(path) => ("file", json!(path), None),
    };
    json!({
        kind: target,
        "status": status,
        "period_seconds": seconds(check.period),
        "timeout_seconds": seconds(check.timeout),
        "failures": check.failures,
    })
}

fn restart(policy: &RestartPolicy) -> Value {
    if policy.when == RestartWhen::Never {
        return json!(policy.when.word());
    }
    json!({
        "policy": policy.when.word(),
        "max": policy.max,
        "within_seconds": seconds(policy.within),
        "delay_seconds": seconds(policy.delay),
        "max_delay_seconds": seconds(policy.max_delay),
    })
}

fn limit(limit: &ResourceLimit) -> (String, Value) {
    let amount = |amount: Option<u64>| amount.map_or(json!("unlimited"), |amount| json!(amount));
    let both = json!({"soft": amount(limit.soft), "hard": amount(limit.hard)});
    (resource::name(limit.resource).to_owned(), both)
}

fn words(words: &[OsString]) -> Value {
    words.iter().map(|word| word.to_string_lossy()).collect()
}

fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

fn account((account, _): &(Account, Place)) -> String {
    match account {
        Account::Name(name) => name.clone(),
        Account::Id(id) => id.to_string(),
    }
}
