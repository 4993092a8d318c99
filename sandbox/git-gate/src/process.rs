//! Runs a program to its end, or to a deadline, whichever comes first.

use std::io::{self, Read, Write};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::messages::Messages;
use crate::plan::Plan;

/// More output than this is not kept, and is a failure.
const MOST_OUTPUT: u64 = 256 << 20;
/// What it has after SIGTERM: git removes its lock files then.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Finished {
    /// Its stdout as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs it with this input.
///
/// # Errors
/// If it could not be run, was too slow or said too much; with its name, for messages.
pub(crate) fn run(plan: &Plan, input: Vec<u8>, deadline: Instant) -> Result<Finished, String> {
    let (its, mut ours) = io::pipe().map_err(|error| cannot_run(plan, &error))?;
    // Programs may end without reading all of it; their exit status says what that means.
    let feed = move || drop(ours.write_all(&input));
    run_from(plan, its.into(), feed, deadline).map(|(finished, ())| finished)
}

/// Runs it while `feed` writes its input, which it reads one message at a time.
///
/// # Errors
/// As for `run`.
pub(crate) fn run_fed<T: Send + 'static>(
    plan: &Plan,
    feed: impl FnOnce(Messages) -> T + Send + 'static,
    deadline: Instant,
) -> Result<(Finished, T), String> {
    let (ours, its) = Messages::pair().map_err(|error| cannot_run(plan, &error))?;
    run_from(plan, its.into(), move || feed(ours), deadline)
}

fn run_from<T: Send + 'static>(
    plan: &Plan,
    stdin: Stdio,
    feed: impl FnOnce() -> T + Send + 'static,
    deadline: Instant,
) -> Result<(Finished, T), String> {
    let name = plan.name();
    let failed = |error: io::Error| cannot_run(plan, &error);
    let mut command = plan.command();
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    // It holds the end that is read: with that open, the feeder would not see the program's end.
    drop(command);
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(format!("{name} can't be run: it has no pipes"));
    };
    let fed = in_background(feed);
    let stdout = in_background(move || read(stdout));
    let stderr = in_background(move || read(stderr));
    let status = wait(&mut child, deadline).map_err(failed)?;
    let Some(status) = status else { return Err(too_slow(&name)) };
    // A grandchild may hold the pipes, so their end is not waited for without a limit either.
    let rest = deadline.saturating_duration_since(Instant::now()).max(LAST_WORDS);
    let late = |_| too_slow(&name);
    let stdout = stdout.recv_timeout(rest).map_err(late)?;
    let stderr = stderr.recv_timeout(rest).map_err(late)?.unwrap_or_default();
    let fed = fed.recv_timeout(rest).map_err(late)?;
    let stdout = stdout.ok_or_else(|| format!("the output of {name} is too long or broken off"))?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok((Finished { status, stdout, stderr }, fed))
}

fn cannot_run(plan: &Plan, error: &io::Error) -> String {
    format!("{} can't be run: {error}", plan.name())
}

fn too_slow(name: &str) -> String {
    format!("{name} did not end in time")
}

fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver
}

fn read(mut pipe: impl Read) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let complete = pipe.by_ref().take(MOST_OUTPUT).read_to_end(&mut text).is_ok();
    let nothing_more = io::copy(&mut pipe, &mut io::sink()).is_ok_and(|more| more == 0);
    (complete && nothing_more).then_some(text)
}

/// Its exit status; `None` if the deadline came first, and then it is gone too.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            child.kill()?;
            child.wait()?;
            return Err(error.into());
        }
    };
    if ends_by(&pidfd, deadline)? {
        return child.wait().map(Some);
    }
    // It is not reaped yet, so the signals can't miss it.
    let _ = pidfd_send_signal(&pidfd, Signal::TERM);
    if !ends_by(&pidfd, Instant::now() + LAST_WORDS)? {
        child.kill()?;
    }
    child.wait()?;
    Ok(None)
}

/// Whether the process of this pidfd ends before the deadline.
pub(crate) fn ends_by(pidfd: &impl std::os::fd::AsFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        let rest = Timespec::try_from(rest).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&rest)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn shell(script: &str) -> Plan {
        Plan::new("/bin/sh", Path::new("/")).arguments(["-c", script])
    }

    fn soon(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn output_and_status_are_kept() {
        let plan = shell("cat; echo oops >&2; exit 3");
        let finished = run(&plan, b"in".to_vec(), soon(60)).unwrap();
        assert_eq!(finished.text(), "in");
        assert_eq!(finished.stderr, "oops\n");
        assert_eq!(finished.status.code(), Some(3));
    }

    #[test]
    fn nothing_is_inherited() {
        let plan = Plan::new("/usr/bin/env", Path::new("/")).variable("ONLY", "this");
        assert_eq!(run(&plan, Vec::new(), soon(60)).unwrap().text(), "ONLY=this\n");
    }

    #[test]
    fn the_deadline_ends_it() {
        let error = run(&shell("exec sleep 1000"), Vec::new(), soon(0)).unwrap_err();
        assert_eq!(error, "sh did not end in time");
    }

    #[test]
    fn a_grandchild_with_the_pipe_does_not_hold_it_up() {
        let error = run(&shell("sleep 5 & exit 0"), Vec::new(), soon(1)).unwrap_err();
        assert_eq!(error, "sh did not end in time");
    }

    #[test]
    fn what_is_missing_is_said() {
        let error = run(&Plan::new("/no/such", Path::new("/")), Vec::new(), soon(60)).unwrap_err();
        assert!(error.starts_with("such can't be run: "), "{error}");
    }

    #[test]
    fn unread_input_is_no_error() {
        let finished = run(&shell("exit 0"), vec![b'x'; 1 << 20], soon(60)).unwrap();
        assert!(finished.status.success());
    }
}
