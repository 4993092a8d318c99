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
use rustix::process::{
    Pid, WaitId, WaitIdOptions, getpgid, getpgrp, getpid, getppid, getsid, waitid,
};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::signal::Signal;
use crate::sys::signals;

/// The controlling terminal, while we are in its foreground.
#[derive(Debug)]
pub(super) struct Terminal {
    fd: OwnedFd,
    /// The leader of the group that it is lent to.
    borrower: Option<Pid>,
}

impl Terminal {
    /// The init's terminal, if it has one and is in its foreground. A background job must not
    /// take the terminal away from the shell that started it.
    pub(super) fn open() -> Option<Terminal> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let fd = match rustix::fs::open("/dev/tty", flags, Mode::empty()) {
            Ok(fd) => fd,
            // Without /dev there may still be a terminal.
            Err(_) if std::io::stdin().is_terminal() => {
                rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).ok()?
            }
            Err(_) => return None,
        };
        (tcgetpgrp(&fd).ok()? == getpgrp()).then_some(Terminal { fd, borrower: None })
    }

    /// The group led by this process has become the foreground group.
    pub(super) fn lent_to(&mut self, pid: Pid) {
        self.borrower = Some(pid);
    }

    /// Looks whether the command was stopped, and deals with it.
    pub(super) fn after_child_signal(&self) {
        let Some(pid) = self.borrower else { return };
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let Ok(Some(status)) = waitid(WaitId::Pid(pid), options) else { return };
        let stopped_by_key = status.stopping_signal() == Some(Signal::TSTP.number());
        if is_job_of_a_shell() {
            // We stop here, until the shell continues us. KILL apart, nothing else does it.
            let _ = signals::kill(own_pid(), Signal::STOP);
            self.after_continue();
        } else if stopped_by_key {
            let _ = signals::kill(-raw(pid), Signal::CONT);
        }
    }

    /// The init was continued: if that was as a foreground job, the command gets the terminal.
    pub(super) fn after_continue(&self) {
        let Some(pid) = self.borrower else { return };
        if tcgetpgrp(&self.fd) == Ok(getpgrp()) {
            let _ = tcsetpgrp(&self.fd, pid);
        }
        let _ = signals::kill(-raw(pid), Signal::CONT);
    }

    /// The command has ended: whoever started the init finds the terminal as it was.
    pub(super) fn take_back(&mut self) {
        let Some(pid) = self.borrower.take() else { return };
        if tcgetpgrp(&self.fd) == Ok(pid) {
            let _ = tcsetpgrp(&self.fd, getpgrp());
        }
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether our parent is a shell with job control: it has put us into a group of our own within
/// its session, and watches whether we stop.
fn is_job_of_a_shell() -> bool {
    let (own, Some(parent)) = (getpid(), getppid()) else { return false };
    own != Pid::INIT
        && getpgid(Some(parent)).is_ok_and(|group| group != getpgrp())
        && getsid(Some(parent)).is_ok_and(|session| getsid(None) == Ok(session))
}

fn own_pid() -> i32 {
    raw(getpid())
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}
