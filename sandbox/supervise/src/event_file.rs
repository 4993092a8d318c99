//! The file into which the init writes its events: its end, and what is added later.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// How much of the end is looked at.
const TAIL: u64 = 256 * 1024;

/// The end of the file, from the beginning of a line; nothing if there is no file.
pub fn tail(path: &Path) -> Result<String, String> {
    let mut follower = Follower::new(path);
    follower.read().map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads on where it stopped.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// The file's inode: a new file at this path is read from its beginning.
    inode: u64,
    offset: u64,
    /// The beginning of a line whose end is still to come.
    begun: Vec<u8>,
}

impl Follower {
    /// Begins with the end of the file.
    pub fn new(path: &Path) -> Self {
        Follower { path: path.to_owned(), inode: 0, offset: 0, begun: Vec::new() }
    }

    /// The whole lines that came since the last time.
    pub fn read(&mut self) -> io::Result<String> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let opened = File::options().read(true).custom_flags(flags).open(&self.path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if metadata.ino() != self.inode || metadata.len() < self.offset {
            self.inode = metadata.ino();
            self.offset = 0;
            self.begun.clear();
        }
        let skipped = metadata.len().saturating_sub(TAIL);
        let is_cut = skipped > self.offset;
        if is_cut {
            self.offset = skipped;
            self.begun.clear();
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = std::mem::take(&mut self.begun);
        self.offset += file.take(TAIL).read_to_end(&mut bytes)? as u64;
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.begun = bytes.split_off(end);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // The first line may have lost its beginning.
        Ok(if is_cut { text.split_once('\n').map(|(_, rest)| rest.to_owned()) } else { Some(text) }
            .unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn whole_lines_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        let mut follower = Follower::new(&path);
        assert_eq!(follower.read().unwrap(), "");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"a\nb").unwrap();
        assert_eq!(follower.read().unwrap(), "a\n");
        file.write_all(b"c\n").unwrap();
        assert_eq!(follower.read().unwrap(), "bc\n");
        file.set_len(0).unwrap();
        assert_eq!(follower.read().unwrap(), "");
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(b"d\n").unwrap();
        assert_eq!(follower.read().unwrap(), "d\n");
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(follower.read().unwrap(), "new\n");
    }

    #[test]
    fn only_the_end_of_a_long_file_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        std::fs::write(&path, "0123456789\n".repeat(100_000)).unwrap();
        let text = tail(&path).unwrap();
        assert!(text.len() as u64 <= TAIL);
        assert!(text.lines().all(|line| line == "0123456789"));
    }
}
