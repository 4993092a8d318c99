//! `sidecar-init check`: prints what would be run, and runs nothing.

use std::fmt::Write;

use serde_json::Value;
use sidecar_init::bundle::Service;
use sidecar_init::plan::{LookedUp, Plan};

use crate::arguments::CheckRequest;
use crate::output::{complain, print};
use crate::plan_json;
use crate::run::refuse;

/// The columns of the table, after the number and before the command.
const COLUMNS: [&str; 5] = ["name", "user", "stop_signal", "on_exit", "log"];

/// Prints the plan of the bundle, or its errors.
pub(crate) fn check(request: &CheckRequest) -> u8 {
    let mut warnings = Vec::new();
    let plan = request.source.load(&mut warnings);
    warnings.iter().for_each(|warning| complain(warning));
    let text = match plan {
        Ok(plan) if request.json => format!("{:#}\n", plan_json::plan(&plan)),
        Ok(plan) => text(&plan),
        Err(refusal) => return refuse(&refusal, None),
    };
    print(&text).err().unwrap_or(0)
}

/// A table of the services, their other settings, and the routes.
fn text(plan: &Plan) -> String {
    let bundle = &plan.bundle;
    let grace = humantime::format_duration(bundle.grace);
    let mut text =
        format!("bundle {}: {} services, grace {grace}\n\n", bundle.name, bundle.services.len());
    let whole = plan_json::plan(plan);
    let services = whole["services"].as_array().map_or(&[][..], Vec::as_slice);
    text.push_str(&table(services));
    let plain = plan_json::service(&Service::default(), &LookedUp::default());
    for service in services {
        let settings = settings(service, &plain);
        if !settings.is_empty() {
            let _ = writeln!(text, "\n{}:\n{settings}", shown(&service["name"]));
        }
    }
    for (signal, route) in &bundle.signals {
        let _ = writeln!(text, "\n{signal}: {}", route);
    }
    text
}

fn table(services: &[Value]) -> String {
    let title = ["#", "SERVICE", "USER", "STOP", "ON EXIT", "LOG", "COMMAND"];
    let mut rows = vec![title.map(str::to_owned).to_vec()];
    for (number, service) in (1..).zip(services) {
        let cells = COLUMNS.iter().map(|column| shown(&service[*column]));
        let command = service["command"].as_array().into_iter().flatten();
        let command: Vec<String> = command.map(Value::to_string).collect();
        rows.push(
            [number.to_string()].into_iter().chain(cells).chain([command.join(" ")]).collect(),
        );
    }
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..title.len() - 1).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", row[title.len() - 1]);
    }
    text
}

/// The settings that are not in the table, and not the defaults.
fn settings(service: &Value, plain: &Value) -> String {
    let lines = service.as_object().into_iter().flatten().filter(|(key, value)| {
        *key != "command" && !COLUMNS.contains(&&***key) && **value != plain[key]
    });
    let lines: Vec<String> =
        lines.map(|(key, value)| format!("  {key}: {}", shown(value))).collect();
    lines.join("\n")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(parts) => {
            let is_set = |value: &Value| !value.is_null() && *value != Value::Array(Vec::new());
            let parts = parts.iter().filter(|(_, value)| is_set(value));
            let parts: Vec<String> =
                parts.map(|(key, value)| format!("{key} {}", shown(value))).collect();
            parts.join(", ")
        }
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
