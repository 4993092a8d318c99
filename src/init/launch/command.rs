//! Makes the [`Launch`](crate::sys::spawn) for a service of the plan.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::bundle::{ResourceLimit, environment};
use crate::plan::Plan;
use crate::supervisor::ServiceId;
use crate::sys::entry;
use crate::sys::spawn::{Launch, c_string};

/// The default search path, as Docker sets it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The variables for sockets of a parent, sd_listen_fds(3).
const LISTEN: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
/// The variables for notifications of a parent, sd_notify(3) and sd_watchdog_enabled(3).
const NOTIFY: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

type Environment = Vec<Cow<'static, CStr>>;

/// A launch of this command with the service's settings and `more` variables, without descriptors.
/// Fails with the reason if that is not possible, for example with a NUL in an argument.
pub(in crate::init) fn of_service<'fd>(
    plan: &Plan,
    id: ServiceId,
    command: &[OsString],
    more: &[(OsString, OsString)],
) -> Result<Launch<'fd>, String> {
    let service = &plan.bundle.services[id.0];
    let environment = match plan.is_one_command {
        true => entry::environment().into_iter().map(Cow::Borrowed).collect(),
        false => environment_of(plan, id, more)?,
    };
    let path = path_in(&environment);
    let program = command.first().ok_or("its command is empty")?;
    let directory = match &service.working_directory {
        Some(directory) => Some(directory.clone()),
        // One command starts in the init's directory, which is still the original one.
        None => (!plan.is_one_command).then(|| plan.directory.clone()),
    };
    Ok(Launch {
        paths: paths(program, path).map(text).collect::<Result<_, _>>()?,
        arguments: command.iter().cloned().map(text).collect::<Result<_, _>>()?,
        rewrite_listen_pid: plan.is_one_command && listens_for_us(),
        environment,
        // The main command stays where it would be without the init: in the session of its terminal.
        own_session: plan.foreground != Some(id),
        keeps_descriptors: plan.is_one_command,
        limits: service.rlimits.iter().map(limit).collect(),
        nice: service.nice,
        oom_score_adj: service.oom_score_adj.and_then(|value| CString::new(value.to_string()).ok()),
        umask: service.umask,
        drop_capabilities: service.drop_capabilities,
        credentials: plan.identities[id.0].as_ref().and_then(|who| who.credentials.clone()),
        no_new_privileges: service.no_new_privileges,
        working_directory: directory.map(|path| text(path.into_os_string())).transpose()?,
        parent_death_signal: service.parent_death_signal,
        ..Launch::default()
    })
}

/// A launch of the hook's command: with the init's settings and one more variable.
pub(in crate::init) fn of_hook<'fd>(
    plan: &Plan,
    command: &[OsString],
    more: (OsString, OsString),
) -> Result<Launch<'fd>, String> {
    let program = command.first().ok_or("its command is empty")?;
    let mut environment: Environment = inherited(|name| *name != *more.0).collect();
    environment.push(assignment(&more.0, &more.1)?);
    Ok(Launch {
        paths: paths(program, path_in(&environment)).map(text).collect::<Result<_, _>>()?,
        arguments: command.iter().cloned().map(text).collect::<Result<_, _>>()?,
        environment,
        own_session: true,
        working_directory: Some(text(plan.directory.clone().into_os_string())?),
        ..Launch::default()
    })
}

/// The variables of the init that services may inherit, with names that are wanted.
fn inherited(is_wanted: impl Fn(&OsStr) -> bool) -> impl Iterator<Item = Cow<'static, CStr>> {
    let is_for_them = move |variable: &&CStr| {
        let name = name_and_value(variable).map(|(name, _)| name);
        name.is_some_and(|name| !is_of_ours_alone(name) && is_wanted(name))
    };
    entry::environment().into_iter().filter(is_for_them).map(Cow::Borrowed)
}

/// Whether the variable is only for the init: the sockets themselves are closed, and the init itself
/// notifies its parent.
fn is_of_ours_alone(name: &OsStr) -> bool {
    LISTEN.iter().chain(&NOTIFY).any(|ours| name == *ours)
}

/// The environment of a service: inherited and own variables, and `more`.
fn environment_of(
    plan: &Plan,
    id: ServiceId,
    more: &[(OsString, OsString)],
) -> Result<Environment, String> {
    let service = &plan.bundle.services[id.0];
    let mut own = environment::own(&service.environment, &plan.environment_files[id.0]);
    let identity = plan.identities[id.0].as_ref().filter(|who| who.is_other_user);
    let user = identity.map(|who| who.name.clone().unwrap_or_else(|| who.user.to_string()));
    if let (Some(who), Some(user)) = (identity, &user) {
        for (name, value) in [("HOME", &*who.home), ("USER", user), ("LOGNAME", user)] {
            if own.iter().all(|(given, _)| *given != name) {
                own.push((OsStr::new(name), OsStr::new(value)));
            }
        }
    }
    own.retain(|(name, _)| more.iter().all(|(given, _)| given != name));
    own.extend(more.iter().map(|(name, value)| (&**name, &**value)));
    let replaced: BTreeSet<&OsStr> = own.iter().map(|(name, _)| *name).collect();
    let is_wanted = |name: &OsStr| {
        environment::is_inherited(&service.environment, name) && !replaced.contains(name)
    };
    let own = own.into_iter().map(|(name, value)| assignment(name, value));
    inherited(is_wanted).map(Ok).chain(own).collect()
}

/// `LISTEN_PID` is rewritten only if it named us: otherwise the sockets were for another process.
fn listens_for_us() -> bool {
    std::env::var_os("LISTEN_PID").is_some_and(|pid| *pid == *std::process::id().to_string())
}

fn assignment(name: &OsStr, value: &OsStr) -> Result<Cow<'static, CStr>, String> {
    text([name, value].join(OsStr::new("="))).map(Cow::Owned)
}

fn text(text: OsString) -> Result<CString, String> {
    c_string(text).map_err(|_| "a NUL byte in its command or environment".to_owned())
}

/// The two parts of `NAME=value`; a name may begin with `=`, as in std.
fn name_and_value(variable: &CStr) -> Option<(&OsStr, &OsStr)> {
    let bytes = variable.to_bytes();
    let middle = 1 + bytes.get(1..)?.iter().position(|byte| *byte == b'=')?;
    Some((OsStr::from_bytes(&bytes[..middle]), OsStr::from_bytes(&bytes[middle + 1..])))
}

fn path_in(environment: &Environment) -> Option<OsString> {
    let mut variables = environment.iter().filter_map(|variable| name_and_value(variable));
    variables.find(|(name, _)| *name == "PATH").map(|(_, value)| value.to_owned())
}

/// The paths to try, as execvp(3) does, with the service's own `PATH`.
fn paths(program: &OsStr, path: Option<OsString>) -> impl Iterator<Item = OsString> {
    let has_directory = program.as_bytes().contains(&b'/');
    let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
    let searched: Vec<OsString> = if has_directory {
        vec![program.to_owned()]
    } else {
        std::env::split_paths(&path).map(|directory| directory.join(program).into()).collect()
    };
    searched.into_iter()
}

fn limit(limit: &ResourceLimit) -> (u32, u64, u64) {
    (limit.resource, limit.soft.unwrap_or(u64::MAX), limit.hard.unwrap_or(u64::MAX))
}
