//! The terminal: lent to the command that runs in the foreground, and job control for it.
//!
//! The command leads a process group of its own, which becomes the terminal's foreground group:
//! Ctrl-C, Ctrl-\ and a change of the window's size reach it directly, and not the init.
//!
//! What a shell would do when Ctrl-Z stops the command falls to us, for the shell sees only the
//! init: where the init is itself a job of a shell, it stops too, and hands the terminal back to
//! the command when the shell continues it. Where there is no such shell (PID 1 in
//! `docker run -it`), nobody could ever continue the command, so we do, at once: without an init
//! the command would be PID 1, which Ctrl-Z does not stop either (pid_namespaces(7)).

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, getpid, getppid, waitid};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::signal::Signal;
use crate::sys::process_ids::{group_of, session_of};
use crate::sys::signals;

/// The controlling terminal.
#[derive(Debug)]
pub(in crate::init) struct Terminal {
    fd: OwnedFd,
    /// Our process group; `None` if its leader is outside of our PID namespace, so that it has
    /// no number here.
    own_group: Option<Pid>,
    /// The leader of the group that it is lent to.
    borrower: Option<Pid>,
}

impl Terminal {
    /// The init's terminal, if it has one.
    pub(in crate::init) fn open() -> Option<Terminal> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let fd = match rustix::fs::open("/dev/tty", flags, Mode::empty()) {
            Ok(fd) => fd,
            // Without /dev there may still be a terminal.
            Err(_) if std::io::stdin().is_terminal() => {
                rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).ok()?
            }
            Err(_) => return None,
        };
        let own_group = match tcgetpgrp(&fd) {
            // No number: the foreground group is outside of our PID namespace, as is ours if we
            // were started from there.
            Err(Errno::OPNOTSUPP) => None,
            Ok(_) => Some(group_of(None)?),
            Err(_) => return None,
        };
        Some(Terminal { fd, own_group, borrower: None })
    }

    /// Whether it is ours to lend. A background job must not take it away from the shell that
    /// started it; it gets it when the shell brings it to the foreground.
    pub(in crate::init) fn is_ours(&self) -> bool {
        self.own_group.is_none_or(|own| tcgetpgrp(&self.fd) == Ok(own))
    }

    /// The group led by this process has become the foreground group, or will with us.
    pub(in crate::init) fn lent_to(&mut self, pid: Pid) {
        self.borrower = Some(pid);
    }

    /// Looks whether the command was stopped, and deals with it.
    pub(in crate::init) fn after_child_signal(&self) {
        let Some(pid) = self.borrower else { return };
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let Ok(Some(status)) = waitid(WaitId::Pid(pid), options) else { return };
        let stopped_by_key = status.stopping_signal() == Some(Signal::TSTP.number());
        if self.is_job_of_a_shell() {
            // We stop here, until the shell continues us. KILL apart, nothing else does it.
            let _ = signals::kill(own_pid(), Signal::STOP);
            self.after_continue();
        } else if stopped_by_key {
            let _ = signals::kill(-raw(pid), Signal::CONT);
        }
    }

    /// The init was continued: if that was as a foreground job, the command gets the terminal.
    pub(in crate::init) fn after_continue(&self) {
        let Some(pid) = self.borrower else { return };
        if self.own_group.is_some() && self.is_ours() {
            let _ = tcsetpgrp(&self.fd, pid);
        }
        let _ = signals::kill(-raw(pid), Signal::CONT);
    }

    /// The command has ended: whoever started the init finds the terminal as it was.
    pub(in crate::init) fn take_back(&mut self) {
        let Some(pid) = self.borrower.take() else { return };
        if let Some(own) = self.own_group
            && tcgetpgrp(&self.fd) == Ok(pid)
        {
            let _ = tcsetpgrp(&self.fd, own);
        }
    }

    /// Whether our parent is a shell with job control: it has put us into a group of our own
    /// within its session, and watches whether we stop. Another init above us (`docker run
    /// --init`) does the first and not the second; it is told by TSTP, which such a shell
    /// ignores so that Ctrl-Z does not stop it (the GNU C Library's manual, "Initializing the Shell").
    fn is_job_of_a_shell(&self) -> bool {
        let (Some(own_group), Some(parent)) = (self.own_group, getppid()) else { return false };
        getpid() != Pid::INIT
            && group_of(Some(parent)).is_some_and(|group| group != own_group)
            && session_of(Some(parent)).is_some_and(|session| session_of(None) == Some(session))
            && ignores(parent, Signal::TSTP).unwrap_or(true)
    }
}

/// Whether the process ignores the signal, proc(5); `None` if `/proc` does not say.
fn ignores(pid: Pid, signal: Signal) -> Option<bool> {
    let file = crate::process_tree::is_own_proc().then(|| format!("/proc/{pid}/status"))?;
    let status = std::fs::read_to_string(file).ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask >> (signal.number() - 1) & 1 == 1)
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn own_pid() -> i32 {
    raw(getpid())
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}
