//! One command under the options that people give to `docker run`.

use crate::docker::{Container, docker, is_there, text};

const ENDLESS: &str = "trap 'echo term; exit 3' TERM; trap 'echo hup' HUP; echo up; while :; do sleep 1000 & wait $!; done";

fn script(script: &str) -> [&str; 4] {
    ["--", "sh", "-c", script]
}

#[test]
fn inspect_shows_the_commands_code() {
    if !is_there() {
        return;
    }
    for (end, code) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
    ] {
        let container = Container::start(&[], &script(end));
        assert_eq!(container.wait(), code, "{end}");
        assert_eq!(container.inspect(".State.ExitCode"), code.to_string());
    }
    let container = Container::start(&[], &["--", "/nonexistent"]);
    assert_eq!(container.wait(), 127);
    assert!(container.stderr().contains("command /nonexistent not found"));
}

#[test]
fn stop_and_kill_reach_the_command() {
    if !is_there() {
        return;
    }
    let container = Container::start(&[], &script(ENDLESS));
    container.wait_for("up");
    container.kill("HUP");
    container.wait_for("hup");
    assert_eq!(container.stop(), 3);
    assert_eq!(container.stdout(), "up\nhup\nterm\n");
    assert!(container.record().starts_with("sidecar-init: ended: SIGTERM received after "));
}

#[test]
fn poor_homes_change_nothing() {
    if !is_there() {
        return;
    }
    let homes: [&[&str]; 7] = [
        &["--init"],
        &["--user", "1234:1234"],
        &["--read-only"],
        &["--cap-drop", "ALL"],
        &["--security-opt", "no-new-privileges"],
        &["--pid", "host"],
        &[
            "--user",
            "1234",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
        ],
    ];
    for home in homes {
        let container = Container::start(home, &script(ENDLESS));
        container.wait_for("up");
        container.kill("HUP");
        container.wait_for("hup");
        assert_eq!(container.stop(), 3, "{home:?}: {}", container.stderr());
    }
}

#[test]
fn a_shared_pid_namespace_is_no_obstacle() {
    if !is_there() {
        return;
    }
    let first = Container::start(&[], &script(ENDLESS));
    first.wait_for("up");
    let name = first.inspect(".Name").trim_start_matches('/').to_owned();
    let shared = format!("container:{name}");
    let orphan = "(setsid sh -c 'echo orphan; exec sleep 1000' &); echo up; read x < /dev/zero; ";
    let second = Container::start(
        &["--pid", &shared],
        &script(&orphan.replace("read x < /dev/zero; ", "exec sleep 1000")),
    );
    second.wait_for("orphan");
    second.wait_for("up");
    assert_eq!(second.stop(), 143);
    // The neighbour, whose PID 1 it is, was left alone, and no orphan is left.
    let processes = first.exec(&["ps", "-eo", "comm"]).unwrap();
    assert_eq!(processes.matches("sleep").count(), 1, "{processes}");
    assert_eq!(first.stop(), 3);
}

#[test]
fn the_termination_log_is_written() {
    if !is_there() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mount = format!("{}:/dev/termination", directory.path().display());
    let arguments = ["--termination-log", "/dev/termination/log", "--", "sh", "-c", "exit 9"];
    let container = Container::start(&["-v", &mount], &arguments);
    assert_eq!(container.wait(), 9);
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert_eq!(log.trim(), container.record());
}

#[test]
fn a_kill_for_want_of_memory_is_in_the_record() {
    if !is_there() {
        return;
    }
    let hungry = "echo up; x=$(yes | head -c 200000000); echo $x | tail -c 1";
    let container = Container::start(&["-m", "32m", "--memory-swap", "32m"], &script(hungry));
    assert_eq!(container.wait(), 137, "{}", container.stderr());
    assert!(container.record().contains("out-of-memory kill"), "{}", container.record());
}

#[test]
fn a_kill_from_before_is_not_in_the_record() {
    if !is_there() {
        return;
    }
    let hungry = "sh -c 'x=$(yes | head -c 200000000); echo $x | tail -c 1'; echo killed: $?";
    let later = format!("{hungry}; /sidecar-init -- sh -c 'kill -9 $$'");
    let container = Container::start(&["-m", "32m", "--memory-swap", "32m"], &script(&later));
    assert_eq!(container.wait(), 137, "{}", container.stderr());
    assert_eq!(container.stdout(), "killed: 137\n");
    let stderr = container.stderr();
    let records: Vec<&str> = stderr.lines().filter(|line| line.contains("ended: ")).collect();
    assert!(!records[0].contains("out-of-memory"), "{records:?}");
    assert!(records[1].contains("out-of-memory"), "that of PID 1: {records:?}");
}

#[test]
fn the_binary_is_all_an_image_needs() {
    if !is_there() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(crate::docker::binary(), directory.path().join("sidecar-init")).unwrap();
    std::fs::write(
        directory.path().join("Dockerfile"),
        "FROM scratch\nCOPY sidecar-init /\nENTRYPOINT [\"/sidecar-init\", \"--\", \"/sidecar-init\", \"--version\"]\n",
    )
    .unwrap();
    let path = directory.path().to_str().unwrap();
    let built = docker(&["build", "-q", "-t", "sidecar-init-test:scratch", path]);
    assert!(built.status.success(), "{}", text(&built.stderr));
    let output = docker(&["run", "--rm", "--network", "none", "sidecar-init-test:scratch"]);
    assert_eq!(text(&output.stdout), format!("sidecar-init {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}
