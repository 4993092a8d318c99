//! A directory that belongs to another user, who could put a link in its place at any time: it is
//! opened once, and what is in it is reached from there.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};

use crate::files::{READABLE, WARY, read_regular};

/// An open one.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    handle: OwnedFd,
}

impl Directory {
    /// The one with this path, of which the last part must be no symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Without `/` or `/.` at its end, with which open(2) follows a link all the same.
        let path: PathBuf = path.components().collect();
        Self::open_at(CWD, &path, path.clone())
    }

    /// One that is in this one.
    pub fn below(&self, name: &str) -> io::Result<Self> {
        Self::open_at(&self.handle, Path::new(name), self.path.join(name))
    }

    fn open_at(parent: impl std::os::fd::AsFd, name: &Path, path: PathBuf) -> io::Result<Self> {
        let parent = parent.as_fd();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(|error| {
            // What open(2) says of one is that it is no directory.
            let link = rustix::fs::readlinkat(parent, name, Vec::new());
            if link.is_ok() {
                return io::Error::other(
                    "it is a symbolic link, which is not followed; put the directory itself there, \
                     or name it in SUPERVISE_QUEUE_DIR",
                );
            }
            error.into()
        })?;
        Ok(Directory { path, handle })
    }

    /// For messages only.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of what is in it; an error if there are more than so many.
    pub fn names(&self, max: usize) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.handle)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == max {
                return Err(io::Error::other(format!(
                    "more than {max} files are in it; no proposal or decision is accepted until the \
                     operator has removed those that do not belong there"
                )));
            }
            names.push(name.into_owned());
        }
        Ok(names)
    }

    /// The text of a regular file of at most so many bytes.
    pub fn read(&self, name: &str, max: u64) -> io::Result<String> {
        let flags = OFlags::RDONLY | WARY;
        let file = rustix::fs::openat(&self.handle, name, flags, Mode::empty())?;
        read_regular(file.into(), max)
    }

    /// Creates a file that must not be there, whole and on the disk.
    pub fn create(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | WARY;
        let mode = Mode::from_raw_mode(READABLE);
        let mut file = File::from(rustix::fs::openat(&self.handle, name, flags, mode)?);
        // Whatever the umask was.
        file.set_permissions(PermissionsExt::from_mode(READABLE))?;
        file.write_all(content)?;
        file.sync_all()
    }

    /// Gives a file a second name, which must not be there.
    pub fn link(&self, name: &str, new: &str) -> io::Result<()> {
        let (here, flags) = (&self.handle, AtFlags::empty());
        rustix::fs::linkat(here, name, here, new, flags).map_err(io::Error::from)
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()).map_err(io::Error::from)
    }

    /// Moves a file to another directory.
    pub fn move_to(&self, other: &Directory, name: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.handle, name, &other.handle, name).map_err(io::Error::from)
    }

    /// Makes the names in it last.
    pub fn sync(&self) -> io::Result<()> {
        rustix::fs::fsync(&self.handle).map_err(io::Error::from)
    }
}
