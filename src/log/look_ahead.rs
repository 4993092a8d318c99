//! Peeks into a pipe that can't be read yet because the sink is full.

use std::os::fd::AsFd;

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, tee};

/// A pipe does not hold more, unless a privileged process has enlarged it (pipe(7)).
const MOST: usize = 1024 * 1024;

/// A copy of the pipe's content by tee(2), which consumes nothing: as much as fits into a new pipe, and
/// nothing if none can be created.
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
