//! A new bundle is read and checked beside the init, which goes on meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use harness::dead_file_system::DeadFileSystem;
use harness::{PYTHON, Position, Running, positions, start_bundle};
use test_support::programs::has;
use test_support::until;

/// A bundle that runs, and its control socket.
struct Bundle {
    running: Running,
    directory: tempfile::TempDir,
}

impl Bundle {
    fn new(position: Position) -> Bundle {
        let directory = tempfile::tempdir().unwrap();
        let bundle = text(&directory.path().join("socket"), &service("web", ""));
        let mut running = start_bundle(position, &bundle);
        running.wait_for("[web] web");
        Bundle { running, directory }
    }

    fn rewrite(&self, services: &str) {
        self.running.rewrite(&text(&self.socket(), services));
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(harness::binary());
        command.args(arguments).arg("--socket").arg(self.socket());
        command
    }

    /// A client that waits for the answer to its `reload`.
    fn reload(&self) -> Child {
        let mut command = self.client(&["reload"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The process that reads the bundle, when it has come to a file that is never read.
    fn reader(&self) -> i32 {
        let init = self.running.pid();
        let is_reader = |pid: &i32| {
            let executable = |pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
            executable(*pid).is_some() && executable(*pid) == executable(init)
        };
        let is_held_up = |pid: &i32| {
            let place = std::fs::read_to_string(format!("/proc/{pid}/wchan"));
            place.is_ok_and(|place| place.contains("fuse") || place.contains("request_wait"))
        };
        until("somebody reads the bundle, and is held up", || {
            let children = harness::children(init);
            children.into_iter().find(|pid| is_reader(pid) && is_held_up(pid))
        })
    }

    /// The init does what it is there for.
    fn goes_on(&mut self) {
        assert!(self.client(&["signal", "web", "HUP"]).status().unwrap().success());
        self.running.wait_for("[web] HUP");
    }
}

fn text(socket: &std::path::Path, services: &str) -> String {
    let head = format!("[bundle]\nsocket = \"{}\"\n", socket.display());
    head + "[signals]\nUSR1 = { reload = true }\n" + services
}

fn service(name: &str, more: &str) -> String {
    let script = harness::with_witness(&format!("exec WITNESS {name} HUP=HUP TERM=!0"));
    format!("[[service]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n{more}\n")
}

/// What a client was told.
fn told(client: Child) -> (Option<i32>, String) {
    let output = client.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_file_that_is_never_read_holds_up_nobody_and_no_request_is_lost() {
    let Some(dead) = DeadFileSystem::mount() else { return };
    let mut bundle = Bundle::new(Position::Child);
    let path = dead.path("environment");
    bundle.rewrite(&service("web", &format!("environment-file = \"{}\"", path.display())));
    let first = bundle.reload();
    bundle.reader();
    bundle.rewrite(&(service("web", "") + &service("new", "")));
    let second = bundle.reload();
    bundle.goes_on();
    let (code, words) = told(first);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("reading it took longer than 10s"), "{words}");
    assert_eq!(told(second), (Some(0), "started: new\n".to_owned()));
    bundle.running.wait_for("[new] new");
    bundle.running.signal("TERM");
    assert_eq!(bundle.running.end().code(), 0);
}

#[test]
fn places_of_sockets_that_do_not_answer_hold_up_nobody() {
    let Some(dead) = DeadFileSystem::mount() else { return };
    let listen = |path: PathBuf| format!("listen = [\"unix:{}\"]", path.display());
    for position in positions() {
        let mut bundle = Bundle::new(position);
        bundle.rewrite(&(service("web", "") + &service("new", &listen(dead.path("new")))));
        bundle.running.signal("USR1");
        bundle.reader();
        bundle.goes_on();
        bundle.running.signal("TERM");
        assert_eq!(bundle.running.end().code(), 0);
    }

    // One that was made, and is to be removed.
    let held = tempfile::tempdir().unwrap();
    let mut bundle = Bundle::new(Position::Child);
    bundle.rewrite(&(service("web", "") + &service("old", &listen(held.path().join("old")))));
    assert_eq!(told(bundle.reload()), (Some(0), "started: old\n".to_owned()));
    bundle.running.wait_for("[old] old");
    let _dead = DeadFileSystem::mount_over(held.path());
    bundle.rewrite(&service("web", ""));
    bundle.running.signal("USR1");
    bundle.reader();
    bundle.goes_on();
    bundle.running.signal("TERM");
    assert_eq!(bundle.running.end().code(), 0);
}

#[test]
fn the_shutdown_does_not_wait_for_who_reads_the_bundle() {
    let Some(dead) = DeadFileSystem::mount() else { return };
    for position in positions() {
        let bundle = Bundle::new(position);
        let path = dead.path("environment");
        bundle.rewrite(&service("web", &format!("environment-file = \"{}\"", path.display())));
        bundle.running.signal("USR1");
        bundle.reader();
        let client = bundle.reload();
        // Whichever the init hears of first.
        bundle.running.signal("TERM");
        let ended = bundle.running.end();
        assert_eq!(ended.code(), 0, "{ended:?}");
        let reason = "bundle not reloaded: the bundle is shutting down";
        assert!(ended.stderr.contains(reason), "{ended:?}");
        assert!(!ended.stderr.contains("the grace is over"), "{ended:?}");
        assert_ne!(told(client).0, Some(0));
    }
}

#[test]
fn a_reader_that_is_ended_is_an_answer() {
    let Some(dead) = DeadFileSystem::mount() else { return };
    let mut bundle = Bundle::new(Position::Child);
    let path = dead.path("environment");
    bundle.rewrite(&service("web", &format!("environment-file = \"{}\"", path.display())));
    let client = bundle.reload();
    harness::kill(bundle.reader(), "KILL");
    let (code, words) = told(client);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("the process that read it has ended before it was done"), "{words}");
    bundle.goes_on();
    bundle.rewrite(&service("web", ""));
    assert_eq!(told(bundle.reload()), (Some(0), "nothing has changed\n".to_owned()));
    bundle.running.signal("TERM");
    assert_eq!(bundle.running.end().code(), 0);
}

#[test]
fn who_reads_the_bundle_is_nobodys_main_process() {
    let Some(dead) = DeadFileSystem::mount().filter(|_| has(PYTHON)) else { return };
    let script = r#"
import os, signal, socket, sys
def say(text):
    to = os.environ["NOTIFY_SOCKET"].replace("@", "\0")
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(text.encode(), to)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
print("up", flush=True)
signal.sigwait([signal.SIGHUP])
say("MAINPID=" + open(sys.argv[1]).read())
say("READY=1")
signal.pause()
"#;
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("pid");
    let socket = directory.path().join("socket");
    let liar = format!(
        "[[service]]\nname = \"liar\"\nnotify = \"systemd\"\nenvironment-drop = [\"PYTHON*\"]\n\
         command = [\"{PYTHON}\", \"-c\", '''{script}''', \"{}\"]\n",
        place.display()
    );
    let mut running = start_bundle(Position::Child, &text(&socket, &liar));
    running.wait_for("[liar] up");
    let bundle = Bundle { running, directory };
    let path = dead.path("environment");
    bundle.rewrite(&format!("{liar}environment-file = \"{}\"\n", path.display()));
    bundle.running.signal("USR1");
    let reader = bundle.reader();
    std::fs::write(place, reader.to_string()).unwrap();
    assert!(bundle.client(&["signal", "liar", "HUP"]).status().unwrap().success());
    assert!(bundle.client(&["wait", "liar", "--ready"]).status().unwrap().success());
    bundle.running.signal("TERM");
    let ended = bundle.running.end();
    let refusal = format!("says MAINPID={reader}, which is no process of its own: ignored");
    assert!(ended.stderr.contains(&refusal), "{ended:?}");
}

#[test]
fn where_no_process_can_be_made_a_reload_fails_and_the_bundle_goes_on() {
    if !has("strace") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = harness::bundle(&text(&directory.path().join("socket"), &service("web", "")));
    let mut command = Command::new("strace");
    command.args(["-o", "/dev/null", "-e", "trace=fork,clone,clone3"]);
    command.args(["-e", "inject=fork,clone,clone3:error=EAGAIN:when=2+"]).arg(harness::binary());
    let mut running = harness::start(command.args(["run", "-f"]).arg(file.path()));
    running.wait_for("[web] web");
    let init = harness::children(running.pid())[0];
    let mut bundle = Bundle { running, directory };
    let (code, words) = told(bundle.reload());
    assert_eq!(code, Some(1), "{words}");
    let reason = "can't make a process that reads it: Resource temporarily unavailable";
    assert!(words.contains(reason), "{words}");
    bundle.goes_on();
    harness::kill(init, "TERM");
    let ended = bundle.running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains(&format!("bundle not reloaded: {reason}")), "{ended:?}");
}

#[test]
fn a_reload_by_signal_that_fails_is_an_event() {
    let mut bundle = Bundle::new(Position::Child);
    let mut events = BufReader::new(UnixStream::connect(bundle.socket()).unwrap());
    events.get_mut().write_all(b"{\"command\": \"events\"}\n").unwrap();
    let mut read = || {
        let mut line = String::new();
        events.read_line(&mut line).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    assert_eq!(read()["ok"], true);
    bundle.rewrite("[[service]]\nnaem = \"web\"\n");
    bundle.running.signal("USR1");
    let event = read();
    assert_eq!(event["event"], "reload-failed", "{event}");
    assert!(event["reason"].as_str().unwrap().contains("naem"), "{event}");
    // A hook gets it in a variable, which the kernel limits to 128 KiB (execve(2)).
    bundle.rewrite(&service("web", &format!("after = [\"{}\"]", "x".repeat(200_000))));
    bundle.running.signal("USR1");
    assert!(read().to_string().len() < 2000);
    bundle.goes_on();
    bundle.running.signal("TERM");
    assert_eq!(bundle.running.end().code(), 0);
}

#[test]
fn a_file_that_is_no_bundle_is_refused_in_few_words() {
    let mut bundle = Bundle::new(Position::Child);
    bundle.rewrite(&(0..5000).map(|number| format!("k{number} = 1\n")).collect::<String>());
    let (code, words) = told(bundle.reload());
    assert_eq!((code, words.lines().count()), (Some(1), 51), "{words}");
    bundle.goes_on();
    bundle.running.signal("TERM");
    assert_eq!(bundle.running.end().code(), 0);
}

#[test]
fn a_bundle_of_very_many_services_takes_little_memory() {
    const MOST_KIB: u64 = 40 * 1024;
    let bundle = Bundle::new(Position::Child);
    let group = |number: usize| {
        let after: Vec<String> = (0..number).map(|earlier| format!("\"s{earlier}\"")).collect();
        let after = ["\"web\"".to_owned()].into_iter().chain(after).collect::<Vec<_>>().join(", ");
        format!(
            "[[service]]\nname = \"s{number}\"\ncommand = [\"true\"]\ninstances = 1000\n\
             on-exit = \"ignore\"\nafter = [{after}]\n"
        )
    };
    // The first is never ready, so that nobody of the others is started.
    let first = service("web", "ready = { file = \"/nosuch\" }\nstart-timeout = \"1h\"");
    bundle.rewrite(&(first + &(0..5).map(group).collect::<String>()));
    let (code, words) = told(bundle.reload());
    assert_eq!(code, Some(0), "{words}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", bundle.running.pid())).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let memory: u64 = memory.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(memory < MOST_KIB, "{memory} KiB");
    bundle.running.signal("TERM");
    assert_eq!(bundle.running.end().code(), 0);
}
