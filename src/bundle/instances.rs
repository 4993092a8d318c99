//! Instances: `workers` with 3 instances becomes `workers@1` to `workers@3`. Pure.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use strict_toml::{ConfigError, Place};

use super::health_check::{Probe, Readiness};
use super::listen::Listen;
use super::{Bundle, MOST_SERVICES, Service};

/// More instances than this are an error.
pub const MOST_INSTANCES: u32 = 1000;
/// The most memory for all instances together: a few lines of a file must not use up our memory.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// The number of instances of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instances {
    /// The number, unless the variable is set.
    pub count: u32,
    /// The environment variable with the number.
    pub variable: Option<String>,
    /// Where the file sets it.
    pub place: Place,
    /// About how much memory one instance uses.
    pub bytes: usize,
}

/// The bundle with instances in place of each service that has some. References to such a service, also
/// in signal routes, mean all of its instances. They keep the name of the service, because one
/// reference for each pair would use too much memory.
///
/// # Errors
/// If a variable is not a number, or there are too many instances; the bundle is unchanged then.
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
    let none = bundle.services.iter().zip(&counts).filter(|(_, count)| **count == 0);
    let none: BTreeSet<String> = none.map(|(service, _)| service.name.clone()).collect();
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
    let Service { name, mut command, settings } = template.clone();
    let mut settings = Arc::unwrap_or_clone(settings);
    settings.instances = None;
    settings.instance_of = Some(template.name.clone());
    let name = format!("{name}@{number}");
    let number = number.to_string();
    let words = |words: &mut Vec<OsString>| {
        words.iter_mut().for_each(|word| *word = filled_in(word, &number));
    };
    let path = |path: &mut PathBuf| *path = filled_in(path.as_os_str(), &number).into();
    words(&mut command);
    settings.stop_command.iter_mut().for_each(words);
    settings.working_directory.iter_mut().for_each(path);
    for listen in &mut settings.listen {
        if let Listen::Unix(place) = listen {
            path(place);
        }
    }
    for (_, value) in &mut settings.environment.set {
        *value = filled_in(OsStr::new(value), &number).to_string_lossy().into_owned();
    }
    let readiness = settings.readiness.iter_mut().filter_map(|readiness| match readiness {
        Readiness::Check(check) => Some(check),
        _ => None,
    });
    for check in readiness.chain(&mut settings.liveness) {
        match &mut check.probe {
            Probe::Exec(command) => words(command),
            Probe::Unix(place) | Probe::File(place) => path(place),
            Probe::Tcp(_) | Probe::Http(_) => {}
        }
    }
    Service { name, command, settings: settings.into() }
}

/// Replaces `%i` by the number, and `%%` by a percent sign.
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
