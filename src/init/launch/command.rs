//! Makes the [`Launch`](crate::sys::spawn) for a service of the plan.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr, OsString};

use crate::bundle::{ResourceLimit, environment};
use crate::plan::Plan;
use crate::program::{self, Environment, name_and_value, text};
use crate::supervisor::ServiceId;
use crate::sys::entry;
use crate::sys::spawn::Launch;

/// The variables for sockets of a parent, sd_listen_fds(3).
const LISTEN: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
/// The variables for notifications of a parent, sd_notify(3) and sd_watchdog_enabled(3).
const NOTIFY: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// A launch of this command with the service's settings and `more` variables, without descriptors.
/// Fails with the reason if that is not possible, for example with a NUL in an argument.
pub(in crate::init) fn of_service<'fd>(
    plan: &Plan,
    id: ServiceId,
    command: &[OsString],
    more: &[(OsString, OsString)],
) -> Result<Launch<'fd>, String> {
    let service = &plan.bundle.services[id.0];
    let launch = match plan.is_one_command {
        true => program::one_command(command, entry::environment())?,
        false => program::of(command, environment_of(plan, id, more)?)?,
    };
    let directory = match &service.working_directory {
        Some(directory) => Some(directory.clone()),
        // One command starts in the init's directory, which is still the original one.
        None => (!plan.is_one_command).then(|| plan.directory.clone()),
    };
    Ok(Launch {
        // The main command stays where it would be without the init: in the session of its terminal.
        own_session: plan.foreground != Some(id),
        limits: service.rlimits.iter().map(limit).collect(),
        nice: service.nice,
        oom_score_adj: service.oom_score_adj.and_then(|value| CString::new(value.to_string()).ok()),
        umask: service.umask,
        drop_capabilities: service.drop_capabilities,
        credentials: plan.identity(id).and_then(|who| who.credentials.clone()),
        no_new_privileges: service.no_new_privileges,
        working_directory: directory.map(|path| text(path.into_os_string())).transpose()?,
        parent_death_signal: service.parent_death_signal,
        ..launch
    })
}

/// A launch of the hook's command: with the init's settings and one more variable.
pub(in crate::init) fn of_hook<'fd>(
    plan: &Plan,
    command: &[OsString],
    more: (OsString, OsString),
) -> Result<Launch<'fd>, String> {
    let mut environment: Environment = inherited(|name| *name != *more.0).collect();
    environment.push(assignment(&more.0, &more.1)?);
    let working_directory = Some(text(plan.directory.clone().into_os_string())?);
    Ok(Launch { own_session: true, working_directory, ..program::of(command, environment)? })
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
    let mut own = environment::own(&service.environment, &plan.looked_up[id.0].environment_files);
    let identity = plan.identity(id).filter(|who| who.is_other_user);
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

fn assignment(name: &OsStr, value: &OsStr) -> Result<Cow<'static, CStr>, String> {
    text([name, value].join(OsStr::new("="))).map(Cow::Owned)
}

fn limit(limit: &ResourceLimit) -> (u32, u64, u64) {
    (limit.resource, limit.soft.unwrap_or(u64::MAX), limit.hard.unwrap_or(u64::MAX))
}
