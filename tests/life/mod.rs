//! The whole life of an init: of one command, and of a bundle that uses every feature. It may be
//! one in which something fails: no step panics, and none takes long.

#![allow(dead_code)] // each test binary uses a part of it

pub mod traced;

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{self, Position, Running, with_witness};
use test_support::programs::actor;
use test_support::until;

/// What one step may take. An init that answers needs a hundredth of it, but strace slows it down, and
/// the machine may be busy.
const STEP: Duration = Duration::from_secs(60);

/// What is lived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One command.
    Command,
    /// A bundle with every feature.
    Bundle,
}

impl Kind {
    pub const BOTH: [Kind; 2] = [Kind::Command, Kind::Bundle];

    /// What it ends with, if nothing fails.
    pub fn code(self) -> i32 {
        match self {
            Kind::Command => 3,
            Kind::Bundle => 0,
        }
    }
}

/// The files of one life.
pub struct Life {
    kind: Kind,
    directory: tempfile::TempDir,
    port: u16,
    web_port: u16,
    /// Where the init says that it is ready.
    parent: UnixDatagram,
    told: RefCell<Vec<String>>,
    was_up: Cell<bool>,
}

impl Life {
    pub fn new(kind: Kind) -> Life {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        // Free just now, and not given out again so soon.
        let free = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let [port, web_port] = free.map(|listener| listener.local_addr().unwrap().port());
        let parent = UnixDatagram::bind(place("parent")).unwrap();
        std::fs::write(place("variables"), "FROM_FILE=yes\n").unwrap();
        let made = Command::new("mkfifo").arg(place("stop")).status().unwrap();
        assert!(made.success());
        let (told, was_up) = Default::default();
        let life = Life { kind, directory, port, web_port, parent, told, was_up };
        life.rewrite(false);
        life
    }

    pub fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The init on it, behind a shell that waits for a line and then becomes it.
    pub fn command(&self, position: Position) -> Command {
        let mut command = harness::under(position, "sh");
        command.args(["-c", "echo gate; read gate; exec \"$@\"", "sh", &harness::binary()]);
        // Whoever has it was started in this life.
        command.env(traced::MARK, self.directory.path());
        let record = self.place("record");
        match self.kind {
            Kind::Command => {
                let script = "(setsid sleep 1000 &); exec WITNESS up USR1=usr1 TERM=term!3";
                command.args(["--grace", "3s", "--termination-log"]).arg(record);
                command.args(["--", "sh", "-c", &with_witness(script)]);
            }
            Kind::Bundle => {
                command.env("NOTIFY_SOCKET", self.place("parent"));
                command.args(["run", "--termination-log"]).arg(record);
                command.arg("--ready-file").arg(self.place("ready"));
                command.arg("-f").arg(self.place("bundle.toml"));
            }
        }
        command
    }

    /// Writes the bundle's file, or the changed one that is reloaded.
    fn rewrite(&self, is_changed: bool) {
        let text = self.bundle(is_changed);
        test_support::bundles::keep(&text);
        std::fs::write(self.place("bundle.toml"), text).unwrap();
    }

    fn bundle(&self, is_changed: bool) -> String {
        let changed = |text: &'static str| if is_changed { text } else { "" };
        let privileges = match rustix::process::geteuid().is_root() {
            true => {
                "user = 65534\nsupplementary-groups = [65533]\ndrop-capabilities = [\"ALL\"]\n\
                     working-directory = \"/\"\noom-score-adj = 100"
            }
            false => "",
        };
        let text = format!(
            r##"
[bundle]
name = "everything"
socket = "@/socket"
grace = "3s"
on-event = {{ file = "@/events", command = ["true"], events = ["ready", "exited", "reloaded"] }}

[signals]
HUP = {{ reload = true }}
USR1 = {{ to = ["file"], as = "CONT" }}
USR2 = {{ restart = ["log"] }}
WINCH = {{ drop = true }}

[[service]]
name = "setup"
type = "oneshot"
command = ["sh", "-c", "test $FROM_FILE = yes"]
environment-file = "variables"
environment-drop = ["*_TOKEN"]
{privileges}
umask = "0027"
rlimits = {{ core = 0 }}
nice = 1
no-new-privileges = true

[[service]]
name = "tcp"
command = ["sleep", "1000"]
requires = ["setup"]
listen = ["tcp:127.0.0.1:{port}"]
ready = {{ tcp = "127.0.0.1:{port}", period = "20ms" }}
live = {{ tcp = "127.0.0.1:{port}", period = "20ms" }}

[[service]]
name = "unix"
command = ["sleep", "1000"]
after = ["tcp"]
when-required-exits = "restart"
requires = ["setup"]
listen = ["unix:@/held"]
ready = {{ unix = "@/held", period = "20ms" }}
live = {{ unix = "@/held", period = "20ms" }}

[[service]]
name = "http"
command = ["ACTOR", "http={web_port}", "wait"]
ready = {{ http = "http://127.0.0.1:{web_port}/", period = "20ms" }}
live = {{ http = "http://127.0.0.1:{web_port}/", period = "20ms" }}

[[service]]
name = "file"
command = ["sh", "-c", "echo >@/there; exec sleep 1000"]
ready = {{ file = "@/there", period = "20ms" }}
live = {{ file = "@/there", period = "20ms" }}
{file_changed}

[[service]]
name = "exec"
command = ["sleep", "1000"]
ready = {{ exec = ["true"], period = "20ms" }}
live = {{ exec = ["sh", "-c", "echo well"], period = "20ms" }}

[[service]]
name = "log"
command = ["sh", "-c", "echo now serving; exec sleep 1000"]
ready = {{ log = "serving" }}
log = "json"

[[service]]
name = "newline"
command = ["sh", "-c", "echo >&3; exec sleep 1000"]
notify = "fd:3"
log-full = "drop"

[[service]]
name = "systemd"
command = ["ACTOR", "notify=READY=1", "notify=STATUS=well", "beat=50"]
notify = "systemd"
watchdog = "10s"

[[service]]
name = "worker"
command = ["sh", "-c", "echo worker %i; exec sleep 1000"]
instances = 2
after = ["newline"]

[[service]]
name = "crasher"
command = ["sh", "-c", "test -e @/crashed && exec sleep 1000; sleep 1000 & echo >@/crashed; exit 1"]
restart = {{ policy = "always", delay = "10ms" }}

[[service]]
name = "stopper"
command = ["sh", "-c", "until read line <@/stop; do :; done"]
stop-command = ["sh", "-c", "echo >@/stop"]
drain = "10ms"

[[service]]
name = "plain"
command = ["sh", "-c", "(setsid sleep 1000 &); echo plain; exec sleep 1000"]
on-exit = "ignore"
log = "inherit"
{another}"##,
            port = self.port,
            web_port = self.web_port,
            file_changed = changed("environment = { CHANGED = \"yes\" }"),
            another = changed(
                "[[service]]\nname = \"another\"\ncommand = [\"sleep\", \"1000\"]\n\
                 ready = { exec = [\"true\"] }\n"
            ),
        );
        let actor = actor();
        text.replace('@', self.directory.path().to_str().unwrap()).replace("ACTOR", &actor)
    }

    /// Lives it up to the request to end. Returns what went otherwise than it should.
    pub fn live(&self, running: &mut Running) -> Result<(), String> {
        match self.kind {
            Kind::Command => {
                expect_line(running, "up")?;
                self.was_up.set(true);
                running.try_signal("USR1");
                expect_line(running, "usr1")?;
            }
            Kind::Bundle => self.live_as_bundle(running)?,
        }
        running.try_signal("TERM");
        Ok(())
    }

    fn live_as_bundle(&self, running: &mut Running) -> Result<(), String> {
        let socket = self.place("socket");
        let connected = until_or_end(running, || UnixStream::connect(&socket).ok());
        let mut events = Client(BufReader::new(connected.ok_or("it has no socket")?));
        events.ask(&json!({"command": "events"}))?;
        let mut client = Client::connect(&socket)?;
        // Each way to be ready.
        let names = "setup tcp unix http file exec log newline systemd worker@1 worker@2 crasher stopper plain";
        for name in names.split(' ') {
            client.wait(name)?;
        }
        self.was_up.set(true);
        let mut follower = Client::connect(&socket)?;
        follower.ask(&json!({"command": "logs", "service": "worker@1", "follow": true}))?;
        for command in ["status", "health", "graph", "timeline", "metrics"] {
            client.ask(&json!({"command": command}))?;
        }
        client.ask(&json!({"command": "logs", "service": "log"}))?;
        self.hear();
        client.ask(&json!({"command": "signal", "services": ["file"], "signal": "CONT"}))?;
        client.change("restart", "http")?;
        client.change("stop", "stopper")?;
        client.change("start", "stopper")?;
        // Another bundle in its place, and then the first one again.
        self.rewrite(true);
        client.ask(&json!({"command": "reload"}))?;
        client.wait("another")?;
        self.hear();
        self.rewrite(false);
        running.try_signal("HUP");
        events.read_until("reloaded")?;
        events.read_until("reloaded")?;
        client.wait("file")?;
        self.hear();
        running.try_signal("WINCH");
        running.try_signal("USR1");
        running.try_signal("USR2");
        events.read_until("ready")?;
        client.wait("log")
    }

    /// Whether everything has run at the same time.
    pub fn was_up(&self) -> bool {
        self.was_up.get()
    }

    /// Takes what the init has told of itself; more than ten datagrams would not wait (unix(7)).
    fn hear(&self) {
        self.parent.set_nonblocking(true).unwrap();
        let mut buffer = [0; 256];
        while let Ok(count) = self.parent.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            self.told.borrow_mut().push(text);
        }
    }

    /// Whether the init has told that it was ready, and then that it stops.
    pub fn parent_was_told(&self) -> bool {
        self.hear();
        let told = self.told.borrow();
        let at = |word: &str| told.iter().position(|text| text.contains(word));
        at("READY=1").is_some_and(|ready| at("STOPPING=1") > Some(ready))
    }
}

fn expect_line(running: &mut Running, wanted: &str) -> Result<(), String> {
    let line = running.try_line(STEP);
    if line.as_deref() == Some(wanted) {
        return Ok(());
    }
    Err(format!("{line:?} instead of {wanted:?}"))
}

/// Asks until there is an answer, or the init has ended, or it was too long.
fn until_or_end<T>(running: &mut Running, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = std::time::Instant::now();
    until("it answers or ends", || {
        let answer = ask();
        let is_over = running.has_ended() || begin.elapsed() > STEP;
        (answer.is_some() || is_over).then_some(answer)
    })
}

/// A client of the control socket.
struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(socket: &Path) -> Result<Client, String> {
        let stream = UnixStream::connect(socket).map_err(|error| format!("connect: {error}"))?;
        Ok(Client(BufReader::new(stream)))
    }

    /// One request, and an answer that says that it went well.
    fn ask(&mut self, request: &Value) -> Result<Value, String> {
        let sent = writeln!(self.0.get_mut(), "{request}");
        sent.map_err(|error| format!("{request}: {error}"))?;
        let answer = self.read().map_err(|error| format!("{request}: {error}"))?;
        if answer["ok"] == true { Ok(answer) } else { Err(format!("{request}: {answer}")) }
    }

    fn wait(&mut self, name: &str) -> Result<(), String> {
        let limit = STEP.as_secs() / 2;
        let request =
            json!({"command": "wait", "service": name, "for": "ready", "timeout_seconds": limit});
        self.ask(&request).map(|_| ())
    }

    fn change(&mut self, command: &str, name: &str) -> Result<(), String> {
        let limit = STEP.as_secs() / 2;
        let request = json!({"command": command, "services": [name], "wait_seconds": limit});
        self.ask(&request).map(|_| ())
    }

    /// Reads events up to this one, or to one that says that it does not come.
    fn read_until(&mut self, wanted: &str) -> Result<(), String> {
        loop {
            let event = self.read()?;
            match event["event"].as_str() {
                Some("reload-failed" | "start-failed") => return Err(event.to_string()),
                name if name == Some(wanted) => return Ok(()),
                _ => {}
            }
        }
    }

    fn read(&mut self) -> Result<Value, String> {
        self.0.get_ref().set_read_timeout(Some(STEP)).map_err(|error| error.to_string())?;
        let mut line = String::new();
        self.0.read_line(&mut line).map_err(|error| error.to_string())?;
        serde_json::from_str(&line).map_err(|error| format!("{line:?}: {error}"))
    }
}
