//! Starts a program in a forked child, and does not wait until it is executed: that may take for
//! ever, on a file system that does not answer, or when somebody stops the child on its way.
//! How it went is told through a pipe that the execution closes ([`Report`]).
//!
//! The child has a copy of the parent's memory, and not the memory itself: with vfork(2) or
//! `CLONE_VM` whoever may trace the child, or stop it, would have a hold on the init.
//!
//! Everything the child needs is made ready beforehand in [`Launch`]; in the child there are
//! only system calls (`child`).

mod child;
mod report;

pub use report::{Progress, Report};

use std::borrow::{Borrow, Cow};
use std::ffi::{CStr, CString, NulError, OsString, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use rustix::process::Pid;

use super::descriptors;
use super::process_ids::positive;
use crate::signal::Signal;

/// Room for the decimal digits of any process id.
const PID_DIGITS: usize = 10;
/// The variable by which a program knows that inherited sockets are meant for it, and not for
/// the process that it replaced, sd_listen_fds(3).
const LISTEN_PID: &[u8] = b"LISTEN_PID=";

/// A program and all that is to be done in the child before it is executed, in this order.
#[derive(Debug, Default)]
pub struct Launch<'fd> {
    /// The paths to try, as execvp(3) would.
    pub paths: Vec<CString>,
    /// Its arguments, the name first.
    pub arguments: Vec<CString>,
    /// Its environment, `NAME=value`.
    pub environment: Vec<Cow<'static, CStr>>,
    /// Whether it leads a session of its own, which nobody from outside can join, and not only a
    /// process group.
    pub own_session: bool,
    /// Whether it keeps descriptors that are not named here; those of the init are closed by
    /// execve(2) in any case.
    pub keeps_descriptors: bool,
    /// Whether `LISTEN_PID` in the environment is to become the child's own process id.
    pub rewrite_listen_pid: bool,
    /// What becomes descriptors 0, 1 and 2; `None` stays as it is. None of them may be below 3.
    pub standard: [Option<BorrowedFd<'fd>>; 3],
    /// What becomes a higher descriptor. None of them may be one that another becomes.
    pub more: Vec<(RawFd, BorrowedFd<'fd>)>,
    /// The terminal whose foreground the child's process group becomes.
    pub foreground_of: Option<BorrowedFd<'fd>>,
    /// The `cgroup.procs` of the control group to join; that may fail, and nothing is lost.
    pub control_group: Option<BorrowedFd<'fd>>,
    /// Limits: resource, soft, hard.
    pub limits: Vec<(u32, u64, u64)>,
    /// The nice value.
    pub nice: Option<i8>,
    /// The value for `/proc/self/oom_score_adj`.
    pub oom_score_adj: Option<CString>,
    /// The file mode creation mask.
    pub umask: Option<u32>,
    /// Capabilities to lose, bit n for capability n.
    pub drop_capabilities: u64,
    /// Who to become.
    pub credentials: Option<Credentials>,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// Where to start; tried with the new credentials.
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

/// What was being done when a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Making the process.
    Fork,
    /// Giving it a process group of its own.
    ProcessGroup,
    /// Arranging its descriptors.
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
    /// The same, of a file that is there: it names an interpreter that is not.
    Interpreter(u32),
    /// The same, of a directory.
    Directory(u32),
}

/// Why a program could not be started.
#[derive(Debug)]
pub struct Failure {
    /// What was being done.
    pub step: Step,
    /// What the kernel said.
    pub error: io::Error,
}

/// `text` as a C string; refuses one with a NUL inside.
pub fn c_string(text: OsString) -> Result<CString, NulError> {
    CString::new(text.into_vec())
}

/// A child that is on its way to its program, or there already.
#[derive(Debug)]
pub struct Spawned {
    /// Its process, which leads a group of its own.
    pub pid: Pid,
    /// By which it tells how far it has got.
    pub report: Report,
}

/// What the child works with.
struct Child<'launch> {
    launch: &'launch Launch<'launch>,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    /// Where the child writes its process id, [`PID_DIGITS`] bytes and a NUL.
    listen_pid: *mut u8,
    /// The descriptors that it needs, in ascending order.
    needed: Vec<RawFd>,
    /// The limits on open files that the child is to have before its own are set.
    open_files: Option<(u64, u64)>,
    parent: u32,
    report: OwnedFd,
}

/// Makes the child, and returns at once.
///
/// One that fails before its program is executed ends by itself, and is to be reaped like any
/// other child. Every signal must be blocked, so that none ends the child before it has restored
/// the mask that programs expect.
///
/// # Errors
/// The child could not be made: there are too many processes or descriptors, or no memory.
pub fn spawn(launch: &Launch) -> Result<Spawned, Failure> {
    let failed = |error| Failure { step: Step::Fork, error };
    // No descriptor of the child's own may be where it is to have another.
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
        // SAFETY: the buffer is longer than the name it starts with.
        listen_pid: unsafe { listen_pid.add(LISTEN_PID.len()) },
        needed: needed(launch, writer.as_raw_fd()),
        open_files: descriptors::given_limit(),
        parent: std::process::id(),
        report: writer,
    };
    // SAFETY: until its exec the child makes only system calls, and takes no lock that a thread may
    // hold which it does not have; it ends without returning. It unblocks signals right before the
    // exec; no handler can run then, for all dispositions are the default or SIG_IGN
    // (signals::reset_dispositions).
    match unsafe { libc::fork() } {
        0 => run(&child),
        pid => match positive(pid) {
            Some(pid) => Ok(Spawned { pid, report }),
            None => Err(failed(io::Error::last_os_error())),
        },
    }
}

/// The child's whole life before its program.
fn run(child: &Child) -> ! {
    let failed = child::prepare_and_execute(child);
    report::write(&child.report, failed);
    // SAFETY: _exit(2) runs no exit handlers, which belong to the parent.
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
