//! What waits in a pipe that is not to be read yet, since there is no room for it.

use std::os::fd::AsFd;

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, tee};

/// No pipe holds more than this, unless a privileged process has made it larger (pipe(7)).
const MOST: usize = 1024 * 1024;

/// A copy of it, made by tee(2), which takes nothing out: as much of it as a new pipe takes, and
/// nothing where there is none to be had.
pub(super) fn look_ahead(pipe: impl AsFd) -> Vec<u8> {
    let copy = || {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let count = tee(pipe, writer, MOST, SpliceFlags::NONBLOCK)?;
        let mut bytes = vec![0; count];
        let read = rustix::io::read(reader, &mut bytes)?;
        bytes.truncate(read);
        Ok::<_, rustix::io::Errno>(bytes)
    };
    copy().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_at_is_still_there() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        assert_eq!(look_ahead(&reader), b"");
        rustix::io::write(&writer, b"one\ntw").unwrap();
        assert_eq!(look_ahead(&reader), b"one\ntw");
        let mut bytes = [0; 10];
        assert_eq!(rustix::io::read(&reader, &mut bytes), Ok(6));
    }
}
