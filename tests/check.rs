//! What `sidecar-init check` says, and what `run` refuses in the same words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use harness::{Position, bundle, init, run};
use rustix::pipe::PipeFlags;
use test_support::until;

fn service(name: &str, script: &str, more: &str) -> String {
    format!("[[service]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n{more}\n")
}

/// The lines of stderr that the init wrote, without its name.
fn told(stderr: &str) -> Vec<&str> {
    stderr.lines().filter_map(|line| line.strip_prefix("sidecar-init: ")).collect()
}

#[test]
fn the_plan_has_everything_that_is_set() {
    let keys = "user = 54321\ngroup = 54322\nsupplementary-groups = [7]\numask = \"0027\"\n\
                rlimits = { core = \"unlimited\" }\nnice = 3\noom-score-adj = 5\n\
                no-new-privileges = true\ndrop-capabilities = [\"NET_RAW\"]\n\
                working-directory = \"/tmp\"\nenvironment-drop = [\"X_*\"]\n\
                environment = { TOKEN = \"secret\" }\nstop-command = [\"bye\"]\n\
                ready = { tcp = \":80\" }\nrestart = \"always\"\n";
    let file = bundle(&(service("a", "true", keys) + &service("b", "true", "after = [\"a\"]")));
    let path = file.path().to_str().unwrap();
    let ended = run(init(Position::Child).args(["check", "--json", "-f", path]));
    let plan: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let a = &plan["services"][0];
    assert_eq!((&a["user_id"], &a["group_id"]), (&54321.into(), &54322.into()), "{a:#}");
    assert_eq!(a["group_ids"], serde_json::json!([7]));
    assert_eq!(a["rlimits"]["core"]["hard"], "unlimited");
    assert_eq!(a["drop_capabilities"], serde_json::json!(["NET_RAW"]));
    assert_eq!(a["environment"]["set"], serde_json::json!(["TOKEN"]));
    assert_eq!((&a["ready"]["tcp"], &a["restart"]["max"]), (&"127.0.0.1:80".into(), &5.into()));
    assert_eq!(plan["services"][1]["after"], serde_json::json!(["a"]));
    assert_eq!(plan["in_file_order"], false);

    let text = run(init(Position::Child).args(["check", "-f", path])).stdout;
    for line in [
        "  umask: 0027",
        "  nice: 3",
        "  working_directory: /tmp",
        "  rlimits: core hard unlimited, soft unlimited",
        "  environment: drop X_*, set TOKEN",
        "  after: a",
    ] {
        assert!(text.lines().any(|other| other == line), "{line:?} in {text}");
    }
    assert!(!text.contains("secret") && !ended.stdout.contains("secret"));
    assert!(!text.contains("success_codes"), "what is not set is not shown: {text}");
}

#[test]
fn check_prints_the_plan_and_every_mistake() {
    let file = bundle(&service("a", "true", ""));
    let path = file.path().to_str().unwrap();
    let ended = run(init(Position::Child).args(["check", "-f", path]));
    assert_eq!(ended.code(), 0);
    assert!(ended.stdout.contains("SERVICE"), "{ended:?}");
    let ended = run(init(Position::Child).args(["check", "--json", "-f", path]));
    let plan: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(plan["services"][0]["name"], "a");

    let file = bundle("[[service]]\nname = \"a\"\ncommand = \"x\"\nnice = 99\n");
    let path = file.path().to_str().unwrap();
    for command in ["check", "run"] {
        let ended = run(init(Position::Child).args([command, "-f", path]));
        assert_eq!(ended.code(), 78);
        let places: Vec<&str> =
            told(&ended.stderr).iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(places, [format!("{path}:3:11"), format!("{path}:4:8")], "{ended:?}");
    }
    // What only the machine can tell has its place too.
    let lookups = "user = \"nosuch\"\nsupplementary-groups = [0, \"none\"]\n\
                   environment-file = [\"/nonexistent\", \"/nonexistent\"]\n";
    let file = bundle(&service("a", "exec true", lookups));
    let path = file.path().to_str().unwrap();
    let ended = run(init(Position::Child).args(["check", "-f", path]));
    assert_eq!(ended.code(), 78);
    let lines = told(&ended.stderr);
    assert!(lines[0].starts_with(&format!("{path}:4:8: user \"nosuch\" is not in")), "{lines:?}");
    assert!(lines[1].starts_with(&format!("{path}:5:28: group \"none\" is not in")), "{lines:?}");
    for (line, place) in lines[2..].iter().zip(["6:21", "6:37"]) {
        let reason = "can't read the environment file /nonexistent: No such file or directory";
        assert_eq!(*line, format!("{path}:{place}: {reason}"));
    }
    assert_eq!(lines.len(), 4, "{lines:?}");
    let ended = run(init(Position::Child).args(["run", "-f", "/nonexistent.toml"]));
    assert_eq!(ended.code(), 78);
    assert!(ended.stderr.contains("/nonexistent.toml"), "{ended:?}");
}

#[test]
fn what_could_hold_up_whoever_reads_it_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = &*harness::fifo(&directory, "fifo");
    for command in ["run", "check"] {
        for file in [fifo, "/dev/zero"] {
            let ended = run(init(Position::Child).args([command, "-f", file]));
            assert_eq!(ended.code(), 78);
            assert!(ended.stderr.contains("it is not a regular file"), "{ended:?}");
        }
        let file = bundle(&service("a", "true", &format!("environment-file = \"{fifo}\"")));
        let ended = run(init(Position::Child).args([command, "-f", file.path().to_str().unwrap()]));
        assert_eq!(ended.code(), 78);
        assert!(ended.stderr.contains("it is not a regular file"), "{ended:?}");
    }
}

#[test]
fn what_is_said_in_place_of_the_file_is_checked_like_the_file() {
    let telling = service("a", "echo up", "ready = { log = \"up\" }\ngrace = \"5s\"");
    let file = bundle(
        &(telling + &service("b", "true", "") + &service("c", "true", "requires = [\"b\"]")),
    );
    let path = file.path().to_str().unwrap();
    let refusals: [(&[&str], Option<&str>, i32, &str); 8] = [
        (&["--log", "inherit"], None, 78, "4:17: in log mode \"inherit\" (`log`, or --log)"),
        (&["--log", "inherit", "--only", "b"], None, 78, "4:17: in log mode"),
        (&["--grace", "4s"], None, 78, "5:9: `grace` of a service lies within the bundle's"),
        (&[], Some("4s"), 78, "which is 4s by --grace or SIDECAR_INIT_GRACE"),
        (&[], Some("soon"), 64, "SIDECAR_INIT_GRACE"),
        (&["--only", "c"], None, 65, "leaves out b, which c requires"),
        (&["--only", "nosuch", "--", "true"], None, 65, "--only leaves no service to run"),
        (&["--", ""], None, 64, "there is no command after --"),
    ];
    for (arguments, grace, code, words) in refusals {
        let ended = ["check", "run"].map(|command| {
            // An empty one counts as unset.
            let grace = grace.unwrap_or_default();
            run(ask(command, path, arguments).env("SIDECAR_INIT_GRACE", grace))
        });
        assert!(ended[0].stderr.contains(words), "{arguments:?}: {ended:?}");
        assert_eq!((ended[0].code(), ended[1].code()), (code, code), "{arguments:?}: {ended:?}");
        assert_eq!(ended[0].stderr, ended[1].stderr, "{arguments:?}");
    }
}

#[test]
fn the_plan_is_that_with_what_is_said_in_place_of_the_file() {
    let file = bundle(&service("a", "true", "grace = \"20s\""));
    let path = file.path().to_str().unwrap();
    assert_eq!(run(&mut ask("check", path, &[])).code(), 78, "longer than the bundle's 8s");
    let arguments = ["--json", "--grace", "30s", "--log", "json", "--", "tool", "x"];
    let mut command = ask("check", path, &arguments);
    let ended = run(command.env("SIDECAR_INIT_SOCKET", "/run/other.sock"));
    let plan: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&plan["grace_seconds"], &plan["socket"]),
        (&30.0.into(), &"/run/other.sock".into())
    );
    let services = plan["services"].as_array().unwrap();
    assert_eq!(
        (&services[0]["log"], &services[0]["grace_seconds"]),
        (&"json".into(), &20.0.into())
    );
    let main = (&services[1]["name"], &services[1]["log"], &services[1]["command"]);
    let command = serde_json::json!(["tool", "x"]);
    assert_eq!(main, (&"main".into(), &"inherit".into(), &command));
}

fn ask(subcommand: &str, path: &str, arguments: &[&str]) -> Command {
    let mut command = init(Position::Child);
    command.args([subcommand, "-f", path]).args(arguments);
    command
}

#[test]
fn of_a_file_that_is_no_bundle_a_part_of_the_errors_is_shown() {
    let file = bundle(&(0..5000).map(|number| format!("k{number} = 1\n")).collect::<String>());
    let path = file.path().to_str().unwrap();
    for command in ["run", "check"] {
        let ended = run(init(Position::Child).args([command, "-f", path]));
        assert_eq!(ended.code(), 78);
        let lines = told(&ended.stderr);
        assert_eq!(lines.len(), 51, "{lines:?}");
        // There is no [[service]] either.
        assert!(lines[50].ends_with(" one of 4951 more errors, which are not shown"), "{lines:?}");
    }
}

#[test]
fn who_names_instances_is_shown_with_their_common_name() {
    let text = service("a", "true", "instances = 1000")
        + &service("b", "true", "instances = 1000\nafter = [\"a\"]");
    let file = bundle(&text);
    let path = file.path().to_str().unwrap();
    let ended = run(init(Position::Child).args(["check", "--json", "-f", path]));
    let plan: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let services = plan["services"].as_array().unwrap();
    assert_eq!(services.len(), 2000);
    assert!(services[1000..].iter().all(|one| one["after"] == serde_json::json!(["a"])));

    let file = bundle(
        &(text
            + &(0..9)
                .map(|number| service(&format!("c{number}"), "true", "instances = 1000"))
                .collect::<String>()),
    );
    let ended = run(init(Position::Child).args(["check", "-f", file.path().to_str().unwrap()]));
    assert_eq!(ended.code(), 78);
    assert!(ended.stderr.contains("more than 10000 services"), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_printed_is_a_failure() {
    let file = bundle(&service("a", "true", ""));
    let path = file.path().to_str().unwrap();
    for arguments in [&["--version"][..], &["--help"], &["check", "-f", path]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(harness::binary()).args(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        let words = "sidecar-init: can't write to stdout: No space left on device\n";
        assert_eq!(String::from_utf8_lossy(&output.stderr), words, "{arguments:?}");
    }
}

/// A pipe with no more room, for the program to write into.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::empty()).unwrap();
    (reader, writer)
}

#[test]
fn a_signal_ends_what_nobody_reads() {
    let file = bundle(&service("a", "true", ""));
    for position in harness::positions() {
        let (reader, writer) = full_pipe();
        let mut command = init(position);
        command.args(["check", "-f"]).arg(file.path()).stdout(writer);
        let mut child = command.spawn().unwrap();
        drop(command);
        let pid = match position {
            Position::Pid1 | Position::Pid1ByInit => {
                harness::children(i32::try_from(child.id()).unwrap())[0]
            }
            Position::Child | Position::ChildByInit => i32::try_from(child.id()).unwrap(),
        };
        let call = format!("/proc/{pid}/syscall");
        // write(2) to descriptor 1, on x86-64 and on ARM.
        until("it waits for a reader", || {
            let call = std::fs::read_to_string(&call).ok()?;
            (call.starts_with("1 0x1 ") || call.starts_with("64 0x1 ")).then_some(())
        });
        harness::kill(pid, "TERM");
        let status = until("it ends", || child.try_wait().unwrap());
        match position {
            Position::Pid1 | Position::Pid1ByInit => assert_eq!(status.code(), Some(128 + 15)),
            Position::Child | Position::ChildByInit => assert_eq!(status.signal(), Some(15)),
        }
        drop(reader);
    }
}

#[test]
fn wrong_usage_ends_although_nobody_reads_why() {
    for position in harness::positions() {
        for arguments in [&["--nonsense"][..], &["run", "-f", "/nonexistent"]] {
            let (_reader, writer) = full_pipe();
            let mut child = init(position).args(arguments).stderr(writer).spawn().unwrap();
            let status = until("it ends", || child.try_wait().unwrap());
            let code = if arguments.len() == 1 { 64 } else { 78 };
            assert_eq!(status.code(), Some(code), "{position:?}");
        }
    }
}
