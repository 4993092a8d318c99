//! Tells the parent whether all services are ready: through `NOTIFY_SOCKET`, sd_notify(3), and with a
//! file that exists while they are. The paths of both may be on a file system that does not answer, so
//! a child looks them up just before the init uses them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::error_text::error_text;
use crate::exit::ExitStatus;
use crate::init::children::{Children, Role, kill_session};
use crate::init::learnt::{Learnt, Scheduled};
use crate::init::own_file::{OwnFile, look_at};

/// The delay before the first retry; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(50);
/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// The time limit of a lookup.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// The state of the bundle.
#[derive(Clone, Copy, Debug)]
pub(in crate::init) struct BundleState {
    /// Every service is ready and live.
    pub(in crate::init) is_ready: bool,
    /// The shutdown has begun.
    pub(in crate::init) is_stopping: bool,
    /// The shutdown is over.
    pub(in crate::init) is_over: bool,
}

#[derive(Debug, Default)]
pub(in crate::init) struct Parent {
    notify_socket: Option<OsString>,
    ready_file: Option<PathBuf>,
    /// The ready file, if we have created it.
    made: Option<OwnFile>,
    /// The last reported readiness.
    is_ready: bool,
    /// Whether the shutdown was reported.
    is_stopping: bool,
    unsaid: Option<Unsaid>,
    /// The child that looks up the paths, and its time limit.
    lookup: Option<(Pid, Instant)>,
    /// Whether a timeout was logged, since the last lookup in time.
    has_complained: bool,
}

/// What is still to be reported.
#[derive(Debug)]
struct Unsaid {
    /// Through `NOTIFY_SOCKET`.
    text: Option<&'static str>,
    /// Whether the ready file is to be created or removed.
    is_to_mark: bool,
    at: Instant,
    delay: Duration,
}

impl Parent {
    /// Removes the ready file of an earlier run.
    ///
    /// # Errors
    /// If the existing file can't be a ready file.
    pub(in crate::init) fn new(ready_file: Option<PathBuf>) -> io::Result<Parent> {
        let notify_socket = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        if let Some(file) = &ready_file
            && let Ok(left) = left_over(file)
        {
            let Some(left) = left else {
                let file = file.display();
                return Err(io::Error::other(format!(
                    "{file} is not an empty file; --ready-file names one that the init makes and \
                     removes"
                )));
            };
            // If it can't be removed, creating it reports the error.
            let _ = left.remove();
        }
        Ok(Parent { notify_socket, ready_file, ..Parent::default() })
    }

    /// Whether the parent has asked for reports.
    pub(in crate::init) fn is_wanted(&self) -> bool {
        self.notify_socket.is_some() || self.ready_file.is_some()
    }

    /// The paths that are needed now.
    fn paths(&self) -> Vec<PathBuf> {
        let is_to_tell = self.unsaid.as_ref().is_some_and(|unsaid| unsaid.text.is_some());
        let socket = self.notify_socket.as_deref().map(Path::new).filter(|_| is_to_tell);
        let socket = socket.filter(|path| !path.as_os_str().as_bytes().starts_with(b"@"));
        let is_to_mark = self.unsaid.as_ref().is_some_and(|unsaid| unsaid.is_to_mark);
        let file = self.ready_file.as_deref().filter(|_| is_to_mark);
        socket.into_iter().chain(file).map(Path::to_owned).collect()
    }

    /// Replaces what is still to be reported.
    fn tell(&mut self, text: &'static str, now: Instant) {
        let is_to_mark = self.unsaid.take().is_some_and(|unsaid| unsaid.is_to_mark);
        let text = Some(text);
        self.unsaid = Some(Unsaid { text, is_to_mark, at: now, delay: FIRST_DELAY });
    }

    /// The readiness of all services has changed.
    fn tell_whether_ready(&mut self, is_ready: bool, now: Instant) {
        self.is_ready = is_ready;
        self.tell(
            match is_ready {
                true => "READY=1\nSTATUS=every service is ready",
                false => "STATUS=not every service is ready and live",
            },
            now,
        );
        self.unsaid.iter_mut().for_each(|unsaid| unsaid.is_to_mark = true);
    }

    /// Makes the due reports. Returns messages for the first and for the last failure.
    fn try_to_tell(&mut self, now: Instant) -> Vec<String> {
        let Some(mut unsaid) = self.unsaid.take_if(|unsaid| unsaid.at <= now) else {
            return Vec::new();
        };
        let is_first = unsaid.delay == FIRST_DELAY;
        let mut words = Vec::new();
        let mut is_done = |done: io::Result<()>, doing: &str| {
            let Err(error) = done else { return true };
            let may_pass = may_pass(&error);
            let again = if may_pass { "; trying again" } else { "" };
            if is_first || !may_pass {
                words.push(format!("can't {doing}: {}{again}", error_text(&error)));
            }
            !may_pass
        };
        if unsaid.is_to_mark {
            let file = self.ready_file.clone().unwrap_or_default();
            let doing = format!("keep the ready file {}", file.display());
            unsaid.is_to_mark = !is_done(self.mark(), &doing);
        }
        if let Some(text) = unsaid.text
            && is_done(self.notify(text), "notify NOTIFY_SOCKET")
        {
            unsaid.text = None;
        }
        if unsaid.is_to_mark || unsaid.text.is_some() {
            unsaid.at = now + unsaid.delay;
            unsaid.delay = (2 * unsaid.delay).min(LONGEST_DELAY);
            self.unsaid = Some(unsaid);
        }
        words
    }

    fn notify(&self, text: &str) -> io::Result<()> {
        let Some(name) = &self.notify_socket else { return Ok(()) };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(Path::new(name))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(text.as_bytes(), &address).map(drop)
    }

    fn mark(&mut self) -> io::Result<()> {
        let Some(file) = &self.ready_file else { return Ok(()) };
        if !self.is_ready {
            self.made.as_ref().map_or(Ok(()), OwnFile::remove)?;
            self.made = None;
            return Ok(());
        }
        // An existing file is not followed, opened or overwritten, open(2).
        self.made = match File::options().write(true).create_new(true).mode(0o644).open(file) {
            Ok(made) => Some(OwnFile::of(file, &made.metadata()?)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Some(left_over(file)?.ok_or(error)?)
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }
}

/// The file at the path of the ready file, if it may be one: an empty regular file.
fn left_over(file: &Path) -> io::Result<Option<OwnFile>> {
    let there = file.symlink_metadata()?;
    Ok((there.is_file() && there.len() == 0).then(|| OwnFile::of(file, &there)))
}

/// Whether the error may be temporary: a full queue or disk, no memory or descriptors, or a restarting
/// receiver.
fn may_pass(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotFound)
        || matches!(
            error.raw_os_error(),
            Some(
                libc::ENOBUFS
                    | libc::ENOMEM
                    | libc::EMFILE
                    | libc::ENFILE
                    | libc::ECONNREFUSED
                    | libc::ENOSPC
                    | libc::EDQUOT
            )
        )
}

impl Parent {
    /// Reports what has changed, and retries failed reports.
    pub(in crate::init) fn update(
        &mut self,
        bundle: BundleState,
        children: &mut Children,
        now: Instant,
        learnt: &mut Learnt,
    ) {
        if bundle.is_ready != self.is_ready {
            self.tell_whether_ready(bundle.is_ready, now);
        }
        if bundle.is_stopping && !self.is_stopping {
            self.is_stopping = true;
            self.tell("STOPPING=1", now);
        }
        if let Some((pid, until)) = &mut self.lookup {
            if *until <= now {
                // It is reaped soon, if KILL can end it.
                *until = now + LONGEST_LOOK;
                kill_session(*pid);
            }
            return;
        }
        let Some(unsaid) = self.unsaid.as_mut().filter(|unsaid| unsaid.at <= now) else {
            return;
        };
        if children.is_killing() {
            // The lookup would hang again; the rest is reported at the end.
            unsaid.at = now + LONGEST_DELAY;
        } else if !bundle.is_over {
            let paths = self.paths();
            let look = || {
                paths.iter().for_each(|path| look_at(path));
                0
            };
            let lookup = match paths.is_empty() {
                true => None,
                false => children.fork_helper(Role::PathLookup, None, look).ok(),
            };
            match lookup {
                Some(pid) => self.lookup = Some((pid, now + LONGEST_LOOK)),
                // If there is no process for it, the init does it itself.
                None => self.tell_what_is_due(now, learnt),
            }
        }
    }

    fn tell_what_is_due(&mut self, now: Instant, learnt: &mut Learnt) {
        self.try_to_tell(now).into_iter().for_each(|text| learnt.remark(text));
    }

    /// The child that looks up the paths was reaped.
    pub(in crate::init) fn looked_up(
        &mut self,
        status: ExitStatus,
        children: &Children,
        now: Instant,
        learnt: &mut Learnt,
    ) {
        self.lookup = None;
        if status == ExitStatus::Code(0) {
            self.has_complained = false;
            return self.tell_what_is_due(now, learnt);
        }
        if let Some(unsaid) = &mut self.unsaid {
            unsaid.at = now + LONGEST_DELAY;
        }
        if !children.is_killing() && !std::mem::replace(&mut self.has_complained, true) {
            let paths = self.paths();
            let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
            let paths = paths.join(", ");
            learnt.remark(format!("can't report readiness: no answer from {paths}; trying again"));
        }
    }

    /// The paths for the last report, which must be looked up first; `None`: there is nothing to
    /// report, or a child still hangs in a lookup.
    pub(in crate::init) fn rest(&self) -> Option<Vec<PathBuf>> {
        (self.unsaid.is_some() && self.lookup.is_none()).then(|| self.paths())
    }

    /// Makes the last report.
    pub(in crate::init) fn tell_rest(&mut self, learnt: &mut Learnt) {
        let now = Instant::now();
        if let Some(unsaid) = &mut self.unsaid {
            unsaid.at = now;
        }
        self.tell_what_is_due(now, learnt);
    }
}

impl Scheduled for Parent {
    /// The time of the next retry, or the time limit of a lookup.
    fn deadline(&self) -> Option<Instant> {
        let unsaid = self.unsaid.as_ref().map(|unsaid| unsaid.at);
        self.lookup.map(|(_, until)| until).or(unsaid)
    }

    fn put_off(&mut self, gap: Duration, _: Instant) {
        self.lookup.iter_mut().for_each(|(_, until)| *until += gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(listener: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 100];
        let length = listener.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[test]
    fn what_a_full_queue_does_not_take_is_told_later_and_only_the_latest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut now = Instant::now();
        let notify_socket = Some(path.clone().into_os_string());
        let mut parent = Parent { notify_socket, ..Parent::default() };

        parent.tell("READY=1", now);
        let words = parent.try_to_tell(now).concat();
        assert!(words.ends_with("No such file or directory; trying again"), "{words}");
        let listener = UnixDatagram::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        while filler.send_to(b"x", &path).is_ok() {}
        let mut delays = Vec::new();
        for _ in 0..10 {
            let at = parent.deadline().unwrap();
            assert!(parent.try_to_tell(at - Duration::from_nanos(1)).is_empty());
            delays.push(at - now);
            now = at;
            assert!(parent.try_to_tell(now).is_empty(), "it is said once");
        }
        assert_eq!(
            (delays[0], delays[1], delays[9]),
            (FIRST_DELAY, 2 * FIRST_DELAY, LONGEST_DELAY)
        );

        parent.tell("STOPPING=1", now);
        while hear(&listener).is_some() {}
        assert!(parent.try_to_tell(now).is_empty());
        assert_eq!(parent.deadline(), None);
        assert_eq!(hear(&listener).unwrap(), "STOPPING=1");
        assert_eq!(hear(&listener), None, "what came before is not told any more");
    }

    #[test]
    fn a_refusal_that_lasts_is_told_once_and_not_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let notify_socket = Some(directory.path().join("x".repeat(200)).into_os_string());
        let mut parent = Parent { notify_socket, ..Parent::default() };
        parent.tell("READY=1", Instant::now());
        assert_eq!(parent.try_to_tell(Instant::now()).len(), 1);
        assert_eq!(parent.deadline(), None);
    }

    #[test]
    fn the_ready_file_is_only_ever_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("precious"), "precious").unwrap();
        std::os::unix::fs::symlink(path("empty"), path("link")).unwrap();
        std::os::unix::fs::symlink("/dev/null", path("device")).unwrap();
        for name in ["precious", "link", "device", "."] {
            let refusal = Parent::new(Some(path(name))).unwrap_err().to_string();
            assert!(refusal.contains("is not an empty file"), "{refusal}");
            assert!(path(name).symlink_metadata().is_ok());
        }
        std::fs::write(path("empty"), "").unwrap();
        let mut parent = Parent::new(Some(path("empty"))).unwrap();
        assert!(!path("empty").exists(), "an earlier run has left it");
        let mut mark = |is_ready| {
            parent.is_ready = is_ready;
            parent.mark()
        };
        mark(true).unwrap();
        assert_eq!(path("empty").metadata().unwrap().len(), 0);
        mark(false).unwrap();
        assert!(!path("empty").exists());
        // Another process has created it first.
        std::os::unix::fs::symlink(path("precious"), path("empty")).unwrap();
        assert!(mark(true).is_err());
        mark(false).unwrap();
        assert_eq!(std::fs::read_to_string(path("empty")).unwrap(), "precious");
    }

    #[test]
    fn a_ready_file_that_can_t_be_kept_at_the_moment_is_kept_later() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("later");
        let path = folder.join("ready");
        let mut parent = Parent::new(Some(path.clone())).unwrap();
        let mut now = Instant::now();
        let mut at_its_time = |parent: &mut Parent| {
            now = parent.deadline().unwrap().max(now);
            parent.try_to_tell(now)
        };
        parent.tell_whether_ready(true, Instant::now());
        let words = at_its_time(&mut parent).concat();
        assert!(words.contains("can't keep the ready file"), "{words}");
        assert!(words.ends_with("; trying again"), "{words}");
        assert!(at_its_time(&mut parent).is_empty(), "it is said once");
        std::fs::create_dir(&folder).unwrap();
        at_its_time(&mut parent);
        assert!(path.exists() && parent.deadline().is_none());

        // Another report does not cancel it.
        parent.tell_whether_ready(false, Instant::now());
        parent.tell("STOPPING=1", Instant::now());
        at_its_time(&mut parent);
        assert!(!path.exists());
    }
}
