//! Which services of a bundle there are: those that are selected, and the instances of each.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::ffi::OsString;

use sidecar_init::bundle::health_check::{Probe, Readiness};
use sidecar_init::bundle::instances::expand;
use sidecar_init::bundle::selection::{Selection, drop_lost_routes, missing, narrow, select};
use sidecar_init::bundle::toml::{ConfigError, ConfigErrors};
use sidecar_init::bundle::{Bundle, Place, Route};

/// Parses it, and keeps it for the schema's test.
fn parse(file: &str, text: &str) -> Result<Bundle, ConfigErrors> {
    test_support::bundles::keep(text);
    sidecar_init::bundle::toml::parse(file, text)
}

fn bundle() -> Bundle {
    let services: String = ["egress", "pipelock", "git-gate"]
        .iter()
        .map(|name| format!("[[service]]\nname = \"{name}\"\ncommand = [\"true\"]\n"))
        .collect();
    let text = format!("{services}[signals]\nHUP = {{ to = [\"egress\", \"pipelock\"] }}\n");
    parse("bundle.toml", &text).unwrap()
}

fn kept(text: &str) -> Vec<usize> {
    select(&bundle(), text).kept
}

#[test]
fn order_spaces_and_duplicates_do_not_matter() {
    assert_eq!(kept("pipelock,egress"), [0, 1]);
    assert_eq!(kept(" egress ,, pipelock,egress , "), [0, 1]);
}

#[test]
fn no_name_means_all() {
    assert_eq!(kept(""), [0, 1, 2]);
    assert_eq!(kept(" , "), [0, 1, 2]);
}

#[test]
fn unknown_names_are_told_and_select_nothing() {
    let selection = select(&bundle(), "web,egress,web");
    assert_eq!(selection, Selection { kept: vec![0], unknown: vec!["web".to_owned()] });
    assert!(kept("web").is_empty());
}

#[test]
fn required_oneshots_come_along_and_required_daemons_do_not() {
    let text = r#"
        [[service]]
        name = "keys"
        type = "oneshot"
        command = ["true"]
        [[service]]
        name = "ca"
        type = "oneshot"
        command = ["true"]
        requires = ["keys"]
        [[service]]
        name = "pipelock"
        command = ["true"]
        requires = ["ca"]
        [[service]]
        name = "supervise"
        command = ["true"]
        requires = ["pipelock"]
    "#;
    let bundle = parse("bundle.toml", text).unwrap();
    let kept = |text: &str| select(&bundle, text).kept;
    assert_eq!(kept("pipelock"), [0, 1, 2]);
    assert_eq!(kept("ca"), [0, 1]);
    assert_eq!(kept("supervise"), [3]);
    let left_out = missing(&bundle, &select(&bundle, "supervise"));
    assert_eq!(left_out, [("supervise".to_owned(), "pipelock".to_owned())]);
}

#[test]
fn signals_go_only_to_what_is_left() {
    let mut narrowed = narrow(bundle(), &select(&bundle(), "pipelock"));
    drop_lost_routes(&mut narrowed);
    assert_eq!(names(&narrowed), ["pipelock"]);
    let to = vec!["pipelock".to_owned()];
    let route = Route::Forward { to, as_signal: None };
    assert_eq!(narrowed.signals.values().collect::<Vec<_>>(), [&route]);

    let mut narrowed = narrow(bundle(), &select(&bundle(), "git-gate"));
    drop_lost_routes(&mut narrowed);
    assert!(narrowed.signals.is_empty());
}

const TEXT: &str = r#"
    [[service]]
    name = "worker"
    command = ["work", "--port=900%i", "100%%", "%", "%x"]
    environment = { NUMBER = "%i" }
    instances = 2
    instances-env = "WORKERS"
    ready = { unix = "/run/worker-%i" }
    [[service]]
    name = "web"
    command = ["echo", "%i"]
    requires = ["worker"]
    [signals]
    HUP = { to = ["worker"] }
"#;

fn expanded(value: Option<&str>) -> Result<Bundle, Vec<ConfigError>> {
    let bundle = parse("b.toml", TEXT).unwrap();
    expand(bundle, |name| {
        assert_eq!(name, "WORKERS");
        value.map(OsString::from)
    })
}

fn names(bundle: &Bundle) -> Vec<&str> {
    bundle.services.iter().map(|service| &*service.name).collect()
}

#[test]
fn each_has_its_number() {
    let bundle = expanded(None).unwrap();
    assert_eq!(names(&bundle), ["worker@1", "worker@2", "web"]);
    let [_, second, web] = &bundle.services[..] else { panic!("three of them") };
    assert_eq!(second.command, ["work", "--port=9002", "100%", "%", "%x"]);
    assert_eq!(second.environment.set, [("NUMBER".to_owned(), "2".to_owned())]);
    let Some(Readiness::Check(check)) = &second.readiness else { panic!("a check") };
    let Probe::Unix(path) = &check.probe else { panic!("a socket") };
    assert_eq!(path.to_str(), Some("/run/worker-2"));
    assert_eq!(web.command, ["echo", "%i"], "it has no instances");
    assert_eq!(web.requires, ["worker"]);
    let Some(Route::Forward { to, .. }) = bundle.signals.values().next() else { panic!("a route") };
    assert_eq!(to, &["worker"]);
}

fn expand_text(text: &str) -> Result<Bundle, Vec<ConfigError>> {
    expand(parse("b.toml", text).unwrap(), |_| None)
}

#[test]
fn too_many_are_refused_before_there_is_one() {
    let services = |count: usize| -> String {
        let service = |number| {
            format!("[[service]]\nname = \"s{number}\"\ncommand = [\"x\"]\ninstances = 1000\n")
        };
        (0..count).map(service).collect()
    };
    assert_eq!(expand_text(&services(10)).map(|bundle| bundle.services.len()), Ok(10_000));
    let errors = expand_text(&services(12)).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].place, Place { line: 44, column: 13 });
    assert!(errors[0].message.contains("more than 10000 services"), "{errors:?}");

    let text = "x".repeat(20_000);
    let large = format!("[[service]]\nname = \"a\"\ncommand = [\"{text}\"]\ninstances = 1000\n");
    let errors = expand_text(&large).unwrap_err();
    assert!(errors[0].message.contains("of memory"), "{errors:?}");
}

#[test]
fn who_names_a_service_without_instances_names_nobody() {
    let service = "[[service]]\ncommand = [\"x\"]\n";
    let text =
        format!("{service}name = \"a\"\ninstances = 0\n{service}name = \"b\"\nafter = [\"a\"]\n");
    let bundle = expand_text(&text).unwrap();
    assert_eq!(names(&bundle), ["b"]);
    assert!(bundle.services[0].names_nobody());
}

#[test]
fn the_environment_says_how_many() {
    let count = |value| expanded(value).map(|bundle| bundle.services.len() - 1);
    assert_eq!(count(Some(" 3 ")), Ok(3));
    assert_eq!(count(Some("")), Ok(2));
    assert_eq!(count(Some("0")), Ok(0));
    for wrong in ["three", "-1", "1001", "1.5"] {
        let errors = count(Some(wrong)).unwrap_err();
        assert_eq!(errors[0].place, Place { line: 7, column: 21 });
        assert!(errors[0].message.contains("from 0 to 1000"), "{errors:?}");
    }
}
