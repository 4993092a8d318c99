//! The terminal: lent to the foreground command, with job control.
//!
//! The command leads its own process group, which becomes the terminal's foreground group: Ctrl-C,
//! Ctrl-\ and a change of the window's size reach it directly, and not the init.
//!
//! When Ctrl-Z stops the command, the init does the work of a shell, because the shell sees only the
//! init. If the init is itself a job of a shell, it stops too, and gives the terminal back to the
//! command when the shell continues it. Without such a shell (PID 1 in `docker run -it`) nothing could
//! continue the command, so the init continues it at once: without an init the command would be PID 1,
//! which Ctrl-Z does not stop either (pid_namespaces(7)).

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
    /// Our process group; `None` if its leader is outside of our PID namespace.
    own_group: Option<Pid>,
    /// The leader of the group that it is lent to.
    borrower: Option<Pid>,
}

impl Terminal {
    pub(in crate::init) fn open() -> Option<Terminal> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let fd = match rustix::fs::open("/dev/tty", flags, Mode::empty()) {
            Ok(fd) => fd,
            // There may be a terminal without /dev.
            Err(_) if std::io::stdin().is_terminal() => {
                rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).ok()?
            }
            Err(_) => return None,
        };
        let own_group = match tcgetpgrp(&fd) {
            // The foreground group is outside of our PID namespace, and so is our own if we were
            // started from there.
            Err(Errno::OPNOTSUPP) => None,
            Ok(_) => Some(group_of(None)?),
            Err(_) => return None,
        };
        Some(Terminal { fd, own_group, borrower: None })
    }

    /// Whether we may lend it. A background job must not take it from the shell that started it; it
    /// gets it when the shell brings it to the foreground.
    pub(in crate::init) fn is_ours(&self) -> bool {
        self.own_group.is_none_or(|own| tcgetpgrp(&self.fd) == Ok(own))
    }

    /// The group of this process has become the foreground group, or will become it with us.
    pub(in crate::init) fn lent_to(&mut self, pid: Pid) {
        self.borrower = Some(pid);
    }

    /// Checks whether the command was stopped, and handles it.
    pub(in crate::init) fn after_child_signal(&self) {
        let Some(pid) = self.borrower else { return };
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let Ok(Some(status)) = waitid(WaitId::Pid(pid), options) else { return };
        let stopped_by_key = status.stopping_signal() == Some(Signal::TSTP.number());
        if self.is_job_of_a_shell() {
            // We stop here until the shell continues us. Apart from KILL, no other signal ends this.
            let _ = signals::kill(own_pid(), Signal::STOP);
            self.after_continue();
        } else if stopped_by_key {
            let _ = signals::kill(-raw(pid), Signal::CONT);
        }
    }

    /// The init was continued: if it is a foreground job now, the command gets the terminal.
    pub(in crate::init) fn after_continue(&self) {
        let Some(pid) = self.borrower else { return };
        if self.own_group.is_some() && self.is_ours() {
            let _ = tcsetpgrp(&self.fd, pid);
        }
        let _ = signals::kill(-raw(pid), Signal::CONT);
    }

    /// The command has ended: restores the terminal for the init's parent.
    pub(in crate::init) fn take_back(&mut self) {
        let Some(pid) = self.borrower.take() else { return };
        if let Some(own) = self.own_group
            && tcgetpgrp(&self.fd) == Ok(pid)
        {
            let _ = tcsetpgrp(&self.fd, own);
        }
    }

    /// Whether our parent is a shell with job control: it has given us our own group within its
    /// session, and notices when we stop. Another init above us (`docker run --init`) does the first
    /// and not the second. The difference is TSTP: such a shell ignores it, so that Ctrl-Z does not
    /// stop the shell (the GNU C Library's manual, "Initializing the Shell").
    fn is_job_of_a_shell(&self) -> bool {
        let (Some(own_group), Some(parent)) = (self.own_group, getppid()) else { return false };
        getpid() != Pid::INIT
            && group_of(Some(parent)).is_some_and(|group| group != own_group)
            && session_of(Some(parent)).is_some_and(|session| session_of(None) == Some(session))
            && ignores(parent, Signal::TSTP).unwrap_or(true)
    }
}

/// Whether the process ignores the signal, proc(5); `None` if `/proc` does not tell.
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
