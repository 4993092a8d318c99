//! Which sidecars start, and what the end of one means.

use std::collections::{BTreeMap, BTreeSet};

use crate::docker::{Container, docker, text};
use crate::world::{Setup, alone, exec, is_there, kill, services, wait_until_healthy};

const DAEMONS: [&str; 4] = ["egress", "pipelock", "git-gate", "supervise"];

/// The sidecars alone, with this selection; nothing but them runs in the container.
fn selected(names: &str) -> Container {
    let variable = format!("--env=CLAUDE_BOTTLE_SIDECAR_DAEMONS={names}");
    alone(&[&variable, "--no-healthcheck"])
}

/// The command lines of all processes.
fn processes(sidecars: &Container) -> Vec<String> {
    let top = text(&docker(&["top", sidecars.name(), "-o", "pid,args"]).stdout);
    top.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn each_selection_runs_what_it_names_and_what_that_needs() {
    if !is_there() {
        return;
    }
    for subset in 1..1_u8 << DAEMONS.len() {
        let chosen: Vec<&str> = (0..DAEMONS.len())
            .filter(|place| subset >> place & 1 == 1)
            .map(|place| DAEMONS[place])
            .collect();
        let sidecars = selected(&chosen.join(","));
        wait_until_healthy(&sidecars);

        let mut expected: BTreeMap<&str, &str> =
            chosen.iter().map(|daemon| (*daemon, "ready")).collect();
        expected.insert("volumes", "done");
        if chosen.iter().any(|daemon| ["egress", "pipelock"].contains(daemon)) {
            expected.insert("pipelock-ca", "done");
        }
        let services = services(&sidecars);
        let states: BTreeMap<&str, &str> = services
            .iter()
            .map(|(name, service)| (&**name, service["state"].as_str().unwrap()))
            .collect();
        assert_eq!(states, expected);
        // With the init; none of them has processes of its own while it has nothing to do.
        let processes = processes(&sidecars);
        assert_eq!(processes.len(), 1 + chosen.len(), "{chosen:?}: {processes:?}");
    }
}

#[test]
fn an_unknown_name_beside_a_known_one_is_a_warning() {
    if !is_there() {
        return;
    }
    let sidecars = selected(" nosuch , git-gate ,");
    wait_until_healthy(&sidecars);
    let services = services(&sidecars);
    let names: BTreeSet<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["git-gate", "volumes"]));
    let warning = "sidecar-init: CLAUDE_BOTTLE_SIDECAR_DAEMONS names unknown services: nosuch; \
                   the bundle has ";
    assert!(sidecars.stderr().starts_with(warning), "{}", sidecars.stderr());
}

#[test]
fn nothing_selected_is_an_error() {
    if !is_there() {
        return;
    }
    let sidecars = selected("nosuch");
    assert_eq!(sidecars.wait(), 65, "{}", sidecars.stderr());
    assert_eq!(
        sidecars.record(),
        "sidecar-init: CLAUDE_BOTTLE_SIDECAR_DAEMONS leaves no service to run; the bundle has \
         volumes, egress, pipelock-ca, pipelock, git-gate, supervise"
    );
    assert_eq!(sidecars.stdout(), "");
}

#[test]
fn one_that_is_killed_brings_all_down_and_is_named() {
    if !is_there() {
        return;
    }
    for culprit in DAEMONS {
        let sidecars = alone(&["--no-healthcheck"]);
        wait_until_healthy(&sidecars);
        kill(&sidecars, culprit);
        assert_eq!(sidecars.wait(), 137, "{culprit}: {}", sidecars.stderr());

        let record = sidecars.record();
        let begin = format!(
            "sidecar-init: ended: service \"{culprit}\" was killed by SIGKILL (signal 9) after "
        );
        assert!(record.starts_with(&begin), "{record}");
        assert!(record.ends_with("; exit code 137"), "{record}");

        let stderr = sidecars.stderr();
        let place = |what: &str| {
            let line = stderr.lines().position(|line| line.starts_with(what));
            line.unwrap_or_else(|| panic!("{culprit}: no {what:?} in\n{stderr}"))
        };
        for other in DAEMONS.iter().filter(|daemon| **daemon != culprit) {
            let asked = place(&format!("sidecar-init: service \"{other}\" is stopping"));
            let exited = place(&format!("sidecar-init: service \"{other}\" exited with code 0"));
            assert!(asked < exited, "{stderr}");
        }
        if culprit != "egress" && culprit != "pipelock" {
            // Requests that egress has on their way are not cut off behind it.
            assert!(
                place("sidecar-init: service \"egress\" exited")
                    < place("sidecar-init: service \"pipelock\" is stopping"),
                "{stderr}"
            );
        }
    }
}

#[test]
fn one_that_may_restart_comes_back_and_supervise_tells_of_it() {
    if !is_there() {
        return;
    }
    let shipped = include_str!("../../sandbox/image/bundle.toml");
    let name = "name = \"pipelock\"\n";
    let bundle = shipped.replace(name, &format!("{name}restart = \"on-failure\"\n"));
    assert_ne!(bundle, shipped);
    let world = Setup::new().bundle(&bundle).start();
    let hello = || world.curl(&["https://api.example.com/v1/hello"]).stdout;
    assert_eq!(hello(), "reached /v1/hello\n\n200");

    let before = services(&world.sidecars);
    let ready = "service \"pipelock\" is ready";
    world.sidecars.wait_after(|| kill(&world.sidecars, "pipelock"), ready);
    assert_eq!(services(&world.sidecars)["pipelock"]["restarts"], 1);
    world.wait_until_healthy();
    assert_eq!(hello(), "reached /v1/hello\n\n200");
    for service in ["egress", "git-gate", "supervise"] {
        assert_eq!(services(&world.sidecars)[service]["pid"], before[service]["pid"], "{service}");
    }

    let call = r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "sidecar_events", "arguments": {"service": "pipelock"}}}"#;
    let accept = "Accept: application/json, text/event-stream";
    let json = "Content-Type: application/json";
    let told =
        world.curl(&["-H", accept, "-H", json, "-d", call, "http://supervise:9100/mcp"]).stdout;
    assert!(told.contains("SIGKILL"), "{told}");
    let listed = world.operator(&["supervise", "list"]).stdout;
    assert!(listed.contains("pipelock"), "{listed}");
}

#[test]
fn docker_sees_when_one_is_down_and_when_all_are_well_again() {
    if !is_there() {
        return;
    }
    let sidecars = alone(&["--health-interval=1s", "--health-retries=1"]);
    let mut changes = sidecars.health();
    let mut becomes = |wanted: &str| assert_eq!(changes.next().unwrap(), wanted);
    becomes("healthy");
    assert_eq!(exec(&sidecars, &[], &["sidecar-init", "stop", "supervise"]).code, 0);
    becomes("unhealthy");
    assert_eq!(exec(&sidecars, &[], &["sidecar-init", "start", "supervise"]).code, 0);
    becomes("healthy");
}
