//! Several of one service: `workers` with 3 instances becomes `workers@1` to `workers@3`. Pure.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::check::{Check, Probe, Readiness};
use super::listen::Listen;
use super::toml::ConfigError;
use super::{Bundle, Place, Route, Service};

/// More of one service are a mistake.
pub const MOST_INSTANCES: u32 = 1000;

/// How many of a service there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instances {
    /// As many as this, if no variable says otherwise.
    pub count: u32,
    /// The environment variable that says it, and where it is named.
    pub variable: Option<(String, Place)>,
}

/// The bundle with the instances in place of each service that has some. Whoever names such a
/// service means all of its instances.
///
/// # Errors
/// If a variable is no number.
pub fn expand(
    mut bundle: Bundle,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Bundle, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let mut names = BTreeMap::new();
    let mut services = Vec::new();
    for service in std::mem::take(&mut bundle.services) {
        let Some(instances) = &service.instances else {
            services.push(service);
            continue;
        };
        match count(instances, &variable) {
            Ok(count) => {
                let instances: Vec<Service> =
                    (1..=count).map(|number| instance(&service, number)).collect();
                let of_instances = instances.iter().map(|one| one.name.clone()).collect();
                names.insert(service.name.clone(), of_instances);
                services.extend(instances);
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    for service in &mut services {
        rename(&mut service.after, &names);
        rename(&mut service.requires, &names);
    }
    for route in bundle.signals.values_mut() {
        if let Route::Forward { to, .. } | Route::Restart(to) = route {
            rename(to, &names);
        }
    }
    bundle.services = services;
    Ok(bundle)
}

fn count(
    instances: &Instances,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<u32, ConfigError> {
    let Some((name, place)) = &instances.variable else { return Ok(instances.count) };
    let text = variable(name).unwrap_or_default();
    let text = text.to_string_lossy();
    if text.trim().is_empty() {
        return Ok(instances.count);
    }
    let count = text.trim().parse().ok().filter(|count| *count <= MOST_INSTANCES);
    count.ok_or_else(|| ConfigError {
        place: *place,
        message: format!(
            "`instances-env`: {name} is {text:?} in the environment; it takes a whole number from \
             0 to {MOST_INSTANCES}"
        ),
    })
}

fn instance(template: &Service, number: u32) -> Service {
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

fn rename(list: &mut Vec<String>, names: &BTreeMap<String, Vec<String>>) {
    let renamed = |name: String| names.get(&name).cloned().unwrap_or_else(|| vec![name]);
    *list = std::mem::take(list).into_iter().flat_map(renamed).collect();
}

#[cfg(test)]
mod tests {
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
        assert_eq!(web.requires, ["worker@1", "worker@2"]);
        let Some(Route::Forward { to, .. }) = bundle.signals.values().next() else {
            panic!("a route")
        };
        assert_eq!(to, &["worker@1", "worker@2"]);
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
