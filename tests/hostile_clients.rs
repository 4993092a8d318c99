//! A thousand connections that misbehave on the control socket, while orphans are reaped, polite
//! clients want answers, and the bundle has to end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use harness::{Position, Running, positions, start_bundle};
use serde_json::{Value, json};
use test_support::{HANG, until};

const CONNECTIONS: usize = 1000;
const THREADS: usize = 4;
/// How many polite clients come meanwhile.
const POLITE: usize = 8;
/// How much more memory the init may hold after the attack than before, in KiB. The 64 clients that
/// there may be at once could have 16 MiB of streams between them, and that is given back.
const MOST_GROWTH_KIB: u64 = 8 * 1024;

/// How a client misbehaves.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Connects and says nothing.
    Silent,
    /// Begins a request, and a little more of it each time.
    Slow,
    /// A line without an end.
    Endless,
    /// Asks again and again and never reads.
    Deaf,
    /// Wants every event and never reads.
    DeafToEvents,
    /// Wants a log and never reads, but goes on talking.
    Talkative,
    /// Lines that mean nothing.
    Garbage,
    /// Asks and leaves at once.
    Abrupt,
    /// Waits for what never happens and leaves at once.
    Forgetful,
    /// Changes things that are not there.
    Wrong,
}

const HABITS: [Habit; 10] = [
    Habit::Silent,
    Habit::Slow,
    Habit::Endless,
    Habit::Deaf,
    Habit::DeafToEvents,
    Habit::Talkative,
    Habit::Garbage,
    Habit::Abrupt,
    Habit::Forgetful,
    Habit::Wrong,
];

impl Habit {
    /// What it says when it comes, and what it says each time that it has a turn.
    fn words(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Habit::Silent => (b"", b""),
            Habit::Slow => (b"{\"command\": ", b" "),
            Habit::Endless => (b"", &[b'x'; 60_000]),
            Habit::Deaf => (b"", b"{\"command\": \"timeline\"}\n{\"command\": \"status\"}\n"),
            Habit::DeafToEvents => (b"{\"command\": \"events\"}\n", b""),
            Habit::Talkative => (
                b"{\"command\": \"logs\", \"service\": \"chatty\", \"follow\": true}\n",
                &[b'\n'; 5000],
            ),
            Habit::Garbage => (b"", b"\xff\x00{]}\n\n\"\n{\"command\": 1}\n[[[[[[[[[[\n"),
            Habit::Abrupt => (b"{\"command\": \"metrics\"}\n", b""),
            Habit::Forgetful => {
                (b"{\"command\": \"wait\", \"service\": \"never\", \"for\": \"ready\"}\n", b"")
            }
            Habit::Wrong => (b"", b"{\"command\": \"stop\", \"services\": [\"nosuch\"]}\n"),
        }
    }

    fn leaves_at_once(self) -> bool {
        matches!(self, Habit::Abrupt | Habit::Forgetful)
    }

    /// Whether it would never notice by itself that it was sent away.
    fn reads(self) -> bool {
        !matches!(self, Habit::Deaf | Habit::DeafToEvents | Habit::Talkative)
    }
}

/// Connections that come again as soon as they are sent away.
struct Mob {
    stop: Arc<AtomicBool>,
    came: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Mob {
    fn start(socket: &Path) -> Mob {
        let (stop, came) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..THREADS).map(|_| {
            let (stop, came, socket) = (stop.clone(), came.clone(), socket.to_owned());
            std::thread::spawn(move || misbehave(&socket, &stop, &came))
        });
        let threads = threads.collect();
        Mob { stop, came, threads }
    }

    /// Waits until each of the connections was made so many times, on average.
    fn came_back(&self, times: usize) {
        until("all of the mob have come", || {
            (self.came.load(Ordering::Relaxed) >= times * CONNECTIONS).then_some(())
        });
    }
}

impl Drop for Mob {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

fn misbehave(socket: &Path, stop: &AtomicBool, came: &AtomicUsize) {
    let mut clients: Vec<Option<UnixStream>> = (0..CONNECTIONS / THREADS).map(|_| None).collect();
    while !stop.load(Ordering::Relaxed) {
        for (number, client) in clients.iter_mut().enumerate() {
            let habit = HABITS[number % HABITS.len()];
            if client.as_mut().is_none_or(|client| !goes_on(client, habit)) {
                *client = connect(socket, habit);
                came.fetch_add(usize::from(client.is_some()), Ordering::Relaxed);
            }
            if habit.leaves_at_once() {
                *client = None;
            }
        }
    }
}

/// `None`: there is no init any more, or there is no room at its door.
fn connect(socket: &Path, habit: Habit) -> Option<UnixStream> {
    let mut client = UnixStream::connect(socket).ok()?;
    client.set_nonblocking(true).ok()?;
    let _ = client.write(habit.words().0);
    Some(client)
}

/// Has its turn. Whether it is still let.
fn goes_on(client: &mut UnixStream, habit: Habit) -> bool {
    let is_there = |result: std::io::Result<usize>| match result {
        Ok(count) => count > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    let words = habit.words().1;
    (words.is_empty() || is_there(client.write(words)))
        && (!habit.reads() || is_there(client.read(&mut [0; 4096])))
}

struct Attacked {
    running: Running,
    directory: tempfile::TempDir,
}

/// Four services, the last two of which are there for the attackers.
fn attacked(position: Position) -> Attacked {
    let directory = tempfile::tempdir().unwrap();
    let service = |name: &str, script: &str, more: &str| {
        let script = harness::with_witness(script);
        format!(
            "[[service]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n{more}\n"
        )
    };
    // Orphans and lines for as long as the attack goes on.
    let go = directory.path().join("go");
    let storm = format!(
        "echo chatty; while [ ! -e {0} ]; do sleep 0.01; done; \
         while [ -e {0} ]; do (: &); echo what a day; done; echo stormed; exec WITNESS up TERM=TERM!0",
        go.display()
    );
    let text = format!("[bundle]\nsocket = \"{}\"\n", directory.path().join("socket").display())
        + &service("first", "exec WITNESS up TERM=TERM!0", "")
        + &service("second", "exec WITNESS up TERM=TERM!0", "after = [\"first\"]")
        + &service("chatty", &storm, "after = [\"second\"]")
        + &service("never", "exec WITNESS up TERM=TERM!0", NEVER);
    let running = start_bundle(position, &text);
    let mut attacked = Attacked { running, directory };
    until("the socket is there", || UnixStream::connect(attacked.socket()).ok());
    attacked.ask(&json!({"command": "wait", "service": "chatty", "for": "ready"}));
    // Until the last one runs there is a descriptor more, which tells of its start.
    attacked.running.wait_for("[never] up");
    attacked
}

const NEVER: &str = "after = [\"chatty\"]\nready = { file = \"/nonexistent\", period = \"1s\" }\nstart-timeout = \"1h\"";

impl Attacked {
    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// A polite client's question and its answer.
    fn ask(&self, request: &Value) -> Value {
        let mut stream = BufReader::new(UnixStream::connect(self.socket()).unwrap());
        stream.get_ref().set_read_timeout(Some(HANG)).unwrap();
        writeln!(stream.get_mut(), "{request}").unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("no answer, but {answer:?}"))
    }

    /// What the init's descriptors are.
    fn descriptors(&self) -> Vec<String> {
        let links = std::fs::read_dir(format!("/proc/{}/fd", self.running.pid())).unwrap();
        links
            .filter_map(|link| std::fs::read_link(link.unwrap().path()).ok())
            .map(|path| path.to_string_lossy().into_owned())
            .collect()
    }

    /// How many descriptors there are when no client is left.
    fn lasting_descriptors(&self) -> usize {
        until("only the socket for newcomers is left", || {
            let all = self.descriptors();
            let sockets = all.iter().filter(|path| path.starts_with("socket:")).count();
            (sockets == 1).then_some(all.len())
        })
    }

    fn memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.running.pid());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn storm(&self, rages: bool) {
        let go = self.directory.path().join("go");
        if rages { std::fs::write(go, "").unwrap() } else { std::fs::remove_file(go).unwrap() }
    }
}

/// The mob's thousand descriptors and a few more.
fn allow_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn a_mob_can_not_hold_up_grow_or_end_the_init() {
    allow_descriptors();
    for position in positions() {
        let mut attacked = attacked(position);
        let descriptors = attacked.lasting_descriptors();
        let memory = attacked.memory_kib();

        let mob = Mob::start(&attacked.socket());
        attacked.storm(true);
        mob.came_back(3);
        // Each stands in line behind thousands that those who leave at once have left there.
        for _ in 0..POLITE {
            let answer = attacked.ask(&json!({"command": "status"}));
            assert_eq!(answer["services"].as_array().unwrap().len(), 4);
        }
        attacked.storm(false);
        attacked.running.wait_for("[chatty] stormed");
        drop(mob);
        assert_eq!(attacked.lasting_descriptors(), descriptors, "{:?}", attacked.descriptors());
        until("all orphans are reaped", || {
            (harness::children(attacked.running.pid()).len() == 4).then_some(())
        });
        let grown = attacked.memory_kib().saturating_sub(memory);
        eprintln!("{position:?}: the init grew from {memory} KiB by {grown} KiB");
        assert!(grown < MOST_GROWTH_KIB, "{grown} KiB more than {memory} KiB");

        let mob = Mob::start(&attacked.socket());
        mob.came_back(1);
        attacked.running.signal("TERM");
        let ended = attacked.running.end();
        drop(mob);
        assert_eq!(ended.code(), 0, "{position:?} {}", ended.record());
        assert!(ended.record().contains("SIGTERM received"), "{}", ended.record());
        assert!(!ended.record().contains("overran"), "{}", ended.record());
        let end = |name: &str| ended.stdout.find(&format!("[{name}] TERM\n")).unwrap();
        let ends = ["never", "chatty", "second", "first"].map(end);
        assert!(ends.is_sorted(), "{ends:?}");
    }
}

/// Clients that ask for more than can be answered at once do so for ever, but a signal is not
/// behind all of that.
#[test]
fn a_flood_of_questions_lets_signals_through() {
    const CLIENTS: usize = 60;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let script = harness::with_witness("exec WITNESS up USR1=usr1 TERM=!0");
    let mut text = format!(
        "[bundle]\nsocket = \"{}\"\n[signals]\nUSR1 = {{ to = [\"first\"] }}\n\
         [[service]]\nname = \"first\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n",
        socket.display()
    );
    text += &many_services();
    let mut running = start_bundle(Position::Child, &text);
    running.wait_for("[first] up");
    let questions = "{\"command\": \"status\"}\n".repeat(150);
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let flood = {
        let (stop, answers) = (stop.clone(), answers.clone());
        std::thread::spawn(move || {
            let mut clients: Vec<UnixStream> = (0..CLIENTS)
                .map(|_| {
                    let mut client = UnixStream::connect(&socket).unwrap();
                    client.write_all(questions.as_bytes()).unwrap();
                    client.set_nonblocking(true).unwrap();
                    client
                })
                .collect();
            let mut buffer = vec![0; 1 << 16];
            while !stop.load(Ordering::Relaxed) {
                for client in &mut clients {
                    let count = client.read(&mut buffer).unwrap_or(0);
                    let lines = buffer[..count].iter().filter(|byte| **byte == b'\n').count();
                    answers.fetch_add(lines, Ordering::Relaxed);
                }
            }
        })
    };
    until("the flood rises", || (answers.load(Ordering::Relaxed) > CLIENTS).then_some(()));
    // More are given while the service or this test does not run, so the best of some tries counts.
    let tries = (0..10).map(|_| {
        let before = answers.load(Ordering::Relaxed);
        running.signal("USR1");
        running.wait_for("[first] usr1");
        answers.load(Ordering::Relaxed) - before
    });
    let fewest = tries.min().unwrap();
    assert!(fewest < 2 * CLIENTS, "{fewest} answers were given first");
    running.signal("TERM");
    let ended = running.end();
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    assert_eq!(ended.code(), 0, "{}", ended.record());
    assert!(!ended.record().contains("overran"), "{}", ended.record());
}

/// As many services as make an answer take a while.
fn many_services() -> String {
    let service =
        |number| format!("[[service]]\nname = \"s{number}\"\ncommand = [\"sleep\", \"1000\"]\n");
    (0..150).map(service).collect()
}

/// It sends its next hundred requests as soon as there is space for them, and reads all answers.
#[test]
fn a_client_that_asks_without_end_does_not_keep_another_one_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let text = format!("[bundle]\nsocket = \"{}\"\n{}", socket.display(), many_services());
    let running = start_bundle(Position::Child, &text);
    until("there is a socket", || UnixStream::connect(&socket).ok());
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let flood = {
        let (stop, answers, socket) = (stop.clone(), answers.clone(), socket.clone());
        std::thread::spawn(move || {
            let mut client = UnixStream::connect(&socket).unwrap();
            client.set_nonblocking(true).unwrap();
            let questions = "{\"command\": \"status\"}\n".repeat(100);
            let (mut buffer, mut sent) = (vec![0; 1 << 16], 0);
            while !stop.load(Ordering::Relaxed) {
                let count = client.write(&questions.as_bytes()[sent..]).unwrap_or(0);
                sent = (sent + count) % questions.len();
                let count = client.read(&mut buffer).unwrap_or(0);
                let lines = buffer[..count].iter().filter(|byte| **byte == b'\n').count();
                answers.fetch_add(lines, Ordering::Relaxed);
            }
        })
    };
    until("the flood rises", || (answers.load(Ordering::Relaxed) > 20).then_some(()));
    for _ in 0..10 {
        let before = answers.load(Ordering::Relaxed);
        let mut client = UnixStream::connect(&socket).unwrap();
        client.set_read_timeout(Some(HANG)).unwrap();
        client.write_all(b"{\"command\": \"status\"}\n").unwrap();
        let mut answer = String::new();
        BufReader::new(client).read_line(&mut answer).unwrap();
        assert!(answer.contains("\"ok\":true"), "{answer}");
        // Some are given while this test does not run; without a turn for each it is thousands.
        let meanwhile = answers.load(Ordering::Relaxed) - before;
        assert!(meanwhile < 500, "{meanwhile} answers were given first");
    }
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    running.signal("TERM");
    assert_eq!(running.end().code(), 0);
}
