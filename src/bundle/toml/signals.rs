//! Parses `[signals]`.

use std::collections::{BTreeMap, BTreeSet};

use strict_toml::{DeTable, DeValue, Diagnostics, Placed, Section, listed};

use crate::bundle::{MAIN, Route, Service};
use crate::signal::Signal;

pub(super) const KEYS: [&str; 5] = ["to", "as", "restart", "reload", "drop"];

/// The names of the services.
struct Known<'a> {
    in_order: Vec<&'a str>,
    sorted: BTreeSet<&'a str>,
}

pub(super) fn routes<'text>(
    table: &DeTable<'text>,
    services: &[Service],
    diagnostics: &mut Diagnostics<'text>,
) -> BTreeMap<Signal, Route> {
    let in_order: Vec<&str> = services.iter().map(|service| &*service.name).collect();
    let services = Known { sorted: in_order.iter().copied().collect(), in_order };
    let mut routes = BTreeMap::new();
    for (name, value) in table.iter() {
        let signal = match name.get_ref().as_ref().parse::<Signal>() {
            Ok(signal) => signal,
            Err(error) => {
                diagnostics.add(name.span(), error.to_string());
                continue;
            }
        };
        if let Some(reason) = not_routable(signal) {
            diagnostics.add(name.span(), format!("{signal} can't be routed: {reason}"));
            continue;
        }
        let DeValue::Table(table) = value.get_ref() else {
            let message =
                format!("{signal} takes a table, like {{ to = [\"web\"] }} or {{ drop = true }}");
            diagnostics.add(value.span(), message);
            continue;
        };
        let mut section = Section::new(table, "[signals]", diagnostics);
        section.only(&KEYS, &[]);
        if let Some(route) = route(&mut section, value.span(), &services)
            && routes.insert(signal, route).is_some()
        {
            diagnostics.add(name.span(), format!("a second route for {signal}"));
        }
    }
    routes
}

fn not_routable(signal: Signal) -> Option<&'static str> {
    match signal {
        Signal::TERM | Signal::INT => Some("it begins the shutdown of the bundle"),
        Signal::KILL | Signal::STOP => Some("no process ever sees it"),
        Signal::CHLD => Some("the init needs it to reap its children"),
        _ => None,
    }
}

fn route(section: &mut Section, span: std::ops::Range<usize>, services: &Known) -> Option<Route> {
    let to = section.strings("to");
    let as_signal = section.parsed::<Signal>("as");
    let drop = section.boolean("drop").unwrap_or(false);
    let reload = section.boolean("reload").unwrap_or(false);
    let is_more = to.is_some() || as_signal.is_some() || drop;
    if let Some(restart) = section.strings("restart") {
        if is_more || reload {
            section.report(span, "`restart` can't be combined with other keys");
            return None;
        }
        return Some(Route::Restart(targets(section, restart, &span, services)));
    }
    if reload {
        if is_more {
            section.report(span, "reload = true can't be combined with other keys");
        }
        return Some(Route::Reload);
    }
    match (to, as_signal, drop) {
        (Some(to), as_signal, false) => {
            let to = targets(section, to, &span, services);
            Some(Route::Forward { to, as_signal: as_signal.map(|signal| signal.value) })
        }
        (None, Some(Placed { value, span }), false) => {
            if !matches!(value, Signal::TERM | Signal::INT) {
                let message = format!(
                    "no service gets {value}; add to = [\"web\"]; without it `as` is TERM or INT"
                );
                section.report(span, message);
            }
            Some(Route::Become(value))
        }
        (None, None, true) => Some(Route::Drop),
        (None, None, false) => {
            section.report(span, "a route has `to`, `as`, `restart`, reload = true or drop = true");
            None
        }
        _ => {
            section.report(span, "drop = true can't be combined with other keys");
            None
        }
    }
}

fn targets(
    section: &mut Section,
    to: Vec<Placed<&str>>,
    span: &std::ops::Range<usize>,
    services: &Known,
) -> Vec<String> {
    if to.is_empty() {
        section.report(span.clone(), "`to` is empty; write drop = true to drop the signal");
    }
    let mut names = Vec::<String>::new();
    let mut seen = BTreeSet::new();
    for Placed { value, span } in to {
        if value != MAIN && !services.sorted.contains(value) {
            section.diagnostics.add_with(span, || {
                let known = listed(&services.in_order, ", ");
                format!("there is no service \"{value}\"; the bundle has {known}")
            });
        } else if !seen.insert(value) {
            section.report(span, format!("\"{value}\" is in the list already"));
        } else {
            names.push(value.to_owned());
        }
    }
    names
}
