//! What a service is started with: its descriptors, the terminal and its sockets.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use crate::bundle::LogMode;
use crate::bundle::listen::FIRST_SOCKET;
use crate::error_text::error_text;
use crate::log::{self, Channel};
use crate::plan::Plan;
use crate::supervisor::ServiceId;
use crate::sys::spawn::Launch;

mod command;
pub(super) mod sockets;
mod terminal;

use sockets::Sockets;
use terminal::Terminal;

#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) terminal: Option<Terminal>,
    pub(super) sockets: Sockets,
    /// The standard input of services.
    empty_input: Option<OwnedFd>,
}

/// The descriptors of a service that is about to start.
#[derive(Debug)]
pub(super) struct Descriptors {
    /// The read ends of its output pipes.
    pub(super) outputs: Vec<(Channel, OwnedFd)>,
    /// Its standard input, output and error; `None`: those of the init.
    standard: [Option<OwnedFd>; 3],
    /// Others, each with its number in the service.
    more: Vec<(RawFd, OwnedFd)>,
    /// How many of those are sockets of `listen`.
    sockets: usize,
}

impl Launcher {
    /// Opens the sockets of `listen`, and the terminal.
    ///
    /// # Errors
    /// If a socket can't be opened.
    pub(super) fn new(plan: &Plan) -> io::Result<Launcher> {
        let mut sockets = Sockets::default();
        sockets.open(plan).map_err(io::Error::other)?;
        let terminal = plan.foreground.and_then(|_| Terminal::open());
        Ok(Launcher { terminal, sockets, empty_input: None })
    }

    /// Creates the descriptors of a service, including `notification`. Fails with a reason.
    pub(super) fn descriptors(
        &mut self,
        plan: &Plan,
        id: ServiceId,
        notification: Option<(RawFd, BorrowedFd)>,
    ) -> Result<Descriptors, String> {
        let refused =
            |what: &'static str| move |error: io::Error| format!("{what}: {}", error_text(&error));
        let sockets = self.sockets.of(plan, id);
        let count = sockets.len();
        let more = out_of_the_way((FIRST_SOCKET..).zip(sockets).chain(notification).collect())
            .map_err(refused("can't copy its sockets"))?;
        let (mut outputs, mut standard) = (Vec::new(), [None, None, None]);
        if plan.bundle.services[id.0].log != LogMode::Inherit {
            let owner = plan.identity(id).map(|who| (who.user, who.group));
            for channel in Channel::BOTH {
                let (ours, theirs) =
                    log::pipe(owner).map_err(refused("can't make its output pipes"))?;
                outputs.push((channel, ours));
                standard[1 + channel as usize] = Some(theirs);
            }
        }
        if plan.foreground != Some(id) {
            standard[0] = Some(self.empty_input().map_err(refused("can't open /dev/null"))?);
        }
        Ok(Descriptors { outputs, standard, more, sockets: count })
    }

    /// Everything that a service is started with.
    pub(super) fn service<'fd>(
        &'fd self,
        plan: &Plan,
        id: ServiceId,
        descriptors: &'fd Descriptors,
        more: Vec<(OsString, OsString)>,
    ) -> Result<Launch<'fd>, String> {
        let variables = [more, listen_variables(descriptors.sockets)].concat();
        let command = &plan.bundle.services[id.0].command;
        let mut launch = command::of_service(plan, id, command, &variables)?;
        launch.more = descriptors.more.iter().map(|(target, fd)| (*target, fd.as_fd())).collect();
        launch.rewrite_listen_pid |= descriptors.sockets > 0;
        launch.standard = descriptors.standard.each_ref().map(|fd| fd.as_ref().map(OwnedFd::as_fd));
        let is_foreground = plan.foreground == Some(id);
        let lent = self.terminal.as_ref().filter(|terminal| is_foreground && terminal.is_ours());
        launch.foreground_of = lent.map(AsFd::as_fd);
        Ok(launch)
    }

    /// The service was started as this process.
    pub(super) fn started(&mut self, plan: &Plan, id: ServiceId, pid: Pid) {
        if plan.foreground == Some(id)
            && let Some(terminal) = &mut self.terminal
        {
            terminal.lent_to(pid);
        }
    }

    pub(super) fn ended(&mut self, plan: &Plan, id: ServiceId) {
        if plan.foreground == Some(id)
            && let Some(terminal) = &mut self.terminal
        {
            terminal.take_back();
        }
    }

    /// Descriptors without input and for discarded output, for a helper command.
    pub(super) fn nothing(&mut self) -> Result<[OwnedFd; 2], String> {
        let both = self.empty_input().and_then(|input| Ok([input, no_output()?]));
        both.map_err(|error| error_text(&error))
    }

    /// A command with the service's settings, without its output.
    pub(super) fn helper<'fd>(
        plan: &Plan,
        id: ServiceId,
        command: &[OsString],
        nothing: &'fd [OwnedFd; 2],
    ) -> Result<Launch<'fd>, String> {
        let launch = command::of_service(plan, id, command, &[])?;
        Ok(Launch { standard: standard(nothing), ..launch })
    }

    /// The command of `on-event`, with the event in this variable.
    pub(super) fn hook<'fd>(
        plan: &Plan,
        event: (OsString, OsString),
        nothing: &'fd [OwnedFd; 2],
    ) -> Result<Launch<'fd>, String> {
        let launch = command::of_hook(plan, &plan.bundle.on_event.command, event)?;
        Ok(Launch { standard: standard(nothing), ..launch })
    }

    /// `/dev/null`, or without one a pipe at end of file. Copied for each service.
    fn empty_input(&mut self) -> io::Result<OwnedFd> {
        let input = match self.empty_input.take() {
            Some(input) => input,
            None => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                rustix::fs::open("/dev/null", flags, Mode::empty())
                    .or_else(|_| pipe_with(PipeFlags::CLOEXEC).map(|(reader, _)| reader))?
            }
        };
        let copy = rustix::io::fcntl_dupfd_cloexec(&input, 3)?;
        self.empty_input = Some(input);
        Ok(copy)
    }
}

fn no_output() -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::open("/dev/null", flags, Mode::empty())
        .or_else(|_| pipe_with(PipeFlags::CLOEXEC).map(|(_, writer)| writer))?;
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?)
}

fn standard([input, output]: &[OwnedFd; 2]) -> [Option<BorrowedFd<'_>>; 3] {
    [Some(input.as_fd()), Some(output.as_fd()), Some(output.as_fd())]
}

/// Copies whose numbers differ from the target numbers.
fn out_of_the_way(all: Vec<(RawFd, BorrowedFd)>) -> io::Result<Vec<(RawFd, OwnedFd)>> {
    let beyond = all.iter().map(|(target, _)| target + 1).max().unwrap_or(0);
    all.into_iter()
        .map(|(target, fd)| Ok((target, rustix::io::fcntl_dupfd_cloexec(fd, beyond)?)))
        .collect()
}

/// The variables for `listen`, sd_listen_fds(3). The child inserts its own pid.
fn listen_variables(sockets: usize) -> Vec<(OsString, OsString)> {
    if sockets == 0 {
        return Vec::new();
    }
    let variable = |name: &str, value: String| (name.into(), value.into());
    vec![variable("LISTEN_FDS", sockets.to_string()), variable("LISTEN_PID", String::new())]
}
