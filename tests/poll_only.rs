//! The init blocks only in its poll: no other system call of a whole life can sleep, but
//! on the files that ARCHITECTURE.md lists.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod harness;
mod life;

use std::collections::BTreeSet;

use harness::positions;
use life::Kind;
use life::traced::{self, Call, Lived};
use test_support::programs::has;

/// The time of a life in which a file may be touched that could keep the init waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was started yet.
    Start,
    Running,
    /// Nothing is left below the init.
    End,
}

/// A file that the init touches itself, and may wait for.
struct Allowed {
    /// What ARCHITECTURE.md calls it.
    name: &'static str,
    /// Its path, or that of the folder that it is in; `@` is the folder of the life.
    path: &'static str,
    /// The only call, if not each.
    call: Option<&'static str>,
    phases: &'static [Phase],
}

const fn allowed(name: &'static str, path: &'static str, phases: &'static [Phase]) -> Allowed {
    Allowed { name, path, call: None, phases }
}

const ANY: &[Phase] = &[Phase::Start, Phase::Running, Phase::End];
const START: &[Phase] = &[Phase::Start];
const START_AND_RELOAD: &[Phase] = &[Phase::Start, Phase::Running];

/// As in ARCHITECTURE.md, "It blocks only in its poll".
const ALLOWED: &[Allowed] = &[
    allowed("/proc", "/proc", ANY),
    allowed("/sys", "/sys", ANY),
    allowed("/dev/null", "/dev/null", ANY),
    allowed("/dev/tty", "/dev/tty", START),
    allowed("/etc/passwd", "/etc/passwd", START),
    allowed("/etc/group", "/etc/group", START),
    allowed("bundle.toml", "@/bundle.toml", START),
    allowed("environment-file", "@/variables", START),
    allowed("socket", "@/socket", START),
    allowed("listen", "@/held", START_AND_RELOAD),
    allowed("NOTIFY_SOCKET", "@/parent", ANY),
    allowed("--ready-file", "@/ready", ANY),
];

fn is_allowed(call: &Call, path: &str, phase: Phase) -> bool {
    ALLOWED.iter().any(|allowed| {
        let rest = path.strip_prefix(allowed.path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            && allowed.call.is_none_or(|only| only == call.name)
            && allowed.phases.contains(&phase)
    })
}

/// What is known of the init's descriptors.
#[derive(Default)]
struct Descriptors {
    nonblocking: BTreeSet<i32>,
}

/// Calls that never sleep for longer than the kernel itself works.
const NEVER: &[&str] = &[
    "bind",
    "brk",
    "capget",
    "chdir",
    "clock_gettime",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "epoll_create1",
    "epoll_ctl",
    "eventfd2",
    "exit_group",
    "fcntl",
    "getcwd",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpeername",
    "getpgid",
    "getpid",
    "getppid",
    "getrandom",
    "getsid",
    "getsockname",
    "getsockopt",
    "gettid",
    "getuid",
    "ioctl",
    "kill",
    "listen",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "pidfd_open",
    "pidfd_send_signal",
    "pipe2",
    "prctl",
    "prlimit64",
    "rt_sigaction",
    "rt_sigprocmask",
    "setsockopt",
    "shutdown",
    "sigaltstack",
    "signalfd4",
    "socket",
    "socketpair",
    "timerfd_create",
    "timerfd_settime",
    "umask",
    "uname",
];

/// Calls on one descriptor, the first argument: none of them sleeps if that is non-blocking.
const ON_DESCRIPTOR: &[&str] = &[
    "accept", "accept4", "connect", "pread64", "preadv2", "pwrite64", "pwritev2", "read", "readv",
    "recvfrom", "recvmsg", "sendmsg", "sendto", "write", "writev",
];

/// Calls on a file: by its path, or by a descriptor of it.
const ON_FILE: &[&str] = &[
    "access",
    "chmod",
    "chown",
    "close",
    "faccessat",
    "faccessat2",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "flock",
    "fstat",
    "fsync",
    "ftruncate",
    "getdents64",
    "lchown",
    "link",
    "linkat",
    "lstat",
    "mkdir",
    "mkdirat",
    "newfstatat",
    "open",
    "openat",
    "readlink",
    "readlinkat",
    "rename",
    "renameat2",
    "rmdir",
    "stat",
    "statfs",
    "statx",
    "symlink",
    "unlink",
    "unlinkat",
];

/// `3</a/path>` is descriptor 3 and what it is.
fn descriptor(text: &str) -> Option<(i32, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    let rest = text[digits..].strip_prefix('<').unwrap_or_default();
    Some((number, rest.split('>').next().unwrap_or_default()))
}

/// The file on which the kernel has to work for this call.
fn file(call: &Call) -> Option<String> {
    let quoted = |text: &str| text.split('"').next().unwrap().to_owned();
    match &*call.name {
        "bind" | "connect" | "sendto" | "sendmsg" => {
            call.arguments.split_once("sun_path=\"").map(|(_, path)| quoted(path))
        }
        name if ON_FILE.contains(&name) || ON_DESCRIPTOR.contains(&name) => {
            let Some((_, what)) = descriptor(&call.arguments) else {
                return call.arguments.split_once('"').map(|(_, path)| quoted(path));
            };
            // A device has its numbers behind it: `/dev/null<char 1:3>`.
            let path = what.split('<').next().unwrap();
            path.starts_with('/').then(|| path.to_owned())
        }
        _ => None,
    }
}

impl Descriptors {
    /// Whether this call could sleep wherever its path leads.
    fn can_sleep(&self, call: &Call) -> bool {
        let arguments = &*call.arguments;
        match &*call.name {
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => false,
            "wait4" | "waitid" => !arguments.contains("WNOHANG"),
            "poll" => !arguments.ends_with(", 0"),
            "ppoll" => !arguments.contains("{tv_sec=0, tv_nsec=0}"),
            "splice" | "tee" => !arguments.contains("SPLICE_F_NONBLOCK"),
            "fork" => false,
            "clone" | "clone3" => arguments.contains("CLONE_VFORK"),
            name if NEVER.contains(&name) => false,
            name if ON_DESCRIPTOR.contains(&name) => {
                let is_open = |(fd, _)| self.nonblocking.contains(&fd);
                !arguments.contains("MSG_DONTWAIT") && !descriptor(arguments).is_some_and(is_open)
            }
            _ => true,
        }
    }

    /// Learns what a call has done to descriptors.
    fn learn(&mut self, call: &Call) {
        let is_nonblocking = call.arguments.contains("NONBLOCK");
        let mut made = Vec::new();
        match &*call.name {
            "pipe2" | "socketpair" => {
                let list = call.arguments.trim_start_matches('[').split(", ");
                made.extend(list.filter_map(descriptor).map(|(fd, _)| fd));
            }
            "socket" | "accept4" | "signalfd4" | "timerfd_create" | "eventfd2" | "open"
            | "openat" => {
                made.extend(descriptor(&call.result).map(|(fd, _)| fd));
            }
            _ => {}
        }
        for fd in made {
            self.nonblocking.remove(&fd);
            if is_nonblocking {
                self.nonblocking.insert(fd);
            }
        }
        let Some((fd, _)) = descriptor(&call.arguments) else { return };
        match &*call.name {
            "fcntl" if call.arguments.contains("F_SETFL") && is_nonblocking => {
                self.nonblocking.insert(fd);
            }
            "ioctl" if call.arguments.contains("FIONBIO, [1]") => {
                self.nonblocking.insert(fd);
            }
            "fcntl" if call.arguments.contains("F_DUPFD") && self.nonblocking.contains(&fd) => {
                self.nonblocking.extend(descriptor(&call.result).map(|(fd, _)| fd));
            }
            "close" => {
                self.nonblocking.remove(&fd);
            }
            _ => {}
        }
    }
}

/// The calls that could sleep and are not on the list.
fn offences(lived: &Lived) -> BTreeSet<String> {
    let calls = &lived.trace.calls;
    let is_start = |call: &Call| matches!(&*call.name, "clone" | "clone3" | "fork" | "vfork");
    let first = calls.iter().position(is_start).expect("something is started");
    let is_reaped = |call: &Call| call.name == "wait4" && !call.has_failed();
    let last = calls.iter().rposition(is_reaped).expect("something is reaped");
    let folder = lived.folder.to_str().unwrap();
    let mut descriptors = Descriptors::default();
    let mut offences = BTreeSet::new();
    for (number, call) in calls.iter().enumerate() {
        let phase = match number {
            _ if number <= first => Phase::Start,
            _ if number > last => Phase::End,
            _ => Phase::Running,
        };
        let file = file(call).map(|path| path.replace(folder, "@"));
        let is_by_path = file.as_ref().is_some_and(|path| !is_allowed(call, path, phase));
        // Of a file O_NONBLOCK changes nothing (open(2)).
        let is_of_file = ON_FILE.contains(&&*call.name)
            || file.is_some()
                && descriptor(&call.arguments).is_some_and(|(_, what)| what.starts_with('/'));
        if is_by_path || !is_of_file && descriptors.can_sleep(call) {
            let on = file.unwrap_or_else(|| call.arguments.clone());
            offences.insert(format!("{phase:?}: {}({on})", call.name));
        }
        descriptors.learn(call);
    }
    offences
}

#[test]
fn it_waits_in_its_poll_and_nowhere_else() {
    if !has("strace") {
        return;
    }
    let mut all = Vec::new();
    for position in positions() {
        for kind in Kind::BOTH {
            let lived = traced::live(kind, position, &[]);
            assert_eq!(lived.lived, Ok(()), "{position:?} {kind:?}: {lived:?}");
            let code = lived.ended.as_ref().and_then(|ended| ended.status.code());
            assert_eq!(code, Some(kind.code()), "{position:?} {kind:?}: {lived:?}");
            if kind == Kind::Bundle {
                assert!(lived.parent_was_told, "the whole life: {lived:?}");
            }
            let life = |offence| format!("{position:?} {kind:?} {offence}");
            all.extend(offences(&lived).into_iter().map(life));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn calls_that_can_sleep_are_told_from_those_that_cannot() {
    let can_sleep = |line: &str| Descriptors::default().can_sleep(&Call::parse(line).unwrap());
    for line in [
        "clone(child_stack=0x1, flags=CLONE_VM|CLONE_VFORK|SIGCHLD) = 2",
        "wait4(2, NULL, 0, NULL) = 2",
        "ppoll([{fd=1, events=POLLOUT}], 1, NULL, NULL, 0) = 1",
        "write(1<pipe:[1]>, \"a\", 1) = 1",
        "connect(3<UNIX-STREAM:[1]>, {sa_family=AF_UNIX, sun_path=\"/a\"}, 4) = 0",
        "futex(0x1, FUTEX_WAIT_PRIVATE, 1, NULL) = 0",
        "nanosleep({tv_sec=1, tv_nsec=0}, NULL) = 0",
        "flock(3<pipe:[1]>, LOCK_EX) = 0",
    ] {
        assert!(can_sleep(line), "{line}");
    }
    for line in [
        "epoll_wait(3<anon_inode:[eventpoll]>, [], 64, -1) = 0",
        "clone(child_stack=NULL, flags=SIGCHLD) = 2",
        "wait4(2, NULL, WNOHANG, NULL) = 0",
        "sendto(1<UNIX-STREAM:[1]>, \"a\", 1, MSG_DONTWAIT, NULL, 0) = 1",
    ] {
        assert!(!can_sleep(line), "{line}");
    }
}

#[test]
fn the_list_is_that_of_the_documentation() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/ARCHITECTURE.md"));
    let text = text.unwrap();
    let (_, section) = text.split_once("## It blocks only in its poll").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: Vec<String> = rows
        .flat_map(|row| {
            let mut cells = row.split(" | ");
            let names = cells.next().unwrap().replace('`', "");
            let when = cells.next().unwrap().to_owned();
            let row = |name: &str| format!("{name}: {when}");
            names.split(", ").map(row).collect::<Vec<_>>()
        })
        .collect();
    let allowed: Vec<String> = ALLOWED
        .iter()
        .map(|allowed| {
            let when = match allowed.phases {
                START => "before the first start",
                START_AND_RELOAD => "before the first start, and at a reload",
                _ => "at any time",
            };
            format!("{}: {when}", allowed.name)
        })
        .collect();
    assert_eq!(documented, allowed);
}
