//! How a child reports that its exec failed, and why.
//!
//! The child has the write end of a pipe with close-on-exec: after exec the pipe is empty and at end of
//! file. Three numbers in it report a failure.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::pipe::{PipeFlags, pipe_with};

use super::child::Failed;
use super::{Failure, Step};

/// A step, its detail, and the error number.
type Message = [u8; 12];

/// The steps without a detail, by number.
const STEPS: [Step; 12] = [
    Step::Fork,
    Step::ProcessGroup,
    Step::Descriptors,
    Step::Nice,
    Step::OomScore,
    Step::Capabilities,
    Step::Groups,
    Step::Group,
    Step::User,
    Step::NoNewPrivileges,
    Step::WorkingDirectory,
    Step::ParentDeathSignal,
];
/// The steps with a detail, by number.
const DETAILED: [fn(u32) -> Step; 4] =
    [Step::Limit, Step::Execute, Step::Interpreter, Step::Directory];

/// The read end in the parent.
#[derive(Debug)]
pub struct Report(OwnedFd);

/// The progress of a child.
#[derive(Debug)]
pub enum Progress {
    /// Not yet executed; the poll reports progress.
    Pending,
    /// Executed; or killed before, which its exit status shows.
    Executed,
    /// The exec failed; the child is about to exit.
    Failed(Failure),
}

/// A pipe; the child's end has a number of at least `beyond`.
pub(super) fn pipe(beyond: RawFd) -> io::Result<(Report, OwnedFd)> {
    // What the child writes always fits into the pipe.
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let writer = match writer.as_raw_fd() < beyond {
        true => rustix::io::fcntl_dupfd_cloexec(&writer, beyond)?,
        false => writer,
    };
    Ok((Report(reader), writer))
}

impl Report {
    /// Reads the progress without blocking.
    pub fn read(&self) -> Progress {
        let mut message = Message::default();
        loop {
            return match rustix::io::read(&self.0, &mut message) {
                // A pipe transfers so few bytes atomically, pipe(7).
                Ok(count) if count == message.len() => Progress::Failed(decode(message)),
                Err(rustix::io::Errno::AGAIN) => Progress::Pending,
                Err(rustix::io::Errno::INTR) => continue,
                Ok(_) | Err(_) => Progress::Executed,
            };
        }
    }
}

impl AsFd for Report {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Report {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// In the child: reports the failure.
pub(super) fn write(report: &OwnedFd, failed: Failed) {
    // If the parent is gone there is no reader.
    let _ = rustix::io::write(report, &encode(failed));
}

fn encode((step, errno): Failed) -> Message {
    let (number, detail) = match step {
        Step::Limit(detail) => (STEPS.len(), detail),
        Step::Execute(detail) => (STEPS.len() + 1, detail),
        Step::Interpreter(detail) => (STEPS.len() + 2, detail),
        Step::Directory(detail) => (STEPS.len() + 3, detail),
        plain => (STEPS.iter().position(|step| *step == plain).unwrap_or(0), 0),
    };
    let mut message = Message::default();
    for (field, value) in
        message.chunks_exact_mut(4).zip([number as u32, detail, errno.unsigned_abs()])
    {
        field.copy_from_slice(&value.to_ne_bytes());
    }
    message
}

fn decode(message: Message) -> Failure {
    let mut fields =
        message.chunks_exact(4).map(|field| field.try_into().map_or(0, u32::from_ne_bytes));
    let mut next = || fields.next().unwrap_or(0);
    let (number, detail, errno) = (next() as usize, next(), next());
    let step = match STEPS.get(number) {
        Some(step) => *step,
        None => DETAILED.get(number - STEPS.len()).map_or(Step::Fork, |step| step(detail)),
    };
    let errno = i32::try_from(errno).unwrap_or(libc::EIO);
    Failure { step, error: io::Error::from_raw_os_error(errno) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_arrives_as_it_was() {
        let detailed = DETAILED.iter().map(|step| step(70_000));
        for step in STEPS.into_iter().chain(detailed) {
            let (report, writer) = pipe(0).unwrap();
            assert!(matches!(report.read(), Progress::Pending));
            write(&writer, (step, libc::EACCES));
            let Progress::Failed(failure) = report.read() else { panic!("{step:?} is lost") };
            assert_eq!((failure.step, failure.error.raw_os_error()), (step, Some(libc::EACCES)));
        }
    }

    #[test]
    fn an_end_without_a_word_is_an_execution() {
        let (report, writer) = pipe(100).unwrap();
        assert!(writer.as_raw_fd() >= 100);
        drop(writer);
        assert!(matches!(report.read(), Progress::Executed));
    }
}
