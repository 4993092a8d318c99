//! The input of a program that has to read it in the pieces that we choose.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

/// Where messages are written. Each read(2) of the other side gives one of them, whole; and what
/// does not fit in its buffer is lost to it, and not given to its next read.
#[derive(Debug)]
pub(crate) struct Messages(OwnedFd);

impl Messages {
    /// Where to write, and where to read.
    pub(crate) fn pair() -> io::Result<(Messages, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Messages(ours), its))
    }

    /// Writes one message. An empty one would be read as the end, so none is written.
    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        if message.is_empty() {
            return Ok(());
        }
        let attempt = || retry_on_intr(|| send(&self.0, message, SendFlags::NOSIGNAL));
        let mut sent = attempt();
        if sent == Err(Errno::MSGSIZE) {
            // Longer than the buffer, whose size is net.core.wmem_default to begin with. The kernel
            // doubles what is asked for, and so has room for what it adds.
            set_socket_send_buffer_size(&self.0, message.len())?;
            sent = attempt();
        }
        if sent == Err(Errno::MSGSIZE) {
            let length = message.len();
            return Err(io::Error::other(format!(
                "a message of {length} bytes can't be sent; set the sysctl net.core.wmem_max to \
                 {length} or more"
            )));
        }
        if sent? == message.len() { Ok(()) } else { Err(io::Error::other("a message was cut")) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn each_read_gives_one_message() {
        let (messages, its) = Messages::pair().unwrap();
        for length in [100_000, 0, 1] {
            messages.send(&vec![b'x'; length]).unwrap();
        }
        drop(messages);
        let (mut its, mut buffer) = (File::from(its), vec![0; 200_000]);
        for length in [100_000, 1, 0] {
            assert_eq!(its.read(&mut buffer).unwrap(), length);
        }
    }

    /// As where the system's default is small.
    #[test]
    fn a_small_buffer_is_made_larger() {
        let (messages, its) = Messages::pair().unwrap();
        set_socket_send_buffer_size(&messages.0, 1).unwrap();
        messages.send(&vec![b'x'; 100_000]).unwrap();
        assert_eq!(File::from(its).read(&mut vec![0; 200_000]).unwrap(), 100_000);
    }

    #[test]
    fn a_message_that_no_buffer_holds_is_told_with_the_fix() {
        let (messages, _its) = Messages::pair().unwrap();
        // More than any system has set there.
        let error = messages.send(&vec![0; 1 << 30]).unwrap_err().to_string();
        assert!(error.ends_with("net.core.wmem_max to 1073741824 or more"), "{error}");
    }

    #[test]
    fn nobody_who_reads_is_an_error() {
        let (messages, its) = Messages::pair().unwrap();
        drop(its);
        assert_eq!(messages.send(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
