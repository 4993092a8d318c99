//! Tells whoever started the init whether all is ready: by `NOTIFY_SOCKET`, sd_notify(3), and by a
//! file that is there as long as it is so.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use super::{Init, answer};
use crate::error_text::error_text;

#[derive(Debug, Default)]
pub(super) struct Upward {
    notify_socket: Option<OsString>,
    ready_file: Option<PathBuf>,
    /// Whether all was ready when it was told last.
    is_ready: bool,
    /// Whether it was told that the bundle comes down.
    is_stopping: bool,
}

impl Upward {
    pub(super) fn new(ready_file: Option<PathBuf>) -> Upward {
        let notify_socket = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let upward = Upward { notify_socket, ready_file, ..Upward::default() };
        // One that an earlier run has left; if it can't be removed, that is said with the first
        // change.
        let _ = upward.mark();
        upward
    }

    fn is_wanted(&self) -> bool {
        self.notify_socket.is_some() || self.ready_file.is_some()
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

    fn mark(&self) -> io::Result<()> {
        let Some(file) = &self.ready_file else { return Ok(()) };
        if !self.is_ready {
            return match std::fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut options = File::options();
        options.write(true).create(true).mode(0o644).custom_flags(flags).open(file).map(drop)
    }
}

impl Init {
    /// Tells what has changed since the last time.
    pub(super) fn tell_upward(&mut self) {
        if !self.upward.is_wanted() {
            return;
        }
        let is_stopping = self.supervisor.shutdown_deadline().is_some();
        let is_ready = !is_stopping && answer::is_healthy(self);
        if is_ready != self.upward.is_ready {
            self.upward.is_ready = is_ready;
            if let Err(error) = self.upward.mark() {
                let file = self.upward.ready_file.clone().unwrap_or_default();
                let error = error_text(&error);
                self.say(&format!("can't keep the ready file {}: {error}", file.display()));
            }
            if is_ready {
                self.notify_upward("READY=1\nSTATUS=every service is ready");
            } else if !is_stopping {
                self.notify_upward("STATUS=not every service is ready and well");
            }
        }
        if is_stopping && !self.upward.is_stopping {
            self.upward.is_stopping = true;
            self.notify_upward("STOPPING=1");
        }
    }

    fn notify_upward(&mut self, text: &str) {
        if let Err(error) = self.upward.notify(text) {
            let error = error_text(&error);
            self.say(&format!("can't notify NOTIFY_SOCKET: {error}"));
        }
    }
}
