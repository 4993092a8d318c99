//! The input of a program that has to read it in the pieces that we choose.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::retry_on_intr;
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
        let sent = retry_on_intr(|| send(&self.0, message, SendFlags::NOSIGNAL))?;
        if sent == message.len() { Ok(()) } else { Err(io::Error::other("a message was cut")) }
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

    #[test]
    fn nobody_who_reads_is_an_error() {
        let (messages, its) = Messages::pair().unwrap();
        drop(its);
        assert_eq!(messages.send(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
