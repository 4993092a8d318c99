//! A service that attacks what runs beside it: the init goes on, ends in time, and neither blames nor
//! signals anybody for it.
//!
//! Beside the attacker run a mate of the same user, which it may do much to, and a stranger of
//! another. All that happens in a PID namespace of its own, and no attacker begins elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{PYTHON, Position, positions, start_bundle, with_witness};
use serde_json::{Value, json};
use test_support::notices::is_root;
use test_support::programs::has;
use test_support::{HANG, until};

/// Nobody on the machine has these users. Each test has two of them, since tests run side by side and
/// the limit of processes counts all of a user's: one of the attacker and its mate, and the next.
static USERS: AtomicU32 = AtomicU32::new(61_000);

/// What the attacker may do to processes of its own user, and so no fault of the init's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mate {
    /// It goes on as well as the stranger.
    IsSafe,
    /// It is stopped, and may have to start again.
    IsStopped,
}

/// Python that finds out whether it is where it may do harm.
const PRELUDE: &str = r#"
import ctypes, os, signal, socket, sys
if open("/proc/1/comm").read() != "sidecar-init\n" or os.getppid() != 1: sys.exit(9)
def others():
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
def notify(text):
    name = os.environ["NOTIFY_SOCKET"]
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.setblocking(False)
    try: end.sendto(text, "\0" + name[1:] if name[0] == "@" else name)
    except OSError: pass
notify(b"READY=1")
os.write(1, b"begins\n")
"#;

/// The bundle with an attacker that does this after the prelude.
fn bundle(attack: &str, mate: Mate, user: u32, folder: &Path) -> String {
    let folder = folder.display();
    // One that is stopped has its checks stopped, too. The more of them, the better for the attack.
    let patience = if mate == Mate::IsSafe { "5s" } else { "50ms" };
    let victim = |name: &str, user: u32, timeout: &str, more: &str| {
        // A daemon of its own is at its side.
        let script = with_witness(&format!(
            "(setsid sleep 1000 &); exec WITNESS {name} HUP=HUP TERM=TERM!0 INT=INT"
        ));
        format!(
            "[[service]]\nname = \"{name}\"\nuser = {user}\nworking-directory = \"/\"\n\
             command = [\"sh\", \"-c\", '''{script}''']\n\
             live = {{ exec = [\"sh\", \"-c\", \"echo >>{folder}/{name}\"], period = \"10ms\", \
             timeout = \"{timeout}\" }}\n{more}\n"
        )
    };
    let stranger = victim("stranger", user + 1, "5s", "");
    let limit = "rlimits = { nproc = 30 }";
    let mate = victim(
        "mate",
        user,
        patience,
        &format!("{limit}\nrestart = {{ policy = \"always\", delay = \"0s\", max = 1000 }}"),
    );
    format!(
        "[bundle]\nsocket = \"{folder}/socket\"\ngrace = \"10s\"\n{stranger}{mate}\
         [[service]]\nname = \"attacker\"\nuser = {user}\nworking-directory = \"/\"\n\
         environment-drop = [\"PYTHON*\"]\nnotify = \"systemd\"\non-exit = \"ignore\"\n{limit}\n\
         command = [\"{PYTHON}\", \"-c\", '''{PRELUDE}{attack}''']\n"
    )
}

fn ask(socket: &Path, request: &Value) -> Value {
    let mut stream = BufReader::new(UnixStream::connect(socket).unwrap());
    stream.get_ref().set_read_timeout(Some(HANG)).unwrap();
    writeln!(stream.get_mut(), "{request}").unwrap();
    let mut answer = String::new();
    stream.read_line(&mut answer).expect("the init answers");
    serde_json::from_str(&answer).unwrap()
}

fn service(socket: &Path, name: &str) -> Value {
    let status = ask(socket, &json!({"command": "status"}));
    let services = status["services"].as_array().unwrap();
    services.iter().find(|service| service["name"] == name).unwrap().clone()
}

/// The daemons of this user that live.
fn daemons(user: u32) -> usize {
    let is_one = |folder: &Path| {
        let read = |name| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        read("cmdline").starts_with("sleep\0")
            && read("status").contains(&format!("Uid:\t{user}\t"))
    };
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    folders.filter(|entry| is_one(&entry.path())).count()
}

/// Lets the attack go on until the stranger was checked so often, and then ends it.
fn attacked(attack: &str, mate: Mate, times: usize) {
    if !is_root() || !has(PYTHON) || !positions().contains(&Position::Pid1) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o1777)).unwrap();
    let socket = folder.path().join("socket");
    let user = USERS.fetch_add(2, Ordering::Relaxed);
    let text = bundle(attack, mate, user, folder.path());
    let mut running = start_bundle(Position::Pid1, &text);
    running.wait_for("[attacker] begins");
    let begin = ["stranger", "mate"].map(|name| service(&socket, name)["pid"].clone());
    let checks = |name: &str| {
        std::fs::read_to_string(folder.path().join(name)).unwrap_or_default().lines().count()
    };
    let before = checks("stranger");
    until("the stranger is checked", || {
        ask(&socket, &json!({"command": "health"}));
        (checks("stranger") > before + times).then_some(())
    });
    let safe: &[&str] = if mate == Mate::IsSafe { &["stranger", "mate"] } else { &["stranger"] };
    for (name, pid) in safe.iter().zip(begin) {
        let now = service(&socket, name);
        assert_eq!((&now["state"], &now["pid"]), (&json!("ready"), &pid), "{now}");
        assert_eq!(now["problem"], Value::Null, "{now}");
    }
    assert_eq!(daemons(user + 1), 1, "the stranger's own");
    if mate == Mate::IsSafe {
        assert_eq!(daemons(user), 1, "the mate's own");
    }
    running.signal("TERM");
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    // The attacker may stop its mate again after it was continued for its end.
    let overran = ended.record().split_once("; overran the grace: ").map(|(_, names)| names);
    assert!(overran.is_none() || overran == Some("mate") && mate == Mate::IsStopped, "{ended:?}");
    for name in safe {
        let got: Vec<&str> = ended
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("[{name}] ")))
            .collect();
        assert!(!ended.stdout.contains("succeeds"), "what may not: {ended:?}");
        assert_eq!(got, [*name, "TERM"], "no other signal, and no other run: {ended:?}");
        assert!(!ended.stderr.contains(&format!("\"{name}\" has failed")), "{ended:?}");
    }
}

#[test]
fn one_that_stops_whatever_it_may() {
    let attack = "while True:\n    try: os.kill(-1, signal.SIGSTOP)\n    except OSError: pass\n";
    attacked(attack, Mate::IsStopped, 300);
}

#[test]
fn one_that_traces_whatever_it_may() {
    let attack = r"
ptrace = ctypes.CDLL(None).ptrace
ptrace.argtypes = [ctypes.c_long] * 4
SEIZE, INTERRUPT = 0x4206, 0x4207
while True:
    for pid in others():
        if ptrace(SEIZE, pid, 0, 0) == 0: ptrace(INTERRUPT, pid, 0, 0)
";
    attacked(attack, Mate::IsStopped, 300);
}

#[test]
fn one_that_enters_other_process_groups() {
    let attack = r#"
while True:
    for pid in others():
        try:
            os.setpgid(0, pid)
            os.write(1, b"succeeds\n")
        except OSError: pass
"#;
    attacked(attack, Mate::IsSafe, 50);
}

#[test]
fn one_that_names_each_process_as_its_own() {
    let attack = r#"
import select
def is_daemon(pid):
    try: return open("/proc/%d/cmdline" % pid).read().startswith("sleep")
    except OSError: return False
# The stranger's daemon first: it is the first that was made.
for pid in sorted(others(), key=lambda pid: (not is_daemon(pid), pid)):
    notify(b"MAINPID=%d" % pid)
    select.select([], [], [], 0.01)
notify(b"WATCHDOG=trigger")
select.select([], [], [])
"#;
    attacked(attack, Mate::IsSafe, 50);
}

#[test]
fn one_that_floods_the_notify_socket() {
    let attack = "while True: notify(b'STATUS=' + b'x' * 1000)\n";
    attacked(attack, Mate::IsSafe, 50);
}

#[test]
fn one_that_floods_the_notify_socket_with_what_is_to_be_proved() {
    attacked("while True: notify(b'MAINPID=1\\n' * 400)\n", Mate::IsSafe, 300);
}

#[test]
fn one_that_uses_up_its_users_processes() {
    let attack = r"
import select
while True:
    try:
        if os.fork() == 0: select.select([], [], [])
    except OSError: select.select([], [], [], 0.01)
";
    attacked(attack, Mate::IsSafe, 50);
}

#[test]
fn one_that_fills_its_pipes() {
    let attack = "for _ in range(2000): os.write(1, b'x' * 5000); os.write(2, b'y' * 5000)\n\
                  import select; select.select([], [], [])\n";
    attacked(attack, Mate::IsSafe, 50);
}

#[test]
fn one_that_closes_its_descriptors() {
    attacked("os.closerange(0, 4096)\nwhile True: pass\n", Mate::IsSafe, 50);
}
