//! A git and everything that it starts, as a process group: it ends as a whole.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use super::LAST_WORDS;
use crate::plan::Plan;

/// How often it is looked whether the leader has exited.
const PERIOD: Duration = Duration::from_millis(10);

/// The group. Its leader is not reaped before `end`, so its number can't be another's.
pub(super) struct Group(Option<Running>);

struct Running {
    leader: Child,
    number: Pid,
    _counted: Arc<()>,
}

/// Its leader's ends of the pipes.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl Group {
    pub(super) fn spawn(plan: &Plan, counted: Arc<()>) -> io::Result<(Group, Pipes)> {
        use std::process::Stdio;
        let mut command = Command::from(plan.command());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut leader = command.process_group(0).spawn()?;
        let number = leader.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let number = number.ok_or_else(|| io::Error::other("it is gone already"))?;
        let pipes = match (leader.stdin.take(), leader.stdout.take(), leader.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Pipes { stdin, stdout, stderr },
            _ => return Err(io::Error::other("it has no pipes")),
        };
        Ok((Group(Some(Running { leader, number, _counted: counted })), pipes))
    }

    /// Waits until the leader has exited, for so long as it needs.
    pub(super) async fn exited(&self) {
        if let Some(running) = &self.0 {
            running.exited().await;
        }
    }

    /// Ends all of it: with SIGTERM first, for git removes its lock files then.
    pub(super) async fn end(mut self) -> Option<i32> {
        let running = self.0.take()?;
        running.end().await
    }
}

impl Running {
    /// Only looks: tokio would reap it, and then its number is nobody's. It is on its last steps,
    /// so this is not asked often.
    async fn exited(&self) {
        let looking = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Ok(None) = waitid(WaitId::Pid(self.number), looking) {
            sleep(PERIOD).await;
        }
    }

    async fn end(mut self) -> Option<i32> {
        // ESRCH: all of it has ended.
        let _ = kill_process_group(self.number, Signal::TERM);
        let _ = timeout(LAST_WORDS, self.exited()).await;
        let _ = kill_process_group(self.number, Signal::KILL);
        self.leader.wait().await.ok()?.code()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            tokio::spawn(running.end());
        }
    }
}
