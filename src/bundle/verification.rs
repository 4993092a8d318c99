//! Checks a bundle that was built in code for errors that the parser finds in a file. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use strict_toml::listed;

use super::cycle::cycle;
use super::health_check::Readiness;
use super::{Bundle, Service};
use crate::duration::{LONGEST, LONGEST_GRACE};

/// One line for each error.
pub(crate) fn verify(bundle: &Bundle) -> Vec<String> {
    let services = &bundle.services;
    let mut wrong = Vec::new();
    if bundle.grace > LONGEST_GRACE {
        wrong.push(too_long("the bundle", "grace", LONGEST_GRACE));
    }
    let mut by_name = BTreeMap::new();
    for (index, service) in services.iter().enumerate() {
        let name = &service.name;
        if by_name.insert(name.as_str(), index).is_some() {
            wrong.push(format!("there are two services \"{name}\""));
        }
        if service.command.is_empty() {
            wrong.push(format!("service \"{name}\" has no command"));
        }
        let long = spans(service).into_iter().filter(|(_, span)| *span > LONGEST);
        let of = format!("service \"{name}\"");
        wrong.extend(long.map(|(key, _)| too_long(&of, key, LONGEST)));
    }
    let edges: Vec<Vec<usize>> = services
        .iter()
        .map(|service| service.after.iter().chain(&service.requires))
        .map(|names| names.filter_map(|name| by_name.get(&**name).copied()).collect())
        .collect();
    if let Some(cycle) = cycle(&edges) {
        let names: Vec<&str> = cycle.iter().map(|index| &*services[*index].name).collect();
        let names = listed(&names, ", ");
        wrong.push(format!("a cycle of `after` and `requires`: {names}"));
    }
    wrong
}

fn too_long(whose: &str, key: &str, longest: Duration) -> String {
    let hours = longest.as_secs() / 3600;
    format!("`{key}` of {whose} is too long; it is at most {hours}h")
}

/// All its durations.
fn spans(service: &Service) -> Vec<(&'static str, Duration)> {
    let ready = match &service.readiness {
        Some(Readiness::Check(check)) => Some(check),
        _ => None,
    };
    let checks = ready.into_iter().chain(&service.liveness);
    let checks = checks.flat_map(|check| [("period", check.period), ("timeout", check.timeout)]);
    let restart = &service.restart;
    let others = [
        ("restart", restart.within.max(restart.delay).max(restart.max_delay)),
        ("drain", service.drain),
        ("grace", service.grace.unwrap_or_default()),
        ("start-timeout", service.start_timeout.unwrap_or_default()),
        ("watchdog", service.watchdog.unwrap_or_default()),
    ];
    checks.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_file_may_say_is_refused_of_code_too() {
        let mut bundle = Bundle::new("test");
        assert_eq!(verify(&bundle), [""; 0]);
        let mut one = Service::new("one", ["true"]);
        one.start_timeout = Some(Duration::MAX);
        one.requires = vec!["two".to_owned()];
        let mut two = Service::new("two", ["true"]);
        two.after = vec!["one".to_owned(), "nobody".to_owned()];
        bundle.services = vec![one, two.clone(), two, Service::new("none", [""; 0])];
        bundle.grace = Duration::MAX;
        assert_eq!(
            verify(&bundle),
            [
                "`grace` of the bundle is too long; it is at most 1h",
                "`start-timeout` of service \"one\" is too long; it is at most 8760h",
                "there are two services \"two\"",
                "service \"none\" has no command",
                "a cycle of `after` and `requires`: one, two",
            ]
        );
    }
}
