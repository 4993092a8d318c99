//! What a service loses before its command runs, read back from the kernel.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::io::Write;
use std::process::Command;

use harness::{Position, bundle, bundle_command, positions, run, start};
use test_support::notices::is_root;

/// What `script` prints under a service with these settings, on one line.
fn seen_by_service(settings: &str, script: &str) -> Vec<String> {
    let file = bundle(&format!(
        "[bundle]\nlog = \"inherit\"\n[[service]]\nname = \"a\"\n\
         command = [\"sh\", \"-c\", '''echo $({script})''']\n{settings}\n"
    ));
    let runs = positions().into_iter().map(|position| {
        let ended = run(&mut bundle_command(position, &file));
        ended.stdout.trim_end().to_owned()
    });
    runs.collect()
}

#[test]
fn users_and_groups_are_changed_whole_and_need_no_account() {
    if !is_root() {
        return;
    }
    let settings = "user = 54321\ngroup = 54322\nsupplementary-groups = [54323]";
    let script = "grep -E ^[UG]id: /proc/self/status; id -G";
    for seen in seen_by_service(settings, script) {
        let four = |id: &str| [id; 4].join(" ");
        let ids = format!("Uid: {} Gid: {} 54322 54323", four("54321"), four("54322"));
        assert_eq!(seen, ids);
    }
}

#[test]
fn the_init_stays_open_to_its_own_user() {
    if !is_root() {
        return;
    }
    let file = bundle(
        "[[service]]\nname = \"a\"\nuser = 54321\n\
         command = [\"sh\", \"-c\", \"echo up; exec sleep 1000\"]\n",
    );
    // As in a container, where root may not look into just any process.
    let without_ptrace = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    let mut command = Command::new(without_ptrace[0]);
    let init = bundle_command(Position::Child, &file);
    command.args(&without_ptrace[1..]).arg(init.get_program()).args(init.get_args());
    let mut running = start(&mut command);
    running.wait_for("[a] up");
    let script = format!("echo hello >/proc/{}/fd/1", running.pid());
    let mut other = Command::new(without_ptrace[0]);
    let status = other.args(&without_ptrace[1..]).args(["sh", "-c", &script]).status().unwrap();
    assert!(status.success());
    running.wait_for("hello");
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
}

#[test]
fn limits_are_what_the_file_says() {
    if !is_root() {
        return;
    }
    let settings = "umask = \"0027\"\nrlimits = { nofile = { soft = 77, hard = 88 } }\n\
                    nice = 3\noom-score-adj = 500";
    let script = "umask; ulimit -Sn; ulimit -Hn; nice; cat /proc/self/oom_score_adj";
    for seen in seen_by_service(settings, script) {
        assert_eq!(seen, "0027 77 88 3 500");
    }
}

#[test]
fn capabilities_are_gone_from_every_set() {
    if !is_root() {
        return;
    }
    let settings = "no-new-privileges = true\ndrop-capabilities = [\"ALL\"]";
    let script = "grep -E ^Cap.*:\\|^NoNewPrivs: /proc/self/status";
    for seen in seen_by_service(settings, script) {
        let none = "0".repeat(16);
        let sets = ["Inh", "Prm", "Eff", "Bnd", "Amb"].map(|set| format!("Cap{set}: {none}"));
        assert_eq!(seen, format!("{} NoNewPrivs: 1", sets.join(" ")));
    }
}

/// Behind a command that changes what it may do, `check` and `run` of a service with these
/// settings.
fn check_and_run_behind(command: &[&str], settings: &str) -> [harness::Ended; 2] {
    let file = bundle(&format!("[[service]]\nname = \"a\"\ncommand = [\"true\"]\n{settings}\n"));
    ["check", "run"].map(|subcommand| {
        let mut behind = Command::new(command[0]);
        behind.args(&command[1..]).arg(harness::binary());
        run(behind.args([subcommand, "-f"]).arg(file.path()))
    })
}

#[test]
fn what_it_may_not_do_is_said_before_anything_is_started() {
    if !is_root() {
        return;
    }
    let without = |capabilities: &str| {
        let lost: Vec<String> = capabilities.split(' ').map(|name| format!("-{name}")).collect();
        ["setpriv".to_owned(), "--bounding-set".to_owned(), lost.join(",")]
    };
    let cases = [
        (
            "kill",
            "user = 54321",
            "CAP_KILL is missing, so that these, which run as another user",
            0,
        ),
        ("setuid", "user = 54321", "CAP_SETUID is missing, so that these can't be started: a", 125),
        (
            "setgid",
            "group = 54321",
            "CAP_SETGID is missing, so that these can't be started: a",
            125,
        ),
        (
            "setpcap",
            "drop-capabilities = [\"NET_RAW\"]",
            "CAP_SETPCAP is missing (`drop-capab",
            125,
        ),
        ("setpcap", "drop-capabilities = [\"ALL\"]\nno-new-privileges = true", "", 0),
        ("kill setuid", "nice = 1", "", 0),
    ];
    for (missing, settings, words, code) in cases {
        let command = without(missing);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let [check, run] = check_and_run_behind(&command, settings);
        assert_eq!((check.code(), run.code()), (0, code), "{missing}: {run:?}");
        for ended in [check, run] {
            let first = ended.stderr.lines().next().unwrap_or_default();
            let warning = first.strip_prefix("sidecar-init: ").unwrap_or_default();
            let is_there = warning.starts_with("CAP_");
            assert!(warning.starts_with(words) && is_there != words.is_empty(), "{ended:?}");
        }
    }
}

#[test]
fn a_setting_that_takes_a_missing_capability_names_it() {
    if !is_root() {
        return;
    }
    let without = ["setpriv", "--bounding-set=-sys_nice,-sys_resource"];
    for (settings, words) in [
        ("nice = -5", "can't set `nice` (CAP_SYS_NICE is missing): Permission denied"),
        (
            "oom-score-adj = -1000",
            "can't set `oom-score-adj` (CAP_SYS_RESOURCE is missing): Permission denied",
        ),
    ] {
        let [_, run] = check_and_run_behind(&without, settings);
        assert!(run.record().contains(words) && run.code() == 125, "{run:?}");
    }
}

#[test]
fn an_id_that_a_user_namespace_does_not_map_is_called_that() {
    let root_alone = ["unshare", "--user", "--map-root-user"];
    let allowed = Command::new(root_alone[0]).args(&root_alone[1..]).arg("true").status();
    let allowed = allowed.is_ok_and(|status| status.success());
    if !test_support::notices::or_skip(allowed, "no new user namespace here") {
        return;
    }
    let cases = [
        ("user = 54321", "map user 54321", "setgroups(2)"),
        ("group = 54321", "map group 54321", "setgroups(2)"),
        // Others than it has, whatever it has.
        ("supplementary-groups = [0, 0]", "allow setgroups(2)", "setgroups(2)"),
    ];
    for (settings, warning, reason) in cases {
        let [check, run] = check_and_run_behind(&root_alone, settings);
        assert_eq!((check.code(), run.code()), (0, 125), "{run:?}");
        let warning = format!("sidecar-init: this user namespace does not {warning}, so that");
        assert!(check.stderr.starts_with(&warning), "{check:?}");
        assert!(run.stderr.starts_with(&warning), "{run:?}");
        assert!(run.record().contains(reason) && !run.record().contains("CAP_"), "{run:?}");
    }
}

#[test]
fn an_id_that_the_kernel_does_not_know_is_no_missing_capability() {
    if !is_root() {
        return;
    }
    for (settings, warning, reason) in [
        ("user = 54321\ngroup = 1", "user 54321", "does not map the user: Invalid argument"),
        ("user = 1\ngroup = 54321", "group 54321", "does not map one of the groups: Invalid"),
    ] {
        let file =
            bundle(&format!("[[service]]\nname = \"a\"\ncommand = [\"true\"]\n{settings}\n"));
        let mut command = Command::new("unshare");
        command.args(["--user", "sh", "-c", "echo in; read go; exec \"$@\"", "sh"]);
        command.arg(harness::binary()).args(["run", "-f"]).arg(file.path());
        let mut running = start(&mut command);
        running.wait_for("in");
        // From outside, root may map more than one id, and setgroups(2) stays allowed.
        for map in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{map}", running.pid()), "0 0 2").unwrap();
        }
        running.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let ended = running.end();
        assert!(ended.stderr.contains(&format!("does not map {warning}, so that")), "{ended:?}");
        assert!(ended.record().contains(reason) && ended.code() == 125, "{ended:?}");
    }
}
