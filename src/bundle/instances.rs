//! Several of one service: `workers` with 3 instances becomes `workers@1` to `workers@3`. Pure.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use strict_toml::{ConfigError, Place};

use super::health_check::{Check, Probe, Readiness};
use super::listen::Listen;
use super::{Bundle, MOST_SERVICES, Service};

/// More of one service are a mistake.
pub const MOST_INSTANCES: u32 = 1000;
/// How much all instances together may take: a few lines of a file must not fill our memory.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// How many of a service there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instances {
    /// As many as this, if no variable says otherwise.
    pub count: u32,
    /// The environment variable that says it.
    pub variable: Option<String>,
    /// Where the file says so.
    pub place: Place,
    /// About how much memory one of them takes.
    pub bytes: usize,
}

/// The bundle with the instances in place of each service that has some. Whoever names such a
/// service, in the routes of signals too, means all of its instances; it goes by the name of the
/// service itself, since every pair would be far too many.
///
/// # Errors
/// If a variable is no number, or there are too many instances; then none is made.
pub fn expand(
    mut bundle: Bundle,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Bundle, Vec<ConfigError>> {
    let (mut errors, mut counts) = (Vec::new(), Vec::new());
    let (mut services, mut bytes) = (0, 0);
    for service in &bundle.services {
        let Some(instances) = &service.instances else {
            services += 1;
            counts.push(1);
            continue;
        };
        let count = count(instances, &variable).unwrap_or_else(|error| {
            errors.push(error);
            0
        });
        let (fit, fitted) = (services <= MOST_SERVICES, bytes <= MOST_BYTES);
        services += count;
        bytes += count.saturating_mul(instances.bytes);
        let mut too_many = |message| errors.push(ConfigError { place: instances.place, message });
        if fit && services > MOST_SERVICES {
            too_many(format!("with these instances there are more than {MOST_SERVICES} services"));
        }
        if fitted && bytes > MOST_BYTES {
            too_many(format!(
                "with these instances the bundle takes more than {MOST_BYTES} bytes of memory"
            ));
        }
        counts.push(count);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let is_none =
        |(service, count): &(&Service, &usize)| (**count == 0).then(|| service.name.clone());
    let none: BTreeSet<String> =
        bundle.services.iter().zip(&counts).filter_map(|both| is_none(&both)).collect();
    let mut expanded = Vec::with_capacity(services);
    for (mut service, count) in std::mem::take(&mut bundle.services).into_iter().zip(counts) {
        service.after.retain(|name| !none.contains(name));
        service.requires.retain(|name| !none.contains(name));
        match service.instances {
            None => expanded.push(service),
            Some(_) => expanded.extend((1..=count).map(|number| instance(&service, number))),
        }
    }
    bundle.services = expanded;
    Ok(bundle)
}

fn count(
    instances: &Instances,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<usize, ConfigError> {
    let in_file = instances.count as usize;
    let Some(name) = &instances.variable else { return Ok(in_file) };
    let text = variable(name).unwrap_or_default();
    let text = text.to_string_lossy();
    if text.trim().is_empty() {
        return Ok(in_file);
    }
    let count = text.trim().parse().ok().filter(|count| *count <= MOST_INSTANCES as usize);
    count.ok_or_else(|| ConfigError {
        place: instances.place,
        message: format!(
            "`instances-env`: {name} is {text:?} in the environment; it takes a whole number from \
             0 to {MOST_INSTANCES}"
        ),
    })
}

fn instance(template: &Service, number: usize) -> Service {
    let mut service = template.clone();
    service.instances = None;
    service.instance_of = Some(template.name.clone());
    service.name = format!("{}@{number}", template.name);
    let number = number.to_string();
    let words = |words: &mut Vec<OsString>| {
        words.iter_mut().for_each(|word| *word = filled_in(word, &number));
    };
    let path = |path: &mut PathBuf| *path = filled_in(path.as_os_str(), &number).into();
    words(&mut service.command);
    service.stop_command.iter_mut().for_each(words);
    service.working_directory.iter_mut().for_each(path);
    for listen in &mut service.listen {
        if let Listen::Unix(place) = listen {
            path(place);
        }
    }
    for (_, value) in &mut service.environment.set {
        *value = filled_in(OsStr::new(value), &number).to_string_lossy().into_owned();
    }
    let readiness = service.readiness.iter_mut().filter_map(|readiness| match readiness {
        Readiness::Check(check) => Some(check),
        _ => None,
    });
    for Check { probe, .. } in readiness.chain(&mut service.liveness) {
        match probe {
            Probe::Exec(command) => words(command),
            Probe::Unix(place) | Probe::File(place) => path(place),
            Probe::Tcp(_) | Probe::Http(_) => {}
        }
    }
    service
}

/// `%i` becomes the number, and `%%` a percent sign.
fn filled_in(text: &OsStr, number: &str) -> OsString {
    let mut filled = Vec::new();
    let mut bytes = text.as_bytes().iter().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'%', Some(b'i')) => {
                bytes.next();
                filled.extend_from_slice(number.as_bytes());
            }
            (b'%', Some(b'%')) => {
                bytes.next();
                filled.push(b'%');
            }
            _ => filled.push(*byte),
        }
    }
    OsString::from_vec(filled)
}

#[cfg(test)]
mod tests {
    use super::super::Route;
    use super::*;

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
        let bundle = super::super::toml::parse("b.toml", TEXT).unwrap();
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
        let Some(Readiness::Check(Check { probe: Probe::Unix(path), .. })) = &second.readiness
        else {
            panic!("a socket")
        };
        assert_eq!(path.to_str(), Some("/run/worker-2"));
        assert_eq!(web.command, ["echo", "%i"], "it has no instances");
        assert_eq!(web.requires, ["worker"]);
        let Some(Route::Forward { to, .. }) = bundle.signals.values().next() else {
            panic!("a route")
        };
        assert_eq!(to, &["worker"]);
    }

    fn expand_text(text: &str) -> Result<Bundle, Vec<ConfigError>> {
        expand(super::super::toml::parse("b.toml", text).unwrap(), |_| None)
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
        let large =
            format!("[[service]]\nname = \"a\"\ncommand = [\"{text}\"]\ninstances = 1000\n");
        let errors = expand_text(&large).unwrap_err();
        assert!(errors[0].message.contains("of memory"), "{errors:?}");
    }

    #[test]
    fn who_names_a_service_without_instances_names_nobody() {
        let service = "[[service]]\ncommand = [\"x\"]\n";
        let text = format!(
            "{service}name = \"a\"\ninstances = 0\n{service}name = \"b\"\nafter = [\"a\"]\n"
        );
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
            assert_eq!(errors[0].place, Place { line: 7, column: 25 });
            assert!(errors[0].message.contains("from 0 to 1000"), "{errors:?}");
        }
    }
}
