//! Tells when files appear in the queue or the init writes events: by inotify(7), so that nothing
//! wakes up while nothing happens.

use std::io;
use std::path::Path;

use inotify::{EventStream, Inotify, WatchMask};
use tokio_stream::StreamExt;

/// Directories that are watched.
pub struct Watcher {
    events: EventStream<[u8; 4096]>,
}

impl Watcher {
    /// Watches the directories; those that are missing are left out.
    pub fn new(directories: &[&Path]) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MODIFY
            | WatchMask::DELETE
            | WatchMask::ONLYDIR;
        for directory in directories {
            match inotify.watches().add(directory, mask) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                added => {
                    added?;
                }
            }
        }
        Ok(Watcher { events: inotify.into_event_stream([0; 4096])? })
    }

    /// Waits for something to happen. An overflow of the kernel's queue is something, too.
    pub async fn change(&mut self) -> io::Result<()> {
        match self.events.next().await {
            Some(event) => event.map(|_| ()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
