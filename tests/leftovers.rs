//! What a service leaves behind is gone before it starts again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::path::Path;
use std::process::Command;

use harness::{Position, bundle, positions, start, start_bundle};
use test_support::notices::or_skip;
use test_support::until;

/// Leaves a process behind, and says at its next run whether that is gone.
fn leaver(leave: &str, place: &Path) -> String {
    service("a", &script(leave, place), "restart = { policy = \"always\", delay = \"0s\" }")
}

fn script(leave: &str, place: &Path) -> String {
    let place = place.display();
    format!(
        "if [ ! -e {place} ]; then {leave} sh -c 'echo $$ >{place}.new; mv {place}.new {place}; exec sleep 1000' &\n\
         while [ ! -e {place} ]; do :; done; echo $$ >{place}.main; exit; fi\n\
         if kill -0 $(cat {place}) 2>/dev/null; then echo still there; else echo gone; fi\n\
         exec sleep 1000"
    )
}

fn service(name: &str, script: &str, more: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", '''\n{script}''']\n{more}\n"
    )
}

/// Says when the leaver's first run has ended, and whether what it left lives.
fn watcher(place: &Path) -> String {
    let place = place.display();
    let script = format!(
        "while [ ! -e {place}.main ]; do :; done; read main <{place}.main\n\
         while kill -0 $main 2>/dev/null; do :; done\n\
         if kill -0 $(cat {place}) 2>/dev/null; then echo alive; else echo dead; fi; exec sleep 1000"
    );
    service("watcher", &script, "")
}

#[test]
fn its_process_group_is_gone() {
    for position in positions() {
        let directory = tempfile::tempdir().unwrap();
        let mut running = start_bundle(position, &leaver("", &directory.path().join("pid")));
        assert_eq!(running.line(), "[a] gone");
        running.signal("TERM");
        assert_eq!(running.end().code(), 0);
    }
}

#[test]
fn other_groups_of_its_session_are_gone() {
    for position in positions() {
        let directory = tempfile::tempdir().unwrap();
        // It makes a process group of its own.
        let text = leaver("timeout 1000", &directory.path().join("pid"));
        let mut running = start_bundle(position, &text);
        assert_eq!(running.line(), "[a] gone");
        running.signal("TERM");
        assert_eq!(running.end().code(), 0);
    }
}

#[test]
fn what_has_ended_without_a_restart_leaves_nothing_for_a_later_start() {
    for position in positions() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("pid");
        let text = service("a", &script("", &place), "on-exit = \"ignore\"")
            + &watcher(&place)
            + "[signals]\nUSR1 = { restart = [\"a\"] }\n";
        let mut running = start_bundle(position, &text);
        running.line();
        running.signal("USR1");
        assert_eq!(running.line(), "[a] gone");
        running.signal("TERM");
        assert_eq!(running.end().code(), 0);
    }
}

#[test]
fn what_a_oneshot_has_started_lives_until_it_runs_again() {
    for position in positions() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("pid");
        let text = service("a", &script("", &place), "type = \"oneshot\"")
            + &watcher(&place)
            + "[signals]\nUSR1 = { restart = [\"a\"] }\n";
        let mut running = start_bundle(position, &text);
        assert_eq!(running.line(), "[watcher] alive");
        running.signal("USR1");
        assert_eq!(running.line(), "[a] gone");
        running.signal("TERM");
        assert_eq!(running.end().code(), 0);
    }
}

#[test]
fn a_service_that_a_reload_brings_back_meets_nothing_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("pid");
    let rest = |mark: &str| {
        service(mark, &format!("echo {mark}; exec sleep 1000"), "")
            + "[signals]\nHUP = { reload = true }\n"
    };
    // Lives until it is stopped.
    let script = script("", &place).replace("; exit;", "; exec sleep 1000;");
    let both = |mark| service("a", &script, "") + &rest(mark);
    let mut running = start_bundle(Position::Child, &both("one"));
    running.wait_for("[one] one");
    running.rewrite(&rest("two"));
    until("it has left something", || place.exists().then_some(()));
    running.signal("HUP");
    running.wait_for("[two] two");
    running.rewrite(&both("two"));
    running.signal("HUP");
    assert_eq!(running.line(), "[a] gone");
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
}

#[test]
fn a_stop_command_ends_with_its_service() {
    for position in positions() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("pid").display().to_string();
        let script = format!(
            "if [ -e {place} ]; then\n\
             while kill -0 $(cat {place}) 2>/dev/null; do :; done; echo gone; fi\n\
             echo up; exec sleep 1000"
        );
        let more = format!(
            "stop-command = [\"sh\", \"-c\", \"echo $$ >{place}; exec sleep 1000\"]\n\
             grace = \"300ms\"\n[signals]\nUSR1 = {{ restart = [\"a\"] }}"
        );
        let mut running = start_bundle(position, &service("a", &script, &more));
        running.wait_for("[a] up");
        running.signal("USR1");
        running.wait_for("[a] gone");
        running.signal("TERM");
        assert_eq!(running.end().code(), 0);
    }
}

#[test]
fn nothing_is_left_of_a_check_or_a_hook() {
    for position in positions() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("pid").display().to_string();
        let script = format!(
            "while [ ! -e {place} ]; do :; done; read pid <{place}\n\
             while kill -0 $pid 2>/dev/null; do :; done; echo gone; exec sleep 1000"
        );
        let check = format!(
            "sleep 1000 & test -e {place} || {{ echo $! >{place}.new; mv {place}.new {place}; }}"
        );
        let command = format!("[\"sh\", \"-c\", \"{check}\"]");
        let live = format!("live = {{ exec = {command}, period = \"10ms\" }}");
        let hook = format!("[bundle]\non-event = {{ command = {command} }}\n");
        for text in [service("a", &script, &live), hook + &service("a", &script, "")] {
            let mut running = start_bundle(position, &text);
            running.wait_for("[a] gone");
            running.signal("TERM");
            assert_eq!(running.end().code(), 0);
            std::fs::remove_file(&place).unwrap();
        }
    }
}

/// A control group for the test, in a hierarchy of version 2 that only it can see.
struct ControlGroup(String);

impl ControlGroup {
    const MOUNT: &str = "mount -t cgroup2 none /sys/fs/cgroup";

    fn new() -> ControlGroup {
        ControlGroup(format!("sidecar-init-test-{}", std::process::id()))
    }

    /// Whether the kernel has version 2 and we may mount it.
    fn is_allowed() -> bool {
        let mount = Command::new("unshare").args(["--mount", "sh", "-c", Self::MOUNT]).output();
        mount.is_ok_and(|output| output.status.success())
    }

    /// The init as PID 1 in it, as in a container whose control groups it may write to.
    fn init(&self, file: &std::path::Path) -> Command {
        let (mount, name) = (Self::MOUNT, &self.0);
        let script = format!(
            "{mount} && mkdir -p /sys/fs/cgroup/{name} && echo $$ >/sys/fs/cgroup/{name}/cgroup.procs \
             && exec unshare --cgroup sh -c 'umount /sys/fs/cgroup && {mount} && exec \"$@\"' sh \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
        command.args(["sh", "-c", &script, "sh", &harness::binary(), "run", "-f"]).arg(file);
        command
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let below = format!("/sys/fs/cgroup/{}", self.0);
        let script = format!("{} && rmdir {below}/* {below} 2>/dev/null", Self::MOUNT);
        let _ = Command::new("unshare").args(["--mount", "sh", "-c", &script]).status();
    }
}

#[test]
fn what_has_left_its_process_group_is_gone_where_control_groups_are_ours() {
    if !or_skip(ControlGroup::is_allowed(), "no control groups of version 2 to mount") {
        return;
    }
    let group = ControlGroup::new();
    let directory = tempfile::tempdir().unwrap();
    let file = bundle(&leaver("setsid", &directory.path().join("pid")));
    let mut running = start(&mut group.init(file.path()));
    assert_eq!(running.line(), "[a] gone");
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
    // Elsewhere nobody can tell whose it was.
    let directory = tempfile::tempdir().unwrap();
    let text = leaver("setsid", &directory.path().join("pid"));
    let mut running = start_bundle(Position::Child, &text);
    assert_eq!(running.line(), "[a] still there");
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
}

#[test]
fn what_outlives_its_run_is_still_read() {
    for position in positions() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("left").display().to_string();
        let text = format!(
            "[[service]]\nname = \"a\"\nrestart = {{ policy = \"always\", delay = \"0s\" }}\n\
             command = [\"sh\", \"-c\", '''\n\
             if [ ! -e {place} ]; then setsid sh -c 'touch {place}\n\
             while [ ! -e {place}.again ]; do :; done; echo late words; exec sleep 1000' &\n\
             while [ ! -e {place} ]; do :; done; exit; fi\n\
             echo again; touch {place}.again; exec sleep 1000''']\n"
        );
        let mut running = start_bundle(position, &text);
        let mut lines = [running.line(), running.line()];
        lines.sort();
        assert_eq!(lines, ["[a] again", "[a] late words"]);
        running.signal("TERM");
        assert_eq!(running.end().code(), 0);
    }
}

#[test]
fn the_pipes_of_earlier_runs_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("run").display().to_string();
    // Two pipes a run; each process that is left behind holds those of its own.
    let text = format!(
        "[[service]]\nname = \"a\"\nrestart = {{ policy = \"always\", delay = \"0s\", max = 100 }}\n\
         command = [\"sh\", \"-c\", '''\n\
         echo >>{place}; test $(wc -l <{place}) = 68 && {{ echo done; exec sleep 1000; }}\n\
         setsid sh -c 'touch {place}.$PPID; exec sleep 1000' &\n\
         while [ ! -e {place}.$$ ]; do :; done''']\n"
    );
    let mut running = start_bundle(Position::Child, &text);
    running.wait_for("[a] done");
    running.signal("TERM");
    let ended = running.end();
    let words = "more than 128 pipes of earlier runs are still open: the oldest, stdout of service";
    assert!(ended.code() == 0 && ended.stderr.contains(words), "{ended:?}");
}
