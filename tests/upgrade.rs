//! What version 1 has written and said is still read, and what was written for it still works. `tests/upgrade/` is
//! what a program of version 1 keeps and says, recorded once.
//!
//! The files there only ever get more. A change that needs another value in one of them breaks those who rely on
//! version 1: it needs version 2, and recordings of both. `docs/bundle.md` and `docs/control.md` say the rules.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use harness::Position;
use harness::controlled::Controlled;
use predicates::str::contains;
use serde_json::{Value, json};
use sidecar_init::bundle::toml::keys;
use sidecar_init::client::{Client, ErrorKind};
use sidecar_init::protocol::{EventKind, Goal, Request, StateKind};
use sidecar_init::signal::Signal;
use sidecar_init::words::Words;
use test_support::HANG;

const BUNDLE: &str = include_str!("upgrade/bundle.toml");
const PLAN: &str = include_str!("upgrade/plan.json");
/// What `CONTROL` is about.
const SERVED: &str = include_str!("upgrade/served.toml");
/// Requests with their answers, one after the other, and what a stream says until the end.
const CONTROL: &str = include_str!("upgrade/control.jsonl");
/// An event of each kind.
const EVENTS: &str = include_str!("upgrade/events.jsonl");
/// The end of the same bundle.
const RECORD: &str = include_str!("upgrade/record.json");

const BROKEN: &str = "this breaks those who rely on version 1; keep it, or raise the version";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Where `now` lacks something that version 1 has said, or says it in another way. More fields are fine.
fn lost(recorded: &Value, now: &Value, place: &str) -> Vec<String> {
    let differs = || vec![format!("{place} was {recorded}, and is {now}")];
    match (recorded, now) {
        (Value::Object(recorded), Value::Object(now)) => recorded
            .iter()
            .flat_map(|(key, recorded)| {
                let place = format!("{place}.{key}");
                match now.get(key) {
                    None => vec![format!("{place} is missing")],
                    Some(now) if varies(key) && is_alike(recorded, now) => Vec::new(),
                    Some(now) => lost(recorded, now, &place),
                }
            })
            .collect(),
        (Value::Array(recorded), Value::Array(now)) if recorded.len() == now.len() => recorded
            .iter()
            .zip(now)
            .enumerate()
            .flat_map(|(at, (recorded, now))| lost(recorded, now, &format!("{place}[{at}]")))
            .collect(),
        _ if recorded == now => Vec::new(),
        _ => differs(),
    }
}

/// Whether the value of this key is another one in each run.
fn varies(key: &str) -> bool {
    let of_the_run =
        ["time", "pid", "memory_bytes", "cpu_seconds", "uptime_seconds", "ran_seconds"];
    let of_the_timeline = ["started_seconds", "ready_seconds", "asked_seconds", "ended_seconds"];
    of_the_run.contains(&key) || of_the_timeline.contains(&key)
}

fn is_alike(one: &Value, other: &Value) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// Fails if something of version 1 is lost.
fn assert_kept(of: &str, recorded: &Value, now: &Value) {
    let lost = lost(recorded, now, "");
    assert!(lost.is_empty(), "{of}: {BROKEN}:\n{}", lost.join("\n"));
}

#[test]
fn a_file_of_version_1_means_the_same() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/upgrade/bundle.toml");
    let mut check = assert_cmd::Command::new(harness::binary());
    check.env_remove("SIDECAR_INIT_SOCKET").env_remove("SIDECAR_INIT_GRACE");
    check.current_dir("/").args(["check", "--json", "-f", file]);
    let output = check.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{BROKEN}: {errors}");
    let plan = String::from_utf8(output.stdout).unwrap();
    let plan = plan.replace(concat!(env!("CARGO_MANIFEST_DIR"), "/"), "");
    let plan = serde_json::from_str(&plan).unwrap();
    assert_kept("the meaning of a file", &serde_json::from_str(PLAN).unwrap(), &plan);
    test_support::bundles::keep(BUNDLE);
}

#[test]
fn everything_of_version_1_is_recorded() {
    let words: Vec<&str> = BUNDLE.split([' ', '\n']).collect();
    for key in keys() {
        assert!(words.contains(&key), "add the key `{key}` to bundle.toml, and to plan.json");
    }
    let control = lines(CONTROL);
    for command in Request::COMMANDS {
        let is_there = control.iter().any(|line| line["request"]["command"] == *command);
        assert!(is_there, "add the request `{command}` to control.jsonl");
    }
    let events = lines(EVENTS);
    for kind in EventKind::all_words() {
        let is_there = events.iter().any(|event| event["event"] == kind);
        assert!(is_there, "add the event `{kind}` to events.jsonl");
    }
}

/// A stream that an init of today gives, and what it said when it was recorded.
type Followed = (BufReader<UnixStream>, Vec<Value>);

#[test]
fn requests_of_version_1_get_their_answers() {
    let bundle = Controlled::new(Position::Child, SERVED);
    let mut streams: Vec<Followed> = Vec::new();
    for exchange in lines(CONTROL) {
        let request = &exchange["request"];
        let mut stream = BufReader::new(UnixStream::connect(bundle.socket()).unwrap());
        stream.get_ref().set_read_timeout(Some(HANG)).unwrap();
        writeln!(stream.get_mut(), "{request}").unwrap();
        assert_kept(&format!("the answer to {request}"), &exchange["answer"], &next(&mut stream));
        if let Some(then) = exchange["then"].as_array() {
            streams.push((stream, then.clone()));
        }
    }
    for (mut stream, then) in streams {
        for recorded in then {
            assert_kept("the stream", &recorded, &next(&mut stream));
        }
    }
    let ended = bundle.running.end();
    assert_eq!(ended.code(), 3);
    let record = serde_json::from_str(ended.record()).unwrap();
    assert_kept("the closing record", &serde_json::from_str(RECORD).unwrap(), &record);
}

fn next(stream: &mut impl BufRead) -> Value {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn the_init_refuses_a_request_of_a_later_version_and_names_its_own() {
    let bundle = Controlled::new(Position::Child, SERVED);
    let later = json!({"version": 2, "command": "shutdown", "after": "1h"});
    let answer = bundle.ask(&later);
    assert_eq!((&answer["ok"], &answer["version"]), (&json!(false), &json!(1)));
    let error =
        "this init speaks only version 1 of the control protocol, and \"version\" is another";
    assert_eq!(answer["error"], error);
    assert_eq!(bundle.ask(&json!({"version": 1, "command": "health"}))["version"], 1);
    bundle.says("shutdown").success();
}

/// An init that answers as it was recorded, for as long as the test runs.
struct Recorded {
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Recorded {
    /// Each request gets its answer and what follows.
    fn new(exchanges: Vec<Value>) -> Recorded {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let request = next(&mut stream);
                let unknown =
                    json!({"answer": {"ok": false, "error": "version 1 has no such request"}});
                let known = exchanges.iter().find(|exchange| exchange["request"] == request);
                let known = known.unwrap_or(&unknown);
                for line in [&known["answer"]]
                    .into_iter()
                    .chain(known["then"].as_array().into_iter().flatten())
                {
                    writeln!(stream.get_mut(), "{line}").unwrap();
                }
            }
        });
        Recorded { socket, _directory: directory }
    }

    fn client(&self) -> Client {
        Client::at(&self.socket)
    }
}

#[test]
fn an_init_of_version_1_is_understood() {
    let control = lines(CONTROL);
    let init = Recorded::new(control.clone());
    let client = init.client();
    let answer = |command: &str| {
        let of = |line: &&Value| line["request"]["command"] == command;
        control.iter().find(of).unwrap()["answer"].clone()
    };
    // All of each answer, as it is shown again.
    for (command, shown) in [
        ("status", client.status().expect(BROKEN).to_string()),
        ("health", client.health().expect(BROKEN).to_string()),
        ("graph", client.graph().expect(BROKEN).to_string()),
        ("timeline", client.timeline().expect(BROKEN).to_string()),
        ("metrics", client.metrics().expect(BROKEN).to_string()),
        ("reload", client.reload().expect(BROKEN).to_string()),
    ] {
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), answer(command), "{command}");
    }
    assert_eq!(client.status().expect(BROKEN).services[1].state, StateKind::Ready);
    let minute = Some(Duration::from_secs(60));
    client.wait("web", Goal::Ready, minute).expect(BROKEN);
    client.signal(["web"], Signal::CONT).expect(BROKEN);
    client.stop(["web"], minute).expect(BROKEN);
    client.start(["web"], None).expect(BROKEN);
    client.restart(["web"], minute).expect(BROKEN);
    client.shutdown(3).expect(BROKEN);
    let late = client.wait("web", Goal::Exited, Some(Duration::ZERO)).unwrap_err();
    assert_eq!(
        (late.kind(), &*late.to_string()),
        (ErrorKind::TimedOut, "not in time: web is ready")
    );
    let refused = client.stop(["wbe"], None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert_eq!(refused.to_string(), "there is no service \"wbe\"; there are once, web");
    assert_eq!(client.logs("web").expect(BROKEN), "up\n");
    let followed: Vec<String> = client.follow("web").expect(BROKEN).map(Result::unwrap).collect();
    assert_eq!(followed, ["up\n"; 3]);
}

/// An init that gives this answer to `events`, and then these.
fn telling(answer: &Value, events: &[Value]) -> Recorded {
    let exchange = json!({"request": {"command": "events"}, "answer": answer, "then": events});
    Recorded::new(vec![exchange])
}

#[test]
fn events_are_read_and_later_ones_left_out() {
    let events = lines(EVENTS);
    let mut told = events.clone();
    told.insert(3, json!({"event": "frozen", "service": "web", "time": "t", "by": 1}));
    told[0]["cgroup"] = json!("/web");
    let init = telling(&json!({"ok": true, "version": 1, "since": 0}), &told);
    let read = |event: &dyn ToString| serde_json::from_str::<Value>(&event.to_string()).unwrap();
    let one_by_one = init.client().events().unwrap().map(|event| read(&event.unwrap()));
    assert_eq!(one_by_one.collect::<Vec<_>>(), events);
    let mut batches = init.client().events().unwrap();
    let mut all = Vec::new();
    while let Some(batch) = batches.batch(HANG).unwrap() {
        all.extend(batch.iter().map(|event| read(event)));
    }
    assert_eq!(all, events);
}

#[test]
fn an_init_that_names_no_version_is_of_version_1() {
    assert!(telling(&json!({"ok": true}), &[]).client().events().is_ok());
}

#[test]
fn an_init_of_another_version_is_named() {
    // Whether it takes the request or not.
    for answer in [json!({"ok": true, "version": 2}), json!({"ok": false, "version": 2, "no": 1})] {
        let init = telling(&answer, &[]);
        let error = init.client().events().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OtherVersion);
        let text = "the init speaks version 2 of the control protocol, this program 1: use the \
                    sidecar-init binary of that container";
        assert_eq!(error.to_string(), text);
        let mut events = assert_cmd::Command::new(harness::binary());
        let said = events.arg("events").env("SIDECAR_INIT_SOCKET", &init.socket).assert();
        said.code(69).stdout("").stderr(contains(text));
    }
}
