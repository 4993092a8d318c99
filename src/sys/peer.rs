//! The peer of a Unix socket, according to the kernel, unix(7). rustix has these calls, but can't
//! represent a peer of another PID namespace, whose pid is 0 here.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A process at the time when it connected or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its pid; `None` if it is in a PID namespace that we can't see.
    pub pid: Option<i32>,
    /// Its user id; the overflow uid if the user has no id in our user namespace.
    pub user: u32,
}

impl From<libc::ucred> for Peer {
    fn from(raw: libc::ucred) -> Peer {
        Peer { pid: Some(raw.pid).filter(|pid| *pid > 0), user: raw.uid }
    }
}

/// The process that has connected; at the other end, the one that has called listen(2).
pub fn of_connection(socket: BorrowedFd) -> io::Result<Peer> {
    let mut raw = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into a live variable of that size.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut raw).cast(),
            &raw mut length,
        )
    };
    if done == 0 { Ok(raw.into()) } else { Err(io::Error::last_os_error()) }
}

/// A buffer for control messages, aligned for their headers.
#[repr(C)]
union ControlBuffer {
    _align: libc::cmsghdr,
    bytes: [u8; CONTROL_BYTES],
}

/// Space for one `SCM_CREDENTIALS`. There is no space for descriptors, so the kernel closes those that
/// a peer sends.
// SAFETY: CMSG_SPACE only computes.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;

/// Receives a datagram from a socket with `SO_PASSCRED`: its length, and the sender if the kernel knows
/// it.
pub fn receive_from(socket: BorrowedFd, buffer: &mut [u8]) -> io::Result<(usize, Option<Peer>)> {
    let mut control = ControlBuffer { bytes: [0; CONTROL_BYTES] };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeroes are a valid msghdr: no name, no buffers, no control messages.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL_BYTES as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the message points to live buffers, and has their lengths.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled in the message; its control buffer is alive and aligned.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if first.is_null() {
        return Ok((length, None));
    }
    // SAFETY: CMSG_FIRSTHDR returned a header within the buffer.
    let header = unsafe { first.read() };
    if header.cmsg_level != libc::SOL_SOCKET || header.cmsg_type != libc::SCM_CREDENTIALS {
        return Ok((length, None));
    }
    // SAFETY: a ucred follows such a header, possibly unaligned. It is complete: it is the first
    // message, and the buffer has space for it.
    let raw = unsafe { libc::CMSG_DATA(first).cast::<libc::ucred>().read_unaligned() };
    Ok((length, Some(raw.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    #[test]
    fn both_sides_of_a_pair_are_ourselves() {
        let own = Peer {
            pid: i32::try_from(std::process::id()).ok(),
            user: rustix::process::geteuid().as_raw(),
        };
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(of_connection(one.as_fd()).unwrap(), own);

        let (one, other) = UnixDatagram::pair().unwrap();
        rustix::net::sockopt::set_socket_passcred(&one, true).unwrap();
        other.send(b"READY=1").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receive_from(one.as_fd(), &mut buffer).unwrap(), (7, Some(own)));
        assert_eq!(&buffer[..7], b"READY=1");
        let error = receive_from(one.as_fd(), &mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_datagram_without_credentials_has_no_sender() {
        let (one, other) = UnixDatagram::pair().unwrap();
        other.send(b"x").unwrap();
        assert_eq!(receive_from(one.as_fd(), &mut [0; 16]).unwrap(), (1, None));
    }

    #[test]
    fn one_of_another_namespace_has_no_pid() {
        let stranger = libc::ucred { pid: 0, uid: 7, gid: 7 };
        assert_eq!(Peer::from(stranger), Peer { pid: None, user: 7 });
    }
}
