//! What a service loses before its command runs, read back from the kernel.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::process::Command;

use harness::notices::is_root;
use harness::{Position, bundle, bundle_command, positions, run, start};

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
