//! Starting what is measured, and reading what the kernel knows of it.

use std::fs;
use std::io::Read;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

/// A process that is killed when the measurement is over.
pub struct Measured {
    pub child: Guarded,
    pub stdout: ChildStdout,
}

/// A child that does not outlive its owner, and nor does what it has started.
pub struct Guarded(Child);

impl Measured {
    /// Starts it with pipes for stdin and stdout.
    pub fn start(command: &mut Command) -> Measured {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("a pipe");
        Measured { child: Guarded(child), stdout }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next bytes on stdout.
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stdout.read_exact(&mut bytes).expect("output of the measured");
        bytes
    }

    /// The time in nanoseconds that its child has written.
    pub fn read_time(&mut self) -> f64 {
        let bytes: [u8; 8] = self.read(8).try_into().expect("eight bytes");
        u64::from_ne_bytes(bytes) as f64
    }

    pub fn wait(&mut self) {
        self.child.wait().expect("it ends");
    }
}

impl Guarded {
    /// Starts it without input, and with its output thrown away.
    pub fn start(command: &mut Command) -> Guarded {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Guarded(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        for pid in tree(self.0.id()) {
            signal(pid, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

impl Deref for Guarded {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

/// A folder that is gone when the measurement is over.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bench-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A command in a PID namespace of its own, whose PID 1 it becomes.
pub fn as_pid_1() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    command
}

/// The clock that the measured programs read too, in nanoseconds.
pub fn now() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    let _ = rustix::process::kill_process(pid, signal);
}

pub fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// All processes below, itself included.
pub fn tree(pid: u32) -> Vec<u32> {
    let below = children(pid).into_iter().flat_map(tree);
    [pid].into_iter().chain(below).collect()
}

/// A field of smaps_rollup in KiB.
pub fn memory(pid: u32, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(field));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(f64::NAN)
}

/// The time that it has spent on a processor, in nanoseconds.
pub fn processor_time(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    text.split_whitespace().next().and_then(|time| time.parse().ok()).unwrap_or(f64::NAN)
}

/// Runs it to its end; the time that it has spent on a processor, in nanoseconds.
pub fn cost(command: &mut Command) -> f64 {
    at_its_end(command, processor_time)
}

/// Runs it to its end; its own minor page faults, without those of its children.
pub fn minor_faults(command: &mut Command) -> f64 {
    at_its_end(command, |pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Field 10 of proc(5); the second one, which may have spaces, ends with a parenthesis.
        let fields = text.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        fields.into_iter().nth(7).and_then(|count| count.parse().ok()).unwrap_or(f64::NAN)
    })
}

fn at_its_end(command: &mut Command, read: impl Fn(u32) -> f64) -> f64 {
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid");
    // As long as it is not reaped the kernel still shows what it has used.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), look).expect("it ends");
    let value = read(child.id());
    let status = child.wait().expect("it has ended");
    assert!(status.success(), "{command:?}: {status}");
    value
}

/// How often it went to sleep by itself.
pub fn sleeps(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(f64::NAN)
}

/// Looks again and again until it is so; whether it ever was.
pub fn until(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !is_so() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    true
}
