//! A plan on its way from the child that has read the bundle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use strict_toml::Place;

use super::Plan;
use crate::bundle::check::{Check, HttpTarget, Probe, Readiness};
use crate::bundle::environment::Variables;
use crate::bundle::instances::Instances;
use crate::bundle::listen::Listen;
use crate::bundle::{
    Account, Bundle, Environment, Identity, LogFull, LogMode, OnEvent, OnExit, ResourceLimit,
    RestartPolicy, RestartWhen, Route, Service, ServiceType, WhenRequiredExits,
};
use crate::event_kind::EventKind;
use crate::identity::Resolved;
use crate::signal::Signal;
use crate::supervisor::ServiceId;
use crate::sys::spawn::Credentials;
use crate::wire::{Wire, wire_enum, wire_struct, wire_words};

impl Plan {
    /// All of it that a reload needs.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.bundle.encode(&mut out);
        self.identities.encode(&mut out);
        self.foreground.map(|id| id.0).encode(&mut out);
        let mut files = BTreeMap::new();
        for (service, variables) in self.bundle.services.iter().zip(&self.environment_files) {
            for ((file, _), variables) in service.environment.files.iter().zip(variables) {
                files.entry(file).or_insert(&**variables);
            }
        }
        files.len().encode(&mut out);
        for (file, variables) in files {
            file.encode(&mut out);
            variables.encode(&mut out);
        }
        out
    }

    /// The plan of which these are the bytes; `None` if they are none.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Plan> {
        let input = &mut bytes;
        let bundle = Bundle::decode(input)?;
        let identities = Vec::<Option<Resolved>>::decode(input)?;
        let foreground = Option::<usize>::decode(input)?.map(ServiceId);
        let files: BTreeMap<PathBuf, Arc<Variables>> =
            BTreeMap::<PathBuf, Variables>::decode(input)?
                .into_iter()
                .map(|(file, variables)| (file, Arc::new(variables)))
                .collect();
        let of = |service: &Service| -> Option<Vec<Arc<Variables>>> {
            let named = service.environment.files.iter();
            named.map(|(file, _)| files.get(file).cloned()).collect()
        };
        let environment_files = bundle.services.iter().map(of).collect::<Option<Vec<_>>>()?;
        let is_whole = input.is_empty() && identities.len() == bundle.services.len();
        is_whole.then(|| Plan::of(bundle, identities, environment_files, foreground))
    }
}

impl Wire for Signal {
    fn encode(&self, out: &mut Vec<u8>) {
        self.number().encode(out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Signal::from_number(i32::decode(input)?)
    }
}

wire_struct!(Bundle { name, select_env, socket, on_event, grace, log, services, signals });
wire_struct!(OnEvent { command, file, events });
wire_struct!(Service {
    name,
    command,
    working_directory,
    environment,
    identity,
    umask,
    rlimits,
    nice,
    oom_score_adj,
    no_new_privileges,
    drop_capabilities,
    parent_death_signal,
    stop_signal,
    grace,
    on_exit,
    success_codes,
    log,
    log_full,
    kind,
    after,
    requires,
    when_required_exits,
    readiness,
    start_timeout,
    liveness,
    watchdog,
    restart,
    stop_command,
    drain,
    listen,
    instances,
    instance_of,
});
wire_struct!(Environment { pass, drop, files, set });
wire_struct!(Identity { user, group, supplementary_groups });
wire_struct!(Place { line, column });
wire_struct!(ResourceLimit { resource, soft, hard });
wire_struct!(RestartPolicy { when, max, within, delay, max_delay });
wire_struct!(Instances { count, variable, place, bytes });
wire_struct!(Check { probe, period, timeout, failures });
wire_struct!(HttpTarget { address, host, path, status });
wire_struct!(Resolved { credentials, user, group, name, home, is_other_user });
wire_struct!(Credentials { user, group, groups });

wire_words!(EventKind, LogFull, LogMode, OnExit, RestartWhen, ServiceType, WhenRequiredExits);
wire_enum!(Account { 0 = Name(name), 1 = Id(id) });
wire_enum!(Probe { 0 = Tcp(address), 1 = Unix(path), 2 = Http(target), 3 = Exec(command), 4 = File(path) });
wire_enum!(Readiness { 0 = Check(check), 1 = Log(text), 2 = Descriptor(number), 3 = Systemd });
wire_enum!(Listen { 0 = Tcp(address), 1 = Unix(path) });

impl Wire for Route {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Route::Forward { to, as_signal } => {
                out.push(0);
                to.encode(out);
                as_signal.encode(out);
            }
            Route::Restart(services) => {
                out.push(1);
                services.encode(out);
            }
            Route::Reload => out.push(2),
            Route::Become(signal) => {
                out.push(3);
                signal.encode(out);
            }
            Route::Drop => out.push(4),
        }
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Some(match u8::decode(input)? {
            0 => Route::Forward { to: Wire::decode(input)?, as_signal: Wire::decode(input)? },
            1 => Route::Restart(Wire::decode(input)?),
            2 => Route::Reload,
            3 => Route::Become(Wire::decode(input)?),
            4 => Route::Drop,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Files;

    const TEXT: &str = r#"
        [bundle]
        select-env = "ONLY"
        socket = "/run/a.sock"
        on-event = { command = ["tell", "x"], file = "/run/events", events = ["exited"] }
        grace = "1m 1ms"
        log = "json"
        [signals]
        HUP = { to = ["web"], as = "USR1" }
        USR1 = { restart = ["web", "worker"] }
        USR2 = { reload = true }
        QUIT = { as = "INT" }
        PIPE = { drop = true }
        [[service]]
        name = "web"
        command = ["web", "--ä"]
        working-directory = "/srv"
        environment = { A = "b" }
        environment-file = ["ENV", "ENV"]
        environment-pass = ["P*"]
        environment-drop = ["PX"]
        user = 1234
        group = "7"
        supplementary-groups = [8, 9]
        umask = "0027"
        rlimits = { nofile = { soft = 5, hard = "unlimited" } }
        nice = -3
        oom-score-adj = -7
        no-new-privileges = true
        drop-capabilities = ["NET_RAW"]
        parent-death-signal = "HUP"
        stop-signal = "QUIT"
        grace = "3s"
        on-exit = "ignore"
        success-codes = [0, 143]
        log-full = "drop"
        after = ["worker"]
        requires = ["prepare"]
        when-required-exits = "restart"
        ready = { http = "http://[::1]:80/health", status = 204 }
        live = { exec = ["ask"], failures = 4 }
        restart = "always"
        stop-command = ["bye"]
        drain = "2s"
        listen = ["tcp:[::]:80", "unix:/run/web"]
        [[service]]
        name = "prepare"
        command = ["x"]
        type = "oneshot"
        when-required-exits = "stop"
        environment-file = "ENV"
        [[service]]
        name = "worker"
        command = ["x", "%i"]
        instances = 2
        notify = "systemd"
        watchdog = "5s"
        restart = "on-failure"
        [[service]]
        name = "newline"
        command = ["x"]
        log = "prefix"
        notify = "fd:3"
        live = { unix = "/run/a" }
        [[service]]
        name = "line"
        command = ["x"]
        log = "prefix"
        ready = { log = "up" }
        live = { tcp = "127.0.0.1:1" }
        [[service]]
        name = "file"
        command = ["x"]
        ready = { file = "/x" }
    "#;

    fn plan() -> Plan {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("env"), "B=1\nC=2\n").unwrap();
        let env = directory.path().join("env");
        let text = TEXT.replace("ENV", env.to_str().unwrap());
        let bundle = crate::bundle::toml::parse("b.toml", &text).unwrap();
        let bundle = crate::bundle::instances::expand(bundle, |_| None).unwrap();
        Plan::bundle(bundle, Some(vec!["main".into()]), &mut Files::default()).unwrap()
    }

    #[test]
    fn it_arrives_as_it_was_sent() {
        let sent = plan();
        let arrived = Plan::from_bytes(&sent.to_bytes()).unwrap();
        assert_eq!(arrived.bundle, sent.bundle);
        assert_eq!(arrived.identities, sent.identities);
        assert_eq!(arrived.environment_files, sent.environment_files);
        assert_eq!(arrived.foreground, sent.foreground);
        assert_eq!(arrived.policy.services.len(), 8);
        assert_eq!(format!("{:?}", arrived.policy.services), format!("{:?}", sent.policy.services));
        assert_eq!(arrived.policy.signals, sent.policy.signals);
        let files = &arrived.environment_files;
        assert!(Arc::ptr_eq(&files[0][0], &files[1][0]), "what services share is there once");
    }

    #[test]
    fn what_is_cut_short_or_something_else_is_no_plan() {
        let bytes = plan().to_bytes();
        for length in 0..bytes.len() {
            assert!(Plan::from_bytes(&bytes[..length]).is_none(), "{length} bytes");
        }
        assert!(Plan::from_bytes(&[&bytes[..], &[0]].concat()).is_none());
        assert!(Plan::from_bytes(&[0xFF; 64]).is_none());
    }
}
