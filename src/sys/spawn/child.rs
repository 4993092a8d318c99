//! What the child does between fork and exec: only system calls, no allocation, no lock, no unwinding.

use std::ffi::{CStr, c_int, c_long, c_ulong};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr;

use rustix::process::Resource;

use super::{Child, Credentials, PID_DIGITS, Step};
use crate::sys::{descriptors, signals};

/// The version of the capability calls with 64 bits, capget(2).
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const OOM_SCORE_ADJ: &CStr = c"/proc/self/oom_score_adj";

/// The step and the error number.
pub(super) type Failed = (Step, i32);

/// Returns only after a failure.
pub(super) fn prepare_and_execute(child: &Child) -> Failed {
    match prepare(child) {
        Ok(()) => execute(child),
        Err(failed) => failed,
    }
}

/// The order matters: steps that need privileges come before these are dropped, and steps that use the
/// new credentials come after.
fn prepare(child: &Child) -> Result<(), Failed> {
    let launch = child.launch;
    close_others(child);
    own_process_group(child)?;
    if let Some(group) = launch.control_group {
        // SAFETY: the kernel reads one byte from a live literal.
        unsafe { libc::write(group.as_raw_fd(), c"0".as_ptr().cast(), 1) };
    }
    standard_descriptors(child)?;
    // Before the limits: it opens a file, and the limit on open files may be too low for that.
    oom_score_adj(child)?;
    limits(child)?;
    if let Some(nice) = launch.nice {
        // SAFETY: plain numbers; 0 is this process.
        let done = unsafe {
            libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, c_int::from(nice))
        };
        check(Step::Nice, done)?;
    }
    if let Some(umask) = launch.umask {
        // SAFETY: umask(2) takes any mask and always succeeds.
        unsafe { libc::umask(umask) };
    }
    drop_from_bounding_set(launch.drop_capabilities, launch.no_new_privileges)?;
    if let Some(credentials) = &launch.credentials {
        change_credentials(credentials)?;
    }
    drop_capabilities(launch.drop_capabilities)?;
    if launch.no_new_privileges {
        prctl(Step::NoNewPrivileges, libc::PR_SET_NO_NEW_PRIVS, 1)?;
    }
    if let Some(directory) = &launch.working_directory {
        // SAFETY: a NUL-terminated string that outlives the call.
        let done = unsafe { libc::chdir(directory.as_ptr()) };
        check(Step::WorkingDirectory, c_long::from(done))?;
    }
    parent_death_signal(child)
}

fn limits(child: &Child) -> Result<(), Failed> {
    if let Some((soft, hard)) = child.open_files {
        limit(Resource::Nofile as u32, soft, hard)?;
    }
    for (resource, soft, hard) in &child.launch.limits {
        limit(*resource, *soft, *hard)?;
    }
    Ok(())
}

fn limit(resource: u32, soft: u64, hard: u64) -> Result<(), Failed> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let no_old_limit = ptr::null_mut::<u8>();
    // SAFETY: the kernel reads one live struct and writes nothing. 0 is this process.
    let done =
        unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, no_old_limit) };
    check(Step::Limit(resource), done)
}

/// Otherwise copies of the init's descriptors stay open until execve(2), which may never come: clients
/// would wait for the end of a connection that the init has closed.
fn close_others(child: &Child) {
    if !child.launch.keeps_descriptors {
        // SAFETY: the child uses only the descriptors in `keep`, and ends without dropping any value.
        unsafe { descriptors::close_all_but(&child.needed) };
    }
}

fn own_process_group(child: &Child) -> Result<(), Failed> {
    let done = match child.launch.own_session {
        // SAFETY: no arguments. It can't fail for a process that was just forked, setsid(2).
        true => unsafe { libc::setsid() },
        // SAFETY: plain numbers; 0 is this process.
        false => unsafe { libc::setpgid(0, 0) },
    };
    check(Step::ProcessGroup, c_long::from(done))?;
    if let Some(terminal) = child.launch.foreground_of {
        // A failure is normal: the terminal may be another session's, or hung up. With every signal
        // blocked SIGTTOU can't stop us, tcsetpgrp(3). SAFETY: plain numbers.
        unsafe { libc::tcsetpgrp(terminal.as_raw_fd(), libc::getpid()) };
    }
    Ok(())
}

fn standard_descriptors(child: &Child) -> Result<(), Failed> {
    for (target, source) in (0..).zip(child.launch.standard) {
        if let Some(source) = source {
            // SAFETY: plain numbers. execve(2) does not close the copy, dup(2).
            let done = unsafe { libc::dup3(source.as_raw_fd(), target, 0) };
            check(Step::Descriptors, c_long::from(done))?;
        }
    }
    for (target, source) in &child.launch.more {
        // SAFETY: plain numbers, as above.
        let done = unsafe { libc::dup3(source.as_raw_fd(), *target, 0) };
        check(Step::Descriptors, c_long::from(done))?;
    }
    Ok(())
}

fn oom_score_adj(child: &Child) -> Result<(), Failed> {
    let Some(value) = &child.launch.oom_score_adj else { return Ok(()) };
    let bytes = value.as_bytes();
    // SAFETY: the path is a NUL-terminated literal.
    let fd = unsafe { libc::open(OOM_SCORE_ADJ.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    check(Step::OomScore, c_long::from(fd))?;
    // SAFETY: the kernel reads from a live slice of that length.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    check(Step::OomScore, written as c_long)?;
    Ok(())
}

/// Raw system calls: libc's functions of these names act on all threads of the parent.
fn change_credentials(credentials: &Credentials) -> Result<(), Failed> {
    let Credentials { user, group, groups } = credentials;
    // SAFETY: the kernel reads as many group ids as the slice has.
    let done = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    check(Step::Groups, done)?;
    // SAFETY: plain numbers.
    check(Step::Group, unsafe { libc::syscall(libc::SYS_setresgid, *group, *group, *group) })?;
    // SAFETY: plain numbers.
    check(Step::User, unsafe { libc::syscall(libc::SYS_setresuid, *user, *user, *user) })
}

/// Otherwise a setuid program could regain the capabilities, capabilities(7). This needs `CAP_SETPCAP`;
/// without it, no-new-privileges has the same effect.
fn drop_from_bounding_set(dropped: u64, no_new_privileges: bool) -> Result<(), Failed> {
    for capability in (0..64).filter(|bit| dropped & (1 << bit) != 0) {
        // SAFETY: plain numbers.
        let held = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability as c_ulong) };
        // -1: this kernel does not have the capability.
        if held != 1 {
            continue;
        }
        match prctl(Step::Capabilities, libc::PR_CAPBSET_DROP, capability) {
            Err((_, libc::EPERM)) if no_new_privileges => {}
            other => other?,
        }
    }
    Ok(())
}

/// The structures of capget(2) and capset(2).
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The kernel also clears the ambient set.
fn drop_capabilities(dropped: u64) -> Result<(), Failed> {
    if dropped == 0 {
        return Ok(());
    }
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: version 3 takes one header and writes two records, both live.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    check(Step::Capabilities, done)?;
    let [low, high] = &mut data;
    for (half, dropped) in [(low, dropped as u32), (high, (dropped >> 32) as u32)] {
        half.effective &= !dropped;
        half.permitted &= !dropped;
        half.inheritable &= !dropped;
    }
    // SAFETY: version 3 takes one header and reads two records, both live.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    check(Step::Capabilities, done)
}

/// After the change of credentials, which resets it, prctl(2).
fn parent_death_signal(child: &Child) -> Result<(), Failed> {
    let Some(signal) = child.launch.parent_death_signal else { return Ok(()) };
    prctl(Step::ParentDeathSignal, libc::PR_SET_PDEATHSIG, signal.number())?;
    // The parent may have died before; then the signal would never come. SAFETY: no arguments.
    let parent = unsafe { libc::getppid() };
    if u32::try_from(parent) == Ok(child.parent) {
        Ok(())
    } else {
        Err((Step::ParentDeathSignal, libc::ESRCH))
    }
}

/// Tries one path after the other, as execvp(3): a file that is not executable does not end the search,
/// but its error is reported if no other file is found.
fn execute(child: &Child) -> Failed {
    write_listen_pid(child);
    signals::unblock_all();
    let mut failed = (Step::Execute(0), libc::ENOENT);
    for (index, path) in (0..).zip(&child.launch.paths) {
        // SAFETY: a NUL-terminated path and two null-terminated arrays of NUL-terminated
        // strings, all alive in `child`.
        unsafe {
            libc::execve(path.as_ptr(), child.arguments.as_ptr(), child.environment.as_ptr());
        }
        let errno = last_errno();
        match (errno, kind_of(path)) {
            (libc::EACCES, Some(libc::S_IFDIR)) => failed = (Step::Directory(index), errno),
            (libc::EACCES, _) => failed = (Step::Execute(index), errno),
            (libc::ENOENT | libc::ENOTDIR, Some(_)) => return (Step::Interpreter(index), errno),
            (libc::ENOENT | libc::ENOTDIR, None) => {}
            // In a search such an entry is skipped, as execvp(3) does.
            (libc::ENAMETOOLONG, _) if child.launch.paths.len() > 1 => {}
            _ => return (Step::Execute(index), errno),
        }
    }
    failed
}

/// The file at this path, if any. Only the child looks it up, because a file system may not answer.
fn kind_of(path: &CStr) -> Option<libc::mode_t> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is NUL-terminated, and the kernel writes one struct into a live variable.
    let done = unsafe { libc::stat(path.as_ptr(), stat.as_mut_ptr()) };
    // SAFETY: stat(2) has filled it in.
    (done == 0).then(|| unsafe { stat.assume_init() }.st_mode & libc::S_IFMT)
}

fn write_listen_pid(child: &Child) {
    // SAFETY: no arguments.
    let mut rest = unsafe { libc::getpid() }.unsigned_abs();
    let mut digits = [0; PID_DIGITS];
    let mut start = PID_DIGITS;
    while start > 0 {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    // SAFETY: `spawn` made space for PID_DIGITS bytes and the NUL that is there.
    unsafe {
        ptr::copy_nonoverlapping(digits.as_ptr().add(start), child.listen_pid, PID_DIGITS - start);
    }
}

/// For unused arguments of prctl(2), as wide as the kernel reads them.
const UNUSED: c_ulong = 0;

fn prctl(step: Step, option: c_int, argument: c_int) -> Result<(), Failed> {
    // SAFETY: the options used here take one number; unused arguments must be 0, prctl(2).
    let done = unsafe { libc::prctl(option, argument as c_ulong, UNUSED, UNUSED, UNUSED) };
    check(step, c_long::from(done))
}

fn check(step: Step, returned: c_long) -> Result<(), Failed> {
    if returned < 0 { Err((step, last_errno())) } else { Ok(()) }
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
