//! What is about to be run, with every question answered that can be answered before anything
//! is started: accounts are looked up, files are read, and the core's policy is drawn up.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::environment::{self, Variables};
use crate::bundle::toml::ConfigError;
use crate::bundle::{Bundle, LogMode, MAIN, OnEvent, Place, Route, Service, selection};
use crate::identity::{self, Accounts, Resolved};
use crate::signal::Signal;
use crate::supervisor::{Otherwise, Policy, ServiceId, ServicePolicy, SignalRoute, Target};

mod reload;

use reload::Definition;

/// A bundle that is ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the user wrote; for one command, a bundle of one.
    pub bundle: Bundle,
    /// Who each service runs as, in the bundle's order; `None`: as the init does.
    pub identities: Vec<Option<Resolved>>,
    /// What each service's environment files say, in the bundle's order.
    pub environment_files: Vec<Variables>,
    /// Where services start that name no place.
    pub directory: PathBuf,
    /// The service that has the terminal, and the init's own standard descriptors.
    pub foreground: Option<ServiceId>,
    /// Whether it is one command, for which the init is to be as transparent as it can.
    pub is_one_command: bool,
    /// What the core decides by.
    pub policy: Arc<Policy>,
    /// What is to take the place of a service when its process has ended.
    replacements: BTreeMap<ServiceId, Definition>,
}

/// How one command is to be run.
#[derive(Clone, Debug)]
pub struct CommandOptions {
    /// How long it may take to end.
    pub grace: Duration,
    /// Who gets the signals.
    pub target: Target,
    /// What becomes of a signal; `None` drops it.
    pub map: BTreeMap<Signal, Option<Signal>>,
    /// What the command gets when the init dies.
    pub parent_death_signal: Option<Signal>,
}

impl Plan {
    /// One command, with the init's own environment, directory, descriptors and terminal.
    pub fn command(command: Vec<OsString>, options: &CommandOptions) -> Plan {
        let mut service = plain_service(command);
        service.parent_death_signal = options.parent_death_signal;
        let id = ServiceId(0);
        let target = options.target;
        let policy = Policy {
            services: vec![ServicePolicy {
                stop_signal: None,
                stop_target: target,
                ..policy_of(&service)
            }],
            grace: options.grace,
            signals: command_routes(&options.map, id, target),
            otherwise: Otherwise::Forward(id, target),
            code_of_first: true,
            ..Policy::default()
        };
        Plan {
            bundle: Bundle {
                name: "command".to_owned(),
                select_env: None,
                socket: None,
                on_event: OnEvent::default(),
                grace: options.grace,
                log: LogMode::Inherit,
                services: vec![service],
                signals: BTreeMap::new(),
            },
            identities: vec![None],
            environment_files: vec![Vec::new()],
            directory: PathBuf::new(),
            foreground: Some(id),
            is_one_command: true,
            policy: policy.into(),
            replacements: BTreeMap::new(),
        }
    }

    /// A bundle, already narrowed to what is selected, with a main command beside it if one is
    /// given.
    ///
    /// # Errors
    /// Everything that the machine lacks: accounts, and files with variables.
    pub fn bundle(
        mut bundle: Bundle,
        main: Option<Vec<OsString>>,
    ) -> Result<Plan, Vec<ConfigError>> {
        let foreground = main.as_ref().map(|_| ServiceId(bundle.services.len()));
        bundle.services.extend(main.map(plain_service));
        selection::drop_lost_routes(&mut bundle);
        let accounts = Accounts::read();
        let current = identity::current();
        let mut errors = Vec::new();
        let mut identities = Vec::new();
        let mut environment_files = Vec::new();
        for service in &bundle.services {
            match accounts.resolve(&service.identity, &current) {
                Ok(resolved) => identities.push(resolved),
                Err(wrong) => errors.extend(wrong),
            }
            match read_environment_files(&service.environment.files) {
                Ok(variables) => environment_files.push(variables),
                Err(wrong) => errors.extend(wrong),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let policy = Policy {
            services: policies(&bundle.services, foreground),
            grace: bundle.grace,
            signals: bundle_routes(&bundle),
            otherwise: Otherwise::DropWithNote,
            code_of_first: false,
            in_file_order: bundle.services.iter().all(Service::names_nobody),
            seed: u64::from(std::process::id()) ^ clock(),
        };
        // A directory that has been deleted has no name; `/` is always there.
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Ok(Plan {
            bundle,
            identities,
            environment_files,
            directory,
            foreground,
            is_one_command: false,
            policy: policy.into(),
            replacements: BTreeMap::new(),
        })
    }
}

impl Plan {
    /// What the service is called in messages; one command by its program.
    pub fn name(&self, id: ServiceId) -> String {
        let Some(service) = self.bundle.services.get(id.0) else { return String::new() };
        match service.command.first() {
            Some(program) if self.is_one_command => program.to_string_lossy().into_owned(),
            _ => service.name.clone(),
        }
    }

    /// The services that are in the bundle, in the order of their ids.
    pub fn ids(&self) -> impl Iterator<Item = ServiceId> {
        let is_retired = |id: &ServiceId| self.policy.services[id.0].is_retired;
        (0..self.bundle.services.len()).map(ServiceId).filter(move |id| !is_retired(id))
    }

    /// The names of all services there ever were, in the order of their ids.
    pub fn names(&self) -> Vec<String> {
        (0..self.bundle.services.len()).map(|index| self.name(ServiceId(index))).collect()
    }
}

/// A command given on the command line.
fn plain_service(command: Vec<OsString>) -> Service {
    Service {
        name: MAIN.to_owned(),
        command,
        success_codes: Vec::new(),
        log: LogMode::Inherit,
        ..Service::default()
    }
}

fn policy_of(service: &Service) -> ServicePolicy {
    ServicePolicy {
        stop_signal: Some(service.stop_signal),
        stop_target: Target::Process,
        grace: service.grace,
        on_exit: service.on_exit,
        success_codes: service.success_codes.clone(),
        kind: service.kind,
        when_required_exits: service.when_required_exits,
        has_readiness: service.readiness.is_some(),
        start_timeout: service.start_timeout,
        restart: service.restart,
        drain: service.drain,
        has_stop_command: service.stop_command.is_some(),
        ..ServicePolicy::default()
    }
}

/// The policies of all services, in the bundle's order, each with those that it names; the main
/// command comes after all others.
fn policies(services: &[Service], main: Option<ServiceId>) -> Vec<ServicePolicy> {
    let by_name: BTreeMap<&str, ServiceId> = services
        .iter()
        .zip(0..)
        .map(|(service, index)| (&*service.name, ServiceId(index)))
        .collect();
    let ids = |names: &[String]| -> Vec<ServiceId> {
        names.iter().filter_map(|name| by_name.get(&**name).copied()).collect()
    };
    let policy = |(service, index): (&Service, usize)| {
        let requires = ids(&service.requires);
        let after = match main == Some(ServiceId(index)) {
            true => (0..index).map(ServiceId).collect(),
            false => [ids(&service.after), requires.clone()].concat(),
        };
        ServicePolicy { after, requires, place: index, ..policy_of(service) }
    };
    services.iter().zip(0..).map(policy).collect()
}

/// TERM and INT begin the shutdown whatever they are rewritten to, and so does what is rewritten
/// to one of them.
fn command_routes(
    map: &BTreeMap<Signal, Option<Signal>>,
    id: ServiceId,
    target: Target,
) -> BTreeMap<Signal, SignalRoute> {
    let ends = |signal: Signal| matches!(signal, Signal::TERM | Signal::INT);
    let route = |(from, to): (&Signal, &Option<Signal>)| {
        let route = match to {
            None => SignalRoute::Drop,
            Some(to) if ends(*from) || ends(*to) => SignalRoute::Shutdown(*to),
            Some(to) => SignalRoute::Forward(vec![id], *to, target),
        };
        (*from, route)
    };
    map.iter().map(route).collect()
}

fn bundle_routes(bundle: &Bundle) -> BTreeMap<Signal, SignalRoute> {
    let id = |name: &String| {
        bundle.services.iter().position(|service| service.name == *name).map(ServiceId)
    };
    let route = |(signal, route): (&Signal, &Route)| {
        let route = match route {
            Route::Forward { to, as_signal } => SignalRoute::Forward(
                to.iter().filter_map(id).collect(),
                as_signal.unwrap_or(*signal),
                Target::Process,
            ),
            Route::Restart(services) => {
                SignalRoute::Restart(services.iter().filter_map(id).collect())
            }
            Route::Reload => SignalRoute::Reload,
            Route::Become(signal) => SignalRoute::Shutdown(*signal),
            Route::Drop => SignalRoute::Drop,
        };
        (*signal, route)
    };
    bundle.signals.iter().map(route).collect()
}

/// Something that differs from container to container, so that not all wait equally long.
fn clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::from(since.subsec_nanos()))
}

fn read_environment_files(files: &[(PathBuf, Place)]) -> Result<Variables, Vec<ConfigError>> {
    let (mut variables, mut errors) = (Vec::new(), Vec::new());
    for (file, place) in files {
        let shown = file.display().to_string();
        let read = crate::file::read_text(file)
            .map_err(|error| vec![format!("can't read the environment file {shown}: {error}")])
            .and_then(|text| environment::parse_file(&shown, &text));
        match read {
            Ok(read) => variables.extend(read),
            Err(messages) => {
                let error = |message| ConfigError { place: *place, message };
                errors.extend(messages.into_iter().map(error));
            }
        }
    }
    if errors.is_empty() { Ok(variables) } else { Err(errors) }
}
