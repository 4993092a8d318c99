//! What is about to be run. Everything that can be resolved before the start is resolved: accounts are
//! looked up, files are read, and the core's policy is built.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::environment::{self, Variables};
use crate::bundle::listen::Listen;
use crate::bundle::shared::Shared;
use crate::bundle::{
    Bundle, DEFAULT_GRACE, Identity, LogMode, MAIN, Route, Service, Settings, selection,
    verification,
};
use crate::file::Files;
use crate::identity::{self, Accounts, Resolved};
use crate::signal::Signal;
use crate::supervisor::{Otherwise, Policy, Rules, ServiceId, ServicePolicy, SignalRoute, Target};

mod replacement;

use replacement::Definition;
use strict_toml::{ConfigError, ConfigErrors, Place};

/// A bundle that is ready to run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The bundle; for one command, a bundle of one service.
    pub bundle: Bundle,
    /// What was looked up for each service, in the bundle's order.
    pub looked_up: Vec<Arc<LookedUp>>,
    /// The working directory of services that set none.
    pub directory: PathBuf,
    /// The service that has the terminal and the init's own standard streams.
    pub foreground: Option<ServiceId>,
    /// Whether it is one command, for which the init is as transparent as possible.
    pub is_one_command: bool,
    /// What the core decides by.
    pub policy: Arc<Policy>,
    /// New definitions of running services, which apply when their processes have ended.
    replacements: BTreeMap<ServiceId, Definition>,
}

/// What a service's definition names, and is not part of it. Equal ones are stored once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookedUp {
    /// The user and groups; `None`: those of the init.
    pub identity: Option<Resolved>,
    /// The variables of the environment files; a file that several services name is stored once.
    pub environment_files: Vec<Arc<Variables>>,
}

/// The options of one command.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommandOptions {
    /// The grace period.
    pub grace: Duration,
    /// Whether signals go to the process or to its group.
    pub target: Target,
    /// Signals that are forwarded as another one; `None` drops the signal.
    pub map: BTreeMap<Signal, Option<Signal>>,
    /// The signal that the command gets when the init dies.
    pub parent_death_signal: Option<Signal>,
}

/// The defaults of the command line.
impl Default for CommandOptions {
    fn default() -> CommandOptions {
        CommandOptions {
            grace: DEFAULT_GRACE,
            target: Target::Process,
            map: BTreeMap::new(),
            parent_death_signal: None,
        }
    }
}

impl Plan {
    /// A bundle that was built in code or parsed from a text: looks up its accounts and reads its
    /// files. Unknown names in `after` and `requires` are ignored.
    ///
    /// # Errors
    /// Accounts and files that do not exist, and errors that a file may not have: durations that are
    /// too long, duplicate names, cycles.
    pub fn new(bundle: Bundle) -> Result<Plan, ConfigErrors> {
        let name = bundle.name.clone();
        let wrong = verification::verify(&bundle);
        if !wrong.is_empty() {
            let error = |message| ConfigError { place: Place::default(), message };
            return Err(ConfigErrors::new(&name, wrong.into_iter().map(error).collect()));
        }
        Plan::bundle(bundle, None, &mut Files::default())
            .map_err(|errors| ConfigErrors::new(&name, errors))
    }

    /// One command, with the init's own environment, directory, descriptors and terminal.
    pub fn command(command: Vec<OsString>, options: &CommandOptions) -> Plan {
        let mut service = plain_service(command);
        service.parent_death_signal = options.parent_death_signal;
        let id = ServiceId(0);
        let target = options.target;
        let policy = Policy {
            services: vec![
                Rules { stop_signal: None, stop_target: target, ..rules_of(&service) }.into(),
            ],
            grace: options.grace,
            signals: command_routes(&options.map, id, target),
            otherwise: Otherwise::Forward(id, target),
            code_of_first: true,
            ..Policy::default()
        };
        Plan {
            bundle: Bundle {
                grace: options.grace,
                log: LogMode::Inherit,
                services: vec![service],
                ..Bundle::new("command")
            },
            looked_up: vec![Arc::default()],
            directory: PathBuf::new(),
            foreground: Some(id),
            is_one_command: true,
            policy: policy.into(),
            replacements: BTreeMap::new(),
        }
    }

    /// A bundle with only the selected services, and a main command beside it if one is given.
    ///
    /// # Errors
    /// Accounts and environment files that do not exist.
    pub(crate) fn bundle(
        mut bundle: Bundle,
        main: Option<Vec<OsString>>,
        files: &mut Files,
    ) -> Result<Plan, Vec<ConfigError>> {
        let foreground = main.as_ref().map(|_| ServiceId(bundle.services.len()));
        bundle.services.extend(main.map(plain_service));
        selection::drop_lost_routes(&mut bundle);
        let needs_accounts = |service: &Service| service.identity != Identity::default();
        let accounts = match bundle.services.iter().any(needs_accounts) {
            true => Accounts::read(files),
            false => Accounts::default(),
        };
        let current = identity::current();
        let mut errors = Vec::new();
        let mut looked_up = Vec::with_capacity(bundle.services.len());
        let mut known = BTreeMap::new();
        let (mut settings, mut results) = (Shared::new(), Shared::new());
        for service in &mut bundle.services {
            let identity = accounts.resolve(&service.identity, &current);
            let identity = identity.unwrap_or_else(|wrong| {
                errors.extend(wrong);
                None
            });
            let named = &service.environment.files;
            let environment_files = environment_of(named, files, &mut known, &mut errors);
            looked_up.push(results.get(LookedUp { identity, environment_files }.into()));
            // Positions were only for messages: a service has not changed if it is on another line.
            if has_places(service) {
                forget_places(service);
            }
            service.settings = settings.get(Arc::clone(&service.settings));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Plan::of(bundle, looked_up, foreground))
    }

    fn of(bundle: Bundle, looked_up: Vec<Arc<LookedUp>>, foreground: Option<ServiceId>) -> Plan {
        let groups = Groups::of(&bundle.services);
        let policy = Policy {
            services: policies(&bundle.services, &groups, foreground),
            grace: bundle.grace,
            signals: bundle_routes(&bundle, &groups),
            otherwise: Otherwise::DropAndAnnounce,
            code_of_first: false,
            in_file_order: bundle.services.iter().all(|service| service.names_nobody()),
            seed: u64::from(std::process::id()) ^ clock(),
        };
        // A deleted directory has no name; `/` always exists.
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Plan {
            bundle,
            looked_up,
            directory,
            foreground,
            is_one_command: false,
            policy: policy.into(),
            replacements: BTreeMap::new(),
        }
    }
}

impl Plan {
    /// The service's name in messages; one command's is its program.
    pub fn name(&self, id: ServiceId) -> String {
        let Some(service) = self.bundle.services.get(id.0) else { return String::new() };
        match service.command.first() {
            Some(program) if self.is_one_command => program.to_string_lossy().into_owned(),
            _ => service.name.clone(),
        }
    }

    /// The user and groups of the service; `None`: those of the init.
    pub fn identity(&self, id: ServiceId) -> Option<&Resolved> {
        self.looked_up[id.0].identity.as_ref()
    }

    /// The paths of the Unix sockets of `listen`.
    pub(crate) fn socket_paths(&self) -> impl Iterator<Item = &Path> {
        let all = self.bundle.services.iter().flat_map(|service| &service.listen);
        all.filter_map(|listen| match listen {
            Listen::Unix(path) => Some(path.as_path()),
            Listen::Tcp(_) => None,
        })
    }

    /// The services of the bundle, in the order of their ids.
    pub fn ids(&self) -> impl Iterator<Item = ServiceId> {
        let is_retired = |id: &ServiceId| self.policy.services[id.0].is_retired;
        (0..self.bundle.services.len()).map(ServiceId).filter(move |id| !is_retired(id))
    }

    /// The names of all services that the plan has ever had, in the order of their ids.
    pub fn names(&self) -> Vec<String> {
        (0..self.bundle.services.len()).map(|index| self.name(ServiceId(index))).collect()
    }
}

/// A command from the command line.
fn plain_service(command: Vec<OsString>) -> Service {
    let mut service = Service::new(MAIN, command);
    service.success_codes = Vec::new();
    service.log = LogMode::Inherit;
    service
}

fn rules_of(service: &Service) -> Rules {
    Rules {
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
    }
}

/// The services by the names that references use: their own, or that of the service that they are
/// instances of.
struct Groups<'a>(BTreeMap<&'a str, Vec<ServiceId>>);

impl<'a> Groups<'a> {
    fn of(services: &'a [Service]) -> Groups<'a> {
        let mut groups = BTreeMap::<&str, Vec<ServiceId>>::new();
        for (index, service) in services.iter().enumerate() {
            let name = service.instance_of.as_ref().unwrap_or(&service.name);
            groups.entry(name).or_default().push(ServiceId(index));
        }
        Groups(groups)
    }

    fn members(&self, name: &str) -> &[ServiceId] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The service that represents all instances.
    fn leader(&self, name: &str) -> Option<ServiceId> {
        self.members(name).first().copied()
    }
}

/// The policies of all services with their dependencies, in the bundle's order; the main command starts
/// after all others.
fn policies(services: &[Service], groups: &Groups, main: Option<ServiceId>) -> Vec<ServicePolicy> {
    let leaders = |names: &[String]| -> Vec<ServiceId> {
        names.iter().filter_map(|name| groups.leader(name)).collect()
    };
    let mut rules = Shared::new();
    let policy = |(service, index): (&Service, usize)| {
        let leader = service.instance_of.as_ref().and_then(|name| groups.leader(name));
        let rules = rules.get(rules_of(service).into());
        let policy = ServicePolicy { place: index, rules, ..ServicePolicy::default() };
        match leader.filter(|leader| leader.0 != index) {
            Some(leader) => ServicePolicy { leader: Some(leader), ..policy },
            None if main == Some(ServiceId(index)) => {
                ServicePolicy { after: (0..index).map(ServiceId).collect(), ..policy }
            }
            None => {
                let requires = leaders(&service.requires);
                let after = [leaders(&service.after), requires.clone()].concat();
                ServicePolicy { after, requires, ..policy }
            }
        }
    };
    services.iter().zip(0..).map(policy).collect()
}

/// TERM and INT begin the shutdown whatever signal they are mapped to, and so does a signal that is
/// mapped to one of them.
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

fn bundle_routes(bundle: &Bundle, groups: &Groups) -> BTreeMap<Signal, SignalRoute> {
    let ids = |names: &[String]| -> Vec<ServiceId> {
        names.iter().flat_map(|name| groups.members(name)).copied().collect()
    };
    let route = |(signal, route): (&Signal, &Route)| {
        let route = match route {
            Route::Forward { to, as_signal } => {
                SignalRoute::Forward(ids(to), as_signal.unwrap_or(*signal), Target::Process)
            }
            Route::Restart(services) => SignalRoute::Restart(ids(services)),
            Route::Reload => SignalRoute::Reload,
            Route::Become(signal) => SignalRoute::Shutdown(*signal),
            Route::Drop => SignalRoute::Drop,
        };
        (*signal, route)
    };
    bundle.signals.iter().map(route).collect()
}

/// A value that differs between containers, so that their restart delays differ.
fn clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::from(since.subsec_nanos()))
}

/// The variables of each file, or its errors.
type ReadOnce = BTreeMap<PathBuf, Result<Arc<Variables>, Vec<String>>>;

/// The variables of one service's files. The errors of a file are reported where it is named first;
/// other references report only that it has errors.
fn environment_of(
    named: &[(PathBuf, Place)],
    files: &mut Files,
    known: &mut ReadOnce,
    errors: &mut Vec<ConfigError>,
) -> Vec<Arc<Variables>> {
    let mut variables = Vec::new();
    for (file, place) in named {
        let read = || read_variables(file, files).map(Arc::new);
        match known.entry(file.clone()).or_insert_with(read) {
            Ok(read) => variables.push(Arc::clone(read)),
            Err(messages) => {
                let error =
                    |message: &String| ConfigError { place: *place, message: message.clone() };
                errors.extend(messages.iter().map(error));
                messages.truncate(1);
            }
        }
    }
    variables
}

fn read_variables(file: &Path, files: &mut Files) -> Result<Variables, Vec<String>> {
    let shown = file.display().to_string();
    let text = files
        .text(file)
        .map_err(|error| vec![format!("can't read the environment file {shown}: {error}")])?;
    environment::parse_file(&shown, text)
}

fn has_places(settings: &Settings) -> bool {
    let Identity { user, group, supplementary_groups } = &settings.identity;
    let others = supplementary_groups.iter().flatten().next();
    user.is_some() || group.is_some() || others.is_some() || !settings.environment.files.is_empty()
}

fn forget_places(settings: &mut Settings) {
    let Identity { user, group, supplementary_groups } = &mut settings.identity;
    let others = supplementary_groups.iter_mut().flatten();
    let accounts = user.iter_mut().chain(group).chain(others).map(|(_, place)| place);
    let files = settings.environment.files.iter_mut().map(|(_, place)| place);
    accounts.chain(files).for_each(|place| *place = Place::default());
}
