//! Sockets of `listen`: connections wait in the kernel while a service starts or restarts, and a
//! service without privileges can use a port below 1024.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    sockopt,
};

use crate::bundle::listen::Listen;
use crate::error_text::error_text;
use crate::init::own_file::OwnFile;
use crate::plan::Plan;
use crate::supervisor::ServiceId;

/// The backlog. The kernel's own limit is lower or the same, listen(2).
const BACKLOG: i32 = 4096;
/// The directory decides who may connect, as under systemd.
const UNIX_MODE: Mode = Mode::from_raw_mode(0o666);

/// The key of a socket: instances of a service have one each at the same address.
type Key = (Listen, Option<String>);

#[derive(Debug, Default)]
pub(in crate::init) struct Sockets(BTreeMap<Key, Held>);

/// A socket, and its file, if it has one.
#[derive(Debug)]
struct Held {
    socket: OwnedFd,
    file: Option<OwnFile>,
}

impl Sockets {
    /// Opens the missing sockets of the plan; after an error nothing has changed.
    pub(in crate::init) fn open(&mut self, plan: &Plan) -> Result<(), String> {
        let mut opened = Sockets::default();
        for id in plan.ids() {
            for key in keys(plan, id) {
                if self.0.contains_key(&key) || opened.0.contains_key(&key) {
                    continue;
                }
                let socket = open(&key, plan, id).map_err(|error| {
                    let (name, error) = (plan.name(id), error_text(&error));
                    format!("service \"{name}\" can't listen on {}: {error}", key.0)
                })?;
                opened.0.insert(key, socket);
            }
        }
        self.0.append(&mut opened.0);
        Ok(())
    }

    /// Closes sockets that the plan does not have.
    pub(in crate::init) fn close_others(&mut self, plan: &Plan) {
        let wanted: BTreeSet<Key> = plan.ids().flat_map(|id| keys(plan, id)).collect();
        let (kept, closed) =
            std::mem::take(&mut self.0).into_iter().partition(|(key, _)| wanted.contains(key));
        self.0 = kept;
        drop(Sockets(closed));
    }

    /// The paths of its Unix sockets.
    pub(in crate::init) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.values().filter_map(|held| Some(held.file.as_ref()?.path()))
    }

    /// The socket files, which the caller removes at the end.
    pub(in crate::init) fn take_files(&mut self) -> Vec<OwnFile> {
        self.0.values_mut().filter_map(|held| held.file.take()).collect()
    }

    /// The sockets of the service, in the order of the file.
    pub(in crate::init) fn of(&self, plan: &Plan, id: ServiceId) -> Vec<BorrowedFd<'_>> {
        keys(plan, id).filter_map(|key| self.0.get(&key).map(|held| held.socket.as_fd())).collect()
    }
}

/// Closes all sockets.
impl Drop for Sockets {
    fn drop(&mut self) {
        for file in self.0.values().filter_map(|held| held.file.as_ref()) {
            let _ = file.remove();
        }
    }
}

fn keys(plan: &Plan, id: ServiceId) -> impl Iterator<Item = Key> {
    let service = plan.newest_service(id);
    let instance = service.instance_of.as_ref().map(|_| service.name.clone());
    service.listen.iter().map(move |listen| (listen.clone(), instance.clone()))
}

fn open((listen, instance): &Key, plan: &Plan, id: ServiceId) -> io::Result<Held> {
    match listen {
        Listen::Tcp(address) => {
            Ok(Held { socket: open_tcp(*address, instance.is_some())?, file: None })
        }
        Listen::Unix(path) => {
            let (listener, file) = bind_unix(path, UNIX_MODE)?;
            if let Some(who) = plan.identity(id) {
                // Without the privilege for this, the service has our user anyway.
                let _ = give_socket(path, who.user, who.group);
            }
            Ok(Held { socket: listener.into(), file: Some(file) })
        }
    }
}

fn open_tcp(address: SocketAddr, is_shared: bool) -> rustix::io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if is_shared {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Binds a Unix socket, and replaces one without a listener. Any other file at the path stays.
pub(in crate::init) fn bind_unix(path: &Path, mode: Mode) -> io::Result<(UnixListener, OwnFile)> {
    // The file's mode is 0777 less the umask, unix(7). chmod would change whatever file is at the path
    // by then.
    let umask = rustix::process::umask(Mode::from_raw_mode(0o777).difference(mode));
    let bound = bind_in_place(path);
    rustix::process::umask(umask);
    let socket = bound?;
    listen(&socket, BACKLOG)?;
    Ok((socket.into(), OwnFile::at(path)?))
}

fn bind_in_place(path: &Path) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    match bind(&socket, &address) {
        Err(Errno::ADDRINUSE) if is_stale(path) => {
            std::fs::remove_file(path)?;
            bind(&socket, &address)?;
        }
        bound => bound?,
    }
    Ok(socket)
}

/// Makes this user and group the owners of the socket at this path. A process that may write to the
/// directory may have replaced it; then the other file is not changed.
fn give_socket(path: &Path, user: u32, group: u32) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let there = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&there)?.st_mode) != FileType::Socket {
        return Err(Errno::NOTSOCK);
    }
    let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
    rustix::fs::chownat(&there, "", user, group, AtFlags::EMPTY_PATH)
}

/// Whether the path has a socket that no process has open. The connect does not block: EAGAIN means
/// that the listener's backlog is full, and a blocking connect(2) would wait. ECONNREFUSED is also the
/// error for a file that is no socket.
fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connected = SocketAddrUnix::new(path).and_then(|address| {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &address)
    });
    is_socket && connected == Err(Errno::CONNREFUSED)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn only_a_socket_that_nobody_has_open_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        // The umask is shared by all threads of the test, so it is not changed here.
        let bind = bind_in_place;
        let in_use = |path: &Path| bind(path).unwrap_err().kind() == ErrorKind::AddrInUse;

        drop(UnixListener::bind(place("stale")).unwrap());
        let listener = bind(&place("stale")).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        assert!(in_use(&place("stale")), "somebody listens");

        // The attempt above is in the backlog, and a backlog of zero has no space for more.
        rustix::net::listen(&listener, 0).unwrap();
        assert!(in_use(&place("stale")), "somebody listens who is busy");

        let _datagrams = UnixDatagram::bind(place("datagrams")).unwrap();
        assert!(in_use(&place("datagrams")), "somebody has it for another purpose");

        std::fs::write(place("file"), "text").unwrap();
        assert!(in_use(&place("file")));
        assert_eq!(std::fs::read(place("file")).unwrap(), b"text");
    }

    #[test]
    fn only_a_socket_is_given_away() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        let _listener = UnixListener::bind(place("socket")).unwrap();
        std::fs::write(place("file"), "precious").unwrap();
        std::os::unix::fs::symlink(place("file"), place("link")).unwrap();
        std::os::unix::fs::symlink(place("socket"), place("link to a socket")).unwrap();
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let give = |name: &str| give_socket(&place(name), user.as_raw(), group.as_raw());
        assert_eq!(give("socket"), Ok(()));
        for name in ["file", "link", "link to a socket"] {
            assert_eq!(give(name), Err(Errno::NOTSOCK), "{name}");
        }
    }
}
