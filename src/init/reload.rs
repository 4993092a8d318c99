//! Reads a new bundle, which `Init` then applies.
//!
//! A child reads and checks it: that takes time, and a file system that does not answer would block the
//! init. The result is the files' content, or the errors.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, set_parent_process_death_signal};

use super::SHUTTING_DOWN;
use super::children::{Children, Role, kill_session};
use super::learnt::Scheduled;
use super::own_file::look_at;
use super::token::Source;
use crate::error_text::error_text;
use crate::file::Files;
use crate::poll::Registry;
use crate::source::BundleSource;

/// The child's time limit.
const LONGEST_READING: Duration = Duration::from_secs(10);
/// How much of its answer is read before other work.
const SHARE: usize = 1024 * 1024;
/// A longer answer is invalid: the files of a bundle are limited.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// The first byte of the child's answer.
const FILES: u8 = 0;
const REFUSED: u8 = 1;

/// The content of the bundle's files.
type Answer = Result<Files, Refused>;

/// The errors, and the warnings.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) warnings: Vec<String>,
    pub(super) reason: String,
}

impl From<String> for Refused {
    fn from(reason: String) -> Refused {
        Refused { warnings: Vec::new(), reason }
    }
}

#[derive(Debug, Default)]
pub(super) struct Reloads {
    reading: Option<Reading>,
    /// The result, until the init applies it.
    answer: Option<Answer>,
    /// The clients of the current reload.
    asked: Vec<usize>,
    /// A further reload was requested meanwhile: its clients.
    asked_again: Option<Vec<usize>>,
}

/// The child that reads the bundle.
#[derive(Debug)]
struct Reading {
    /// `None`: it has been reaped.
    pid: Option<Pid>,
    pipe: OwnedFd,
    said: Vec<u8>,
    until: Instant,
}

impl Reloads {
    pub(super) fn descriptor(&self) -> Option<RawFd> {
        self.reading.as_ref().map(|reading| reading.pipe.as_raw_fd())
    }

    /// The child was reaped, and its pid can be reused. Its answer is still in the pipe.
    pub(super) fn reaped(&mut self, pid: Pid) {
        if let Some(reading) = &mut self.reading
            && reading.pid == Some(pid)
        {
            reading.pid = None;
        }
    }

    /// Whether a bundle is being read, or waits to be applied.
    fn is_under_way(&self) -> bool {
        self.reading.is_some() || self.answer.is_some()
    }

    /// Reads a part of the child's answer. Returns whether there may be more.
    pub(super) fn read(&mut self) -> bool {
        let Some(reading) = &mut self.reading else { return false };
        let mut buffer = [0; 64 * 1024];
        for _ in 0..SHARE / buffer.len() {
            let answer = match rustix::io::read(&reading.pipe, &mut buffer) {
                Ok(0) => parse(&reading.said),
                Ok(count) if reading.said.len() + count <= LONGEST_ANSWER => {
                    reading.said.extend_from_slice(&buffer[..count]);
                    continue;
                }
                Ok(_) => Err("its files are too large".to_owned().into()),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return false,
                Err(error) => Err(error_text(&error.into()).into()),
            };
            self.end(answer);
            return false;
        }
        true
    }

    /// Whether a bundle is being read already. Then it is read again after that, because the file may
    /// have changed, and these clients get that result.
    pub(super) fn postpone(&mut self, clients: &[usize]) -> bool {
        if self.is_under_way() {
            self.asked_again.get_or_insert_default().extend(clients);
        }
        self.is_under_way()
    }

    /// Starts to read the bundle for these clients. `sockets` are the paths of the open Unix sockets.
    pub(super) fn begin(
        &mut self,
        clients: &[usize],
        source: &BundleSource,
        sockets: &[PathBuf],
        children: &mut Children,
        registry: &Registry,
    ) -> Result<(), String> {
        let (pid, pipe) = start_reading(source, sockets, children).map_err(|error| {
            format!("can't make a process that reads it: {}", error_text(&error))
        })?;
        Source::Reload.register(&pipe, registry);
        let until = Instant::now() + LONGEST_READING;
        self.reading = Some(Reading { pid: Some(pid), pipe, said: Vec::new(), until });
        self.asked = clients.to_vec();
        Ok(())
    }

    /// The result, when there is one, and its clients.
    pub(super) fn take_answer(&mut self, now: Instant) -> Option<(Answer, Vec<usize>)> {
        if self.deadline().is_some_and(|until| until <= now) {
            let longest = humantime::format_duration(LONGEST_READING);
            let reason = format!("reading it took longer than {longest}; does a file system hang?");
            self.end(Err(reason.into()));
        }
        Some((self.answer.take()?, std::mem::take(&mut self.asked)))
    }

    /// The clients of a further reload; `None`: none was requested, not even by a signal.
    pub(super) fn take_asked_again(&mut self) -> Option<Vec<usize>> {
        self.asked_again.take()
    }

    /// The shutdown begins: no bundle is needed.
    pub(super) fn cancel(&mut self) {
        if self.is_under_way() {
            self.end(Err(SHUTTING_DOWN.to_owned().into()));
        }
    }

    /// Ends the child.
    fn end(&mut self, answer: Answer) {
        let reading = self.reading.take();
        if let Some(pid) = reading.and_then(|reading| reading.pid) {
            // It is not reaped yet, so its pid is still its own. If even KILL does not end it, the init
            // does not wait.
            kill_session(pid);
        }
        self.answer = Some(answer);
    }
}

impl Scheduled for Reloads {
    /// The child's time limit.
    fn deadline(&self) -> Option<Instant> {
        self.reading.as_ref().map(|reading| reading.until)
    }

    fn put_off(&mut self, gap: Duration, _: Instant) {
        self.reading.iter_mut().for_each(|reading| reading.until += gap);
    }
}

/// Forks the child; returns the read end of its pipe.
fn start_reading(
    source: &BundleSource,
    sockets: &[PathBuf],
    children: &mut Children,
) -> io::Result<(Pid, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    let keep = Some(writer.as_raw_fd());
    let mut writer = File::from(writer);
    let pid = children.fork_helper(Role::BundleReader, keep, || {
        // It must not outlive the init.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        u8::from(writer.write_all(&read_files(source, sockets)).is_err())
    })?;
    Ok((pid, reader))
}

/// The child's work: a byte for the kind of answer, then the content of the bundle's files, or the
/// errors. The init creates and removes sockets itself, so the child first checks whether their file
/// systems answer.
fn read_files(source: &BundleSource, sockets: &[PathBuf]) -> Vec<u8> {
    let (mut files, mut warnings) = (Files::default(), Vec::new());
    match source.plan(&mut files, &mut warnings) {
        Ok(plan) => {
            sockets.iter().map(PathBuf::as_path).chain(plan.socket_paths()).for_each(look_at);
            [&[FILES], &*files.to_bytes()].concat()
        }
        Err(refusal) => {
            warnings.push(refusal.reason);
            [&[REFUSED], warnings.join("\0").as_bytes()].concat()
        }
    }
}

fn parse(said: &[u8]) -> Answer {
    let files = match said.split_first() {
        Some((&REFUSED, words)) => {
            let words = String::from_utf8_lossy(words);
            let mut words: Vec<String> = words.split('\0').map(str::to_owned).collect();
            let reason = words.pop().unwrap_or_default();
            return Err(Refused { warnings: words, reason });
        }
        Some((&FILES, files)) => Files::from_bytes(files),
        _ => None,
    };
    files.ok_or_else(|| {
        let reason = "the process that read it has ended before it was done; was there too little \
                      memory?";
        reason.to_owned().into()
    })
}
