//! The control socket, by the program's own subcommands and by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use harness::controlled::{Controlled, client, service, text};
use harness::{Position, positions, start_bundle};
use predicates::prelude::*;
use predicates::str::{contains, starts_with};
use serde_json::{Value, json};
use test_support::{HANG, until};

#[test]
fn services_are_shown_stopped_started_and_restarted() {
    for position in positions() {
        let text =
            service("web", "requires = [\"cache\"]") + &service("cache", "restart = \"always\"");
        let bundle = Controlled::new(position, &text);
        bundle.says("wait web --ready").success();
        let mode = bundle.socket().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let table = starts_with("SERVICE  STATE  PID").and(contains("web      ready"));
        bundle.says("status").success().stdout(table);
        bundle.says("health").success().stdout("");

        bundle.wait_for_witness("cache");
        bundle.says("stop cache").success();
        assert_eq!(bundle.service("cache")["state"], "stopped");
        bundle.says("health").code(1).stdout("cache: stopped\n");
        bundle.says("wait cache --ready").code(1).stderr(contains("\"cache\" is stopped"));
        bundle.says("start cache").success();
        let before = bundle.service("cache");
        assert_eq!(before["last_exit_code"], 0);
        bundle.says("restart cache").success();
        let after = bundle.service("cache");
        assert_eq!(after["state"], "ready");
        assert_ne!(before["pid"], after["pid"]);
        assert_eq!(after["restarts"], 0, "only those that nobody asked for count");
        bundle.says("shutdown --code 7").success();
        bundle.ends_with(7);
    }
}

#[test]
fn a_signal_reaches_the_service_and_its_log_is_kept() {
    let mut bundle = Controlled::new(Position::Child, &service("web", ""));
    bundle.running.wait_for("[web] web");
    bundle.says("signal web HUP").success();
    bundle.running.wait_for("[web] HUP");
    bundle.says("logs web").success().stdout("web\nHUP\n");
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn a_log_is_followed_until_the_end() {
    let mut bundle = Controlled::new(Position::Child, &service("web", ""));
    bundle.running.wait_for("[web] web");
    let mut following =
        bundle.command("logs -f web").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "web");
    bundle.says("signal web HUP").success();
    assert_eq!(lines.next().unwrap(), "HUP");
    bundle.running.signal("TERM");
    assert_eq!(lines.collect::<Vec<_>>(), ["TERM"]);
    assert!(following.wait().unwrap().success());
    bundle.ends_with(0);
}

#[test]
fn a_follower_that_is_replaced_is_told_so() {
    let mut bundle = Controlled::new(Position::Child, &service("web", ""));
    bundle.running.wait_for("[web] web");
    let mut following = bundle.command("logs -f web");
    let mut following = following
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(following.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    let others: Vec<UnixStream> = (0..32)
        .map(|_| {
            let mut other = UnixStream::connect(bundle.socket()).unwrap();
            other.write_all(b"{\"command\": \"events\"}\n").unwrap();
            let mut answer = String::new();
            BufReader::new(&other).read_line(&mut answer).unwrap();
            other
        })
        .collect();
    let ended = following.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{ended:?}");
    assert!(said.contains("another client has replaced this one"), "{said}");
    drop(others);
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn events_are_a_stream_of_json() {
    let mut bundle = Controlled::new(Position::Child, &service("web", ""));
    // A signal before that would find no handler.
    bundle.running.wait_for("[web] web");
    let mut listener = BufReader::new(UnixStream::connect(bundle.socket()).unwrap());
    writeln!(listener.get_mut(), "{}", json!({"command": "events"})).unwrap();
    let mut next = || -> Value {
        let mut line = String::new();
        listener.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next()["ok"], true);
    bundle.says("restart web").success();
    let events: Vec<Value> = (0..4).map(|_| next()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["stopping", "exited", "started", "ready"]);
    assert_eq!((&events[0]["service"], &events[0]["signal"]), (&json!("web"), &json!("SIGTERM")));
    assert_eq!(events[1]["code"], 0);
    bundle.says("shutdown").success();
    assert_eq!((&next()["event"], &next()["event"]), (&json!("shutdown"), &json!("stopping")));
    bundle.ends_with(0);
}

#[test]
fn wait_says_what_is_missing_when_its_time_is_over() {
    let text = service("web", "ready = { file = \"/nonexistent\" }");
    let bundle = Controlled::new(Position::Child, &text);
    let reason = "not in time: web is starting\n";
    bundle.says("wait web --ready --timeout 10ms").code(1).stderr(contains(reason));
    until("it was looked for", || {
        let health = bundle.command("health").output().unwrap();
        assert_eq!(health.status.code(), Some(1));
        let said = String::from_utf8(health.stdout).unwrap();
        said.contains("web: starting: /nonexistent is not there").then_some(())
    });
    bundle.says("stop web").success();
    bundle.says("wait web --exited").success();
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn graph_metrics_and_timeline_are_served() {
    let text = service("web", "after = [\"cache\"]") + &service("cache", "");
    let bundle = Controlled::new(Position::Child, &text);
    bundle.says("wait web --ready").success();
    bundle.says("graph").success().stdout("web  after cache\ncache\n");
    bundle
        .says("metrics")
        .success()
        .stdout(contains("sidecar_init_service_up{service=\"web\"} 1\n"));
    let picture = starts_with("<svg ").and(contains(">cache</text>")).and(contains("</svg>"));
    bundle.says("timeline").success().stdout(picture);
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn figures_of_another_namespaces_proc_are_not_shown() {
    if !positions().contains(&Position::Pid1) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = harness::bundle(&text(&directory.path().join("socket"), &service("web", "")));
    // Without --mount-proc: there, the service's number is somebody else's, or nobody's.
    let mut command = Command::new("unshare");
    let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["-Ur"] };
    command.args(user).args(["--pid", "--fork", "--kill-child"]).arg(harness::binary());
    let running = harness::start(command.args(["run", "-f"]).arg(file.path()));
    let mut bundle = Controlled { running, directory };
    bundle.running.wait_for("[web] web");
    let web = bundle.service("web");
    assert!(web["pid"].as_i64().unwrap() < 10, "its number in the new namespace: {web}");
    assert_eq!((&web["memory_bytes"], &web["cpu_seconds"]), (&Value::Null, &Value::Null));
    bundle.says("metrics").success().stdout(contains("memory_bytes{").not());
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn what_is_wrong_is_said_and_changes_nothing() {
    let mut bundle = Controlled::new(Position::Child, &service("web", ""));
    bundle.running.wait_for("[web] web");
    for (arguments, code, error) in [
        ("stop wbe", 1, "there is no service \"wbe\"; there are web"),
        ("stop", 64, "stop takes the names of services: stop web"),
        ("stop web --json", 64, "stop takes no option --json"),
        ("status web", 64, "status takes no 'web'"),
        ("signal web", 64, "signal takes services and a signal: signal web HUP"),
        ("signal web NOSUCH", 64, "NOSUCH"),
        ("wait web", 64, "wait takes --ready or --exited"),
        ("shutdown --code 256", 64, "--code: \"256\" is not a number from 0 to 255"),
    ] {
        bundle.says(arguments).code(code).stdout("").stderr(contains(error));
    }
    let answer = bundle.ask(&json!("status"));
    assert_eq!(answer["ok"], false);
    let answer = bundle.ask(&json!({"command": "stop", "services": ["web", "wbe"]}));
    assert_eq!(answer["ok"], false);
    assert_eq!(bundle.service("web")["state"], "ready", "not even the half of it was done");
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn nobody_else_is_let_in() {
    if !test_support::notices::is_root() {
        return;
    }
    let bundle = Controlled::new(Position::Child, &service("web", ""));
    // In spite of a mode that lets everybody in.
    let everybody =
        Command::new("chmod").arg("-R").arg("a+rwX").arg(bundle.directory.path()).status();
    assert!(everybody.unwrap().success());
    let other = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                 s.send(b'{\"command\":\"status\"}\\n'); print(s.recv(10) or 'sent away')";
    let ended = Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups", "/usr/bin/python3", "-c", other])
        .arg(bundle.socket())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned()
        + &String::from_utf8_lossy(&ended.stderr);
    assert!(
        said == "sent away\n" || said.contains("Broken pipe") || said.contains("reset"),
        "{said}"
    );
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn the_socket_replaces_a_stale_one_and_goes_at_the_end() {
    let bundle = Controlled::new(Position::Child, &service("web", ""));
    let (mut running, directory) = (bundle.running, bundle.directory);
    running.kill_all();
    let socket = directory.path().join("socket");
    assert!(socket.exists());
    client(&socket, "status")
        .output()
        .map(|output| assert_eq!(output.status.code(), Some(69)))
        .unwrap();
    let text = format!("[bundle]\nsocket = \"{}\"\n{}", socket.display(), service("web", ""));
    let running = start_bundle(Position::Child, &text);
    until("it answers", || {
        client(&socket, "status").output().ok().filter(|output| output.status.success())
    });
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
    assert!(!socket.exists());
}

#[test]
fn without_a_writable_place_all_else_works() {
    let text = format!("[bundle]\nsocket = \"/proc/nosuch\"\n{}", service("web", ""));
    let mut running = start_bundle(Position::Child, &text);
    running.wait_for("[web] web");
    running.signal("TERM");
    let ended = running.end();
    assert_eq!(ended.code(), 0);
    assert!(ended.stderr.contains("can't open the control socket /proc/nosuch: "), "{ended:?}");
}

#[test]
fn a_client_is_ended_by_a_signal_like_any_program() {
    let bundle = Controlled::new(Position::Child, &service("web", ""));
    let mut listener =
        bundle.command("events").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdout = listener.stdout.take().unwrap();
    bundle.says("restart web").success();
    // Whether it listens already or not: what it writes says so, and its end is the signal's.
    harness::kill(i32::try_from(listener.id()).unwrap(), "TERM");
    let status = listener.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    stdout.read_to_end(&mut Vec::new()).unwrap();
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn a_reload_starts_stops_and_restarts_what_has_changed() {
    for position in positions() {
        let old = service("same", "") + &service("changed", "") + &service("gone", "");
        let mut bundle = Controlled::new(position, &old);
        for name in ["same", "changed", "gone"] {
            bundle.wait_for_witness(name);
        }
        bundle.says("reload").success().stdout("nothing has changed\n");
        let before = ["same", "changed"].map(|name| bundle.service(name)["pid"].clone());

        let new = service("new", "") + &service("changed", "nice = 5") + &service("same", "");
        bundle.rewrite(&new);
        let words = "started: new\nrestarted: changed\nstopped: gone\n";
        bundle.says("reload").success().stdout(words);
        for name in ["new", "changed"] {
            bundle.says(&format!("wait {name} --ready")).success();
        }
        // The changed one may just be between its two runs.
        until("the old one is gone", || {
            (bundle.service("changed")["pid"] != before[1]).then_some(())
        });
        let after = ["same", "changed"].map(|name| bundle.service(name)["pid"].clone());
        assert_eq!(before[0], after[0]);
        bundle.says("status").success().stdout(contains("gone").not());
        bundle.says("start gone").code(1).stderr(contains("no service \"gone\""));
        bundle.running.wait_for("[gone] TERM");

        // The other way round, so that the id of one that is gone serves another.
        bundle.rewrite(&(service("other", "") + &service("gone", "")));
        let words = "started: other, gone\nstopped: same, changed, new\n";
        bundle.says("reload").success().stdout(words);
        bundle.says("wait gone --ready").success();
        bundle.wait_for_witness("other");
        bundle.says("logs other").success().stdout("other\n");
        bundle.says("shutdown").success();
        bundle.ends_with(0);
    }
}

#[test]
fn a_bad_file_changes_nothing() {
    let bundle = Controlled::new(Position::Child, &service("web", ""));
    bundle.says("wait web --ready").success();
    let before = bundle.service("web")["pid"].clone();
    for (services, error) in [
        ("[[service]]\nname = \"web\"\n", "this [[service]] has no `command`"),
        (&*service("other", "user = \"nosuch\""), "nosuch"),
    ] {
        bundle.rewrite(services);
        bundle.says("reload").code(1).stderr(contains(error));
    }
    assert_eq!(bundle.service("web")["pid"], before);
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn a_signal_reloads() {
    let route = "[signals]\nHUP = { reload = true }\n";
    let mut bundle = Controlled::new(Position::Child, &(service("web", "") + route));
    bundle.running.wait_for("[web] web");
    bundle.rewrite(&(service("web", "") + &service("new", "") + route));
    bundle.running.signal("HUP");
    bundle.running.wait_for("[new] new");
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn a_changed_service_ends_as_it_was_meant_to_when_it_was_started() {
    let with = |stop: &str| {
        let script = harness::with_witness("exec WITNESS up USR1=USR1!0 TERM=TERM!0");
        format!(
            "[[service]]\nname = \"web\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nstop-signal = \"{stop}\"\n"
        )
    };
    let mut bundle = Controlled::new(Position::Child, &with("USR1"));
    bundle.running.wait_for("[web] up");
    bundle.rewrite(&with("TERM"));
    bundle.says("reload").success();
    bundle.running.wait_for("[web] USR1");
    bundle.running.wait_for("[web] up");
    bundle.says("stop web").success();
    bundle.running.wait_for("[web] TERM");
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn events_are_appended_to_a_file_and_handed_to_a_command() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).display().to_string();
    let head = format!(
        "[bundle]\nsocket = \"none\"\non-event = {{ file = \"{}\", events = [\"exited\", \"shutdown\"], \
         command = [\"sh\", \"-c\", 'echo \"$SIDECAR_INIT_EVENT\" >> {}'] }}\n",
        place("file"),
        place("by-command"),
    );
    let mut running = start_bundle(Position::Child, &(head + &service("web", "")));
    running.wait_for("[web] web");
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
    let events = |name: &str| -> Vec<(Value, Value)> {
        let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
        let mut events: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // Commands run side by side.
        events.sort_by_key(|event| event["time"].to_string());
        events.iter().map(|event| (event["event"].clone(), event["service"].clone())).collect()
    };
    let expected = [(json!("shutdown"), Value::Null), (json!("exited"), json!("web"))];
    assert_eq!(events("file"), expected);
    assert_eq!(events("by-command"), expected, "the last one was waited for");
}

#[test]
fn events_of_which_nobody_wants_to_know_any_more_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let go = harness::fifo(&directory, "go");
    let services: String = (0..8).map(|number| service(&format!("s{number}"), "")).collect();
    // Four commands run, and more events wait for theirs.
    let hook = format!("on-event = {{ command = [\"sh\", \"-c\", \"read x < {go}; true\"] }}\n");
    let bundle = Controlled::new(Position::Child, &(hook + &services));
    bundle.says("wait s7 --ready").success();
    bundle.rewrite(&services);
    bundle.says("reload").success();
    // One that has it open for both waits for nobody, fifo(7).
    let mut end = std::fs::File::options().read(true).write(true).open(&go).unwrap();
    end.write_all(b"\n\n\n\n").unwrap();
    bundle.says("shutdown").success();
    let ended = bundle.running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(!ended.stderr.contains("can't run the command of `on-event`"), "{ended:?}");
}

#[test]
fn a_file_of_events_that_is_full_has_whole_lines() {
    let directory = tempfile::tempdir().unwrap();
    let events = directory.path().join("events");
    let head = format!("[bundle]\non-event = {{ file = \"{}\" }}\n", events.display());
    let busy = "[[service]]\nname = \"busy\"\ncommand = [\"true\"]\non-exit = \"ignore\"\n\
                restart = { policy = \"always\", delay = \"1ms\", max = 12, max-delay = \"1ms\" }\n";
    let file = harness::bundle(&(head + busy));
    // A file that may not grow any further (EFBIG) stands for a disk.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 2; exec \"$0\" \"$@\""]).arg(harness::binary());
    let ended = harness::run(command.args(["run", "-f"]).arg(file.path()));
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains("(`on-event`): File too large"), "{ended:?}");
    let text = std::fs::read_to_string(&events).unwrap();
    assert!(text.ends_with('\n'), "{text}");
    for line in text.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{text}");
    }
}

#[test]
fn a_hook_that_can_not_work_is_said_and_holds_nothing_up() {
    let head = "[bundle]\non-event = { file = \"/nosuch/file\", command = [\"nosuch\"] }\n";
    let mut running = start_bundle(Position::Child, &(head.to_owned() + &service("web", "")));
    running.wait_for("[web] web");
    running.signal("TERM");
    let ended = running.end();
    assert_eq!(ended.code(), 0);
    let file = "can't append to /nosuch/file (`on-event`): No such file or directory";
    assert_eq!(ended.stderr.matches(file).count(), 1, "{ended:?}");
    let command = "can't run the command of `on-event`: command \"nosuch\" not found in PATH";
    assert!(ended.stderr.contains(command), "{ended:?}");
}

#[test]
fn one_that_waits_and_has_left_is_forgotten() {
    let bundle =
        Controlled::new(Position::Child, &service("web", "ready = { file = \"/nosuch\" }"));
    let init = bundle.running.pid();
    // The one that it listens at is left.
    let clients = || {
        let links = std::fs::read_dir(format!("/proc/{init}/fd")).unwrap();
        let links = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count() - 1
    };
    until("whoever looked for the socket is forgotten", || (clients() == 0).then_some(()));
    // Stopped, the init meets the request and the end of the connection at once.
    harness::kill(init, "STOP");
    let mut client = UnixStream::connect(bundle.socket()).unwrap();
    let wait = json!({"command": "wait", "service": "web", "for": "ready"});
    writeln!(client, "{wait}").unwrap();
    drop(client);
    // And one that talks on, more than the init would read at once.
    let mut client = UnixStream::connect(bundle.socket()).unwrap();
    writeln!(client, "{wait}").unwrap();
    client.write_all(&[b'x'; 20_000]).unwrap();
    harness::kill(init, "CONT");
    bundle.ask(&json!({"command": "status"}));
    drop(client);
    until("both are forgotten", || (clients() == 0).then_some(()));
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}

#[test]
fn one_that_has_waited_may_not_stay_for_ever() {
    let bundle =
        Controlled::new(Position::Child, &service("web", "ready = { file = \"/nosuch\" }"));
    let mut client = BufReader::new(UnixStream::connect(bundle.socket()).unwrap());
    client.get_ref().set_read_timeout(Some(HANG)).unwrap();
    let wait =
        json!({"command": "wait", "service": "web", "for": "ready", "timeout_seconds": 0.01});
    writeln!(client.get_mut(), "{wait}").unwrap();
    let mut answer = String::new();
    client.read_line(&mut answer).unwrap();
    assert!(answer.contains("not in time"), "{answer}");
    // It says nothing more, and is sent away.
    // Unlike read(2) this goes on after EINTR, which a pause of all processes causes, signal(7).
    assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0);
    bundle.says("shutdown").success();
    bundle.ends_with(0);
}
