//! Starts a program in the way of vfork(2): the child borrows the parent's memory until it
//! executes, so nothing is copied, and what went wrong in the child is known at once.
//!
//! Everything the child needs is made ready beforehand in [`Launch`]; in the child there are
//! only system calls (`child`).

mod child;

use std::ffi::{CString, NulError, OsString, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use rustix::process::Pid;

use super::process_ids::positive;
use super::{descriptors, memory};
use crate::signal::Signal;

/// The child's stack. It calls a handful of functions and no signal handler can run on it.
const STACK_BYTES: usize = 32 * 1024;
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
    pub environment: Vec<CString>,
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
    Execute(usize),
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

/// What parent and child share while the child borrows the parent's memory.
struct Shared<'launch> {
    launch: &'launch Launch<'launch>,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    /// Where the child writes its process id, [`PID_DIGITS`] bytes and a NUL.
    listen_pid: *mut u8,
    standard: [Option<RawFd>; 3],
    /// The limits on open files that the child is to have before its own are set.
    open_files: Option<(u64, u64)>,
    parent: u32,
    failure: Option<(Step, i32)>,
}

/// Starts it. Returns once its program is running, or has failed to.
///
/// A child that failed is left to be reaped like any orphan. The calling thread must have
/// blocked every signal: a handler that ran in the child would run in the parent's memory.
pub fn spawn(launch: &Launch) -> Result<Pid, Failure> {
    let mut listen_pid = [LISTEN_PID, &[0; PID_DIGITS + 1]].concat();
    let listen_pid = listen_pid.as_mut_ptr();
    let mut environment = pointers(&launch.environment);
    if launch.rewrite_listen_pid {
        let is_listen_pid = |variable: &CString| variable.as_bytes().starts_with(LISTEN_PID);
        if let Some(index) = launch.environment.iter().position(is_listen_pid) {
            environment[index] = listen_pid.cast();
        }
    }
    let mut shared = Shared {
        launch,
        arguments: pointers(&launch.arguments),
        environment,
        // SAFETY: the buffer is longer than the name it starts with.
        listen_pid: unsafe { listen_pid.add(LISTEN_PID.len()) },
        standard: launch.standard.map(|fd| fd.map(|fd| fd.as_raw_fd())),
        open_files: descriptors::given_limit(),
        parent: std::process::id(),
        failure: None,
    };
    let dumpable = launch.credentials.is_some().then(memory::dumpable);
    let returned = clone(&mut shared);
    // The child's change of credentials has closed our own `/proc` to others, since it marks the
    // memory, which it shared with us, prctl(2): `docker exec` could not open /proc/1/fd/1.
    dumpable.into_iter().for_each(memory::set_dumpable);
    // Read back through the pointer that the child had, since the compiler can't see it write.
    // SAFETY: the child is gone or has its own memory by now; the variable is alive and ours.
    let failure = unsafe { ptr::read_volatile(&raw const shared.failure) };
    match (returned, failure) {
        (Err(error), _) => Err(Failure { step: Step::Fork, error }),
        (Ok(_), Some((step, errno))) => {
            Err(Failure { step, error: io::Error::from_raw_os_error(errno) })
        }
        (Ok(pid), None) => Ok(pid),
    }
}

/// The null-terminated array of pointers that execve(2) takes.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

fn clone(shared: &mut Shared) -> io::Result<Pid> {
    // Blocks of 16 bytes, the alignment that the ABIs of x86-64 and ARM ask of a stack.
    let mut stack = Vec::<u128>::with_capacity(STACK_BYTES / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is ours, aligned, and grows down from its top; CLONE_VFORK suspends this
    // thread until the child has executed or exited, so stack and `shared` outlive the child's
    // use of them, and the child is the only one to write to `shared` in that time. All signals
    // are blocked, so no handler runs in the child.
    let pid = unsafe {
        libc::clone(run_child, top.cast(), flags, ptr::from_mut(shared).cast::<c_void>())
    };
    positive(pid).ok_or_else(io::Error::last_os_error)
}

/// The child's `main`.
extern "C" fn run_child(shared: *mut c_void) -> c_int {
    // SAFETY: `clone` passes a pointer to a live `Shared`, which the suspended parent does not
    // touch meanwhile.
    let shared = unsafe { &mut *shared.cast::<Shared>() };
    shared.failure = Some(child::prepare_and_execute(shared));
    // SAFETY: _exit(2) runs no exit handlers, which belong to the parent.
    unsafe { libc::_exit(c_int::from(crate::exit::INIT_FAILED)) }
}
