//! Starts a program in a forked child without waiting for its exec, which may take for ever on a file
//! system that does not answer, or if another process stops the child. The result comes through a pipe
//! that exec closes ([`Report`]).
//!
//! The child has a copy of the parent's memory. With vfork(2) or `CLONE_VM` it would share the memory,
//! and a process that may trace or stop the child could affect the init.
//!
//! Everything that the child needs is prepared in [`Launch`]; the child makes only system calls
//! (`child`).

mod child;
mod report;

pub use report::{Progress, Report};

use std::borrow::{Borrow, Cow};
use std::ffi::{CStr, CString, NulError, OsString, c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use rustix::process::Pid;

use super::descriptors;
use super::process_ids::positive;
use crate::signal::Signal;

/// Space for the decimal digits of any process id.
const PID_DIGITS: usize = 10;
/// With this variable a program knows that inherited sockets are for it, not for an ancestor,
/// sd_listen_fds(3).
const LISTEN_PID: &[u8] = b"LISTEN_PID=";

/// A program, and everything that the child does before exec, in this order.
#[derive(Debug, Default)]
pub struct Launch<'fd> {
    /// The paths to try, as in execvp(3).
    pub paths: Vec<CString>,
    /// Its arguments, the name first.
    pub arguments: Vec<CString>,
    /// Its environment, `NAME=value`.
    pub environment: Vec<Cow<'static, CStr>>,
    /// Whether it leads its own session, which no other process can join, or only its own process
    /// group.
    pub own_session: bool,
    /// Whether it keeps descriptors that are not listed here; execve(2) closes those of the init in any
    /// case.
    pub keeps_descriptors: bool,
    /// Whether to set `LISTEN_PID` in the environment to the child's process id.
    pub rewrite_listen_pid: bool,
    /// Become descriptors 0, 1 and 2; `None`: unchanged. Their numbers must be at least 3.
    pub standard: [Option<BorrowedFd<'fd>>; 3],
    /// Become higher descriptors. Their numbers must not be targets of others.
    pub more: Vec<(RawFd, BorrowedFd<'fd>)>,
    /// The terminal on which the child's process group becomes the foreground group.
    pub foreground_of: Option<BorrowedFd<'fd>>,
    /// The `cgroup.procs` of the control group to join; a failure is ignored.
    pub control_group: Option<BorrowedFd<'fd>>,
    /// Limits: resource, soft, hard.
    pub limits: Vec<(u32, u64, u64)>,
    /// The nice value.
    pub nice: Option<i8>,
    /// The value for `/proc/self/oom_score_adj`.
    pub oom_score_adj: Option<CString>,
    /// The file mode creation mask.
    pub umask: Option<u32>,
    /// Capabilities to drop, bit n for capability n.
    pub drop_capabilities: u64,
    /// The user and groups to change to.
    pub credentials: Option<Credentials>,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// The working directory; entered with the new credentials.
    pub working_directory: Option<CString>,
    /// `PR_SET_PDEATHSIG`.
    pub parent_death_signal: Option<Signal>,
}

/// User and groups of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Real, effective and saved user id.
    pub user: u32,
    /// Real, effective and saved group id.
    pub group: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// The step of a start that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creating the process.
    Fork,
    /// Creating its session or process group.
    ProcessGroup,
    /// Setting up its descriptors.
    Descriptors,
    /// Setting the limit on this resource.
    Limit(u32),
    /// Setting its nice value.
    Nice,
    /// Setting its `oom_score_adj`.
    OomScore,
    /// Dropping capabilities.
    Capabilities,
    /// Setting its supplementary groups.
    Groups,
    /// Setting its group.
    Group,
    /// Setting its user.
    User,
    /// Setting no-new-privileges.
    NoNewPrivileges,
    /// Entering its working directory.
    WorkingDirectory,
    /// Setting its parent-death signal.
    ParentDeathSignal,
    /// Executing its program, at the path with this index in [`Launch::paths`].
    Execute(u32),
    /// The same, for a file that exists: its interpreter does not.
    Interpreter(u32),
    /// The same, for a directory.
    Directory(u32),
}

/// Why a program could not be started.
#[derive(Debug)]
pub struct Failure {
    /// The step.
    pub step: Step,
    /// The kernel's error.
    pub error: io::Error,
}

/// `text` as a C string; fails if it contains a NUL.
pub fn c_string(text: OsString) -> Result<CString, NulError> {
    CString::new(text.into_vec())
}

/// A child before or after its exec.
#[derive(Debug)]
pub struct Spawned {
    /// Its pid; it leads its own process group.
    pub pid: Pid,
    /// Reports its exec.
    pub report: Report,
}

/// What the child works with.
struct Child<'launch> {
    launch: &'launch Launch<'launch>,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    /// The place of the child's process id in the environment: [`PID_DIGITS`] bytes and a NUL.
    listen_pid: *mut u8,
    /// The descriptors that it needs, in ascending order.
    needed: Vec<RawFd>,
    /// The limits on open files of the child, before its own limits are set.
    open_files: Option<(u64, u64)>,
    parent: u32,
    report: OwnedFd,
}

/// Forks the child, and returns at once.
///
/// If a step fails before exec the child exits, and is reaped like any other child. Every signal must
/// be blocked, so that none ends the child before it has restored the default mask.
///
/// # Errors
/// If the fork fails: too many processes or descriptors, or no memory.
pub fn spawn(launch: &Launch) -> Result<Spawned, Failure> {
    let failed = |error| Failure { step: Step::Fork, error };
    // The child's descriptors must not have the numbers that others get.
    let beyond = launch.more.iter().map(|(target, _)| target + 1).max().unwrap_or(3);
    let (report, writer) = report::pipe(beyond).map_err(failed)?;
    let mut listen_pid = [LISTEN_PID, &[0; PID_DIGITS + 1]].concat();
    let listen_pid = listen_pid.as_mut_ptr();
    let mut environment = pointers(&launch.environment);
    if launch.rewrite_listen_pid {
        let is_listen_pid = |variable: &Cow<CStr>| variable.to_bytes().starts_with(LISTEN_PID);
        if let Some(index) = launch.environment.iter().position(is_listen_pid) {
            environment[index] = listen_pid.cast();
        }
    }
    let child = Child {
        launch,
        arguments: pointers(&launch.arguments),
        environment,
        // SAFETY: the buffer is longer than the name at its start.
        listen_pid: unsafe { listen_pid.add(LISTEN_PID.len()) },
        needed: needed(launch, writer.as_raw_fd()),
        open_files: descriptors::given_limit(),
        parent: std::process::id(),
        report: writer,
    };
    // SAFETY: until exec the child makes only system calls, and takes no lock that a missing thread may
    // hold; it ends without returning. It unblocks signals right before exec; no handler can run then,
    // because all dispositions are the default or SIG_IGN (signals::reset_dispositions).
    match unsafe { fork() } {
        0 => run(&child),
        pid => match positive(pid) {
            Some(pid) => Ok(Spawned { pid, report }),
            None => Err(failed(io::Error::last_os_error())),
        },
    }
}

/// fork(2) without libc's part: that blocks signals and takes locks, for children that do more than
/// ours.
///
/// # Safety
/// The child must make system calls only until its exec, and not return.
unsafe fn fork() -> c_int {
    let (flags, nothing): (c_long, c_long) = (libc::SIGCHLD.into(), 0);
    // Only the flags matter. On s390x they are the second argument, clone(2).
    let (first, second) =
        if cfg!(target_arch = "s390x") { (nothing, flags) } else { (flags, nothing) };
    // SAFETY: without CLONE_VM the child has a copy of all memory, and the stack of its own copy.
    let pid = unsafe { libc::syscall(libc::SYS_clone, first, second, nothing, nothing, nothing) };
    c_int::try_from(pid).unwrap_or(-1)
}

/// Runs in the child until exec.
fn run(child: &Child) -> ! {
    let failed = child::prepare_and_execute(child);
    report::write(&child.report, failed);
    // SAFETY: _exit(2) does not run the parent's exit handlers.
    unsafe { libc::_exit(c_int::from(crate::exit::INIT_FAILED)) }
}

/// The null-terminated array of pointers that execve(2) takes.
fn pointers(strings: &[impl Borrow<CStr>]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.borrow().as_ptr()).chain([ptr::null()]).collect()
}

fn needed(launch: &Launch, report: RawFd) -> Vec<RawFd> {
    let single = [launch.foreground_of, launch.control_group];
    let single = launch.standard.iter().chain(&single).flatten().map(AsRawFd::as_raw_fd);
    let more = launch.more.iter().map(|(_, fd)| fd.as_raw_fd());
    let mut needed: Vec<RawFd> = single.chain(more).chain([report]).collect();
    needed.sort_unstable();
    needed
}
