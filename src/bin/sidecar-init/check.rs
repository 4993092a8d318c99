//! `sidecar-init check`: says what would be run, and runs nothing.

use std::fmt::Write;

use serde_json::{Value, json};
use sidecar_init::bundle::{Account, Bundle, LogMode, OnExit, Place, Route, Service};

use crate::arguments::CheckRequest;
use crate::run::{plan, print, refuse};

/// Prints the plan of the bundle, or what is wrong with it.
pub(crate) fn check(request: &CheckRequest) -> u8 {
    match plan(&request.source) {
        Ok(plan) if request.json => print(&format!("{:#}\n", as_json(&plan.bundle))),
        Ok(plan) => print(&table(&plan.bundle)),
        Err(refusal) => refuse(&refusal, None),
    }
}

fn table(bundle: &Bundle) -> String {
    let grace = humantime::format_duration(bundle.grace);
    let mut text =
        format!("bundle {}: {} services, grace {grace}\n\n", bundle.name, bundle.services.len());
    let mut rows =
        vec![["#", "SERVICE", "USER", "STOP", "ON EXIT", "LOG", "COMMAND"].map(str::to_owned)];
    for (number, service) in (1..).zip(&bundle.services) {
        let user = service.identity.user.as_ref().map_or("-".to_owned(), account);
        rows.push([
            number.to_string(),
            service.name.clone(),
            user,
            service.stop_signal.to_string(),
            on_exit(service.on_exit).to_owned(),
            log_mode(service.log).to_owned(),
            command(service),
        ]);
    }
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", row[6]);
    }
    for (signal, route) in &bundle.signals {
        let _ = writeln!(text, "\n{signal}: {}", describe(route));
    }
    text
}

fn describe(route: &Route) -> String {
    match route {
        Route::Forward { to, as_signal: None } => format!("to {}", to.join(", ")),
        Route::Forward { to, as_signal: Some(signal) } => {
            format!("to {} as {signal}", to.join(", "))
        }
        Route::Restart(services) => format!("restarts {}", services.join(", ")),
        Route::Reload => "the bundle is read again".to_owned(),
        Route::Become(signal) => format!("taken as {signal}: begins the shutdown"),
        Route::Drop => "dropped".to_owned(),
    }
}

fn as_json(bundle: &Bundle) -> Value {
    let services: Vec<Value> = bundle
        .services
        .iter()
        .map(|service| {
            let words: Vec<_> = service.command.iter().map(|word| word.to_string_lossy()).collect();
            json!({
                "name": service.name,
                "command": words,
                "user": service.identity.user.as_ref().map(account),
                "group": service.identity.group.as_ref().map(account),
                "stop_signal": service.stop_signal.to_string(),
                "grace_seconds": service.grace.map(|grace| grace.as_secs_f64()),
                "on_exit": on_exit(service.on_exit),
                "success_codes": service.success_codes,
                "log": log_mode(service.log),
            })
        })
        .collect();
    let signals: serde_json::Map<String, Value> = bundle
        .signals
        .iter()
        .map(|(signal, route)| (signal.to_string(), Value::String(describe(route))))
        .collect();
    json!({
        "name": bundle.name,
        "select_env": bundle.select_env,
        "grace_seconds": bundle.grace.as_secs_f64(),
        "services": services,
        "signals": signals,
    })
}

fn account((account, _): &(Account, Place)) -> String {
    match account {
        Account::Name(name) => name.clone(),
        Account::Id(id) => id.to_string(),
    }
}

fn on_exit(on_exit: OnExit) -> &'static str {
    match on_exit {
        OnExit::Shutdown => "shutdown",
        OnExit::Ignore => "ignore",
    }
}

fn log_mode(log: LogMode) -> &'static str {
    match log {
        LogMode::Inherit => "inherit",
        LogMode::Prefix => "prefix",
        LogMode::Json => "json",
    }
}

fn command(service: &Service) -> String {
    let words: Vec<String> =
        service.command.iter().map(|word| format!("{:?}", word.to_string_lossy())).collect();
    words.join(" ")
}
