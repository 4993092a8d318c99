//! Files that the init has created. It removes them, but never a file that has replaced one.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file or socket that the init has created.
#[derive(Debug)]
pub(super) struct OwnFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Looks up a path, whether it exists or not; blocks as long as its file system does.
pub(super) fn look_at(path: &Path) {
    let _ = path.symlink_metadata();
}

impl OwnFile {
    /// The file that was just created at this path.
    pub(super) fn at(path: &Path) -> io::Result<OwnFile> {
        Ok(OwnFile::of(path, &path.symlink_metadata()?))
    }

    /// The file that was just created at this path, with these metadata.
    pub(super) fn of(path: &Path, made: &Metadata) -> OwnFile {
        OwnFile { path: path.to_owned(), device: made.dev(), inode: made.ino() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, if it is still the same.
    pub(super) fn remove(&self) -> io::Result<()> {
        let gone = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        };
        match self.path.symlink_metadata() {
            Ok(there) if (there.dev(), there.ino()) != (self.device, self.inode) => Ok(()),
            Ok(_) => std::fs::remove_file(&self.path).or_else(gone),
            Err(error) => gone(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "").unwrap();
        let made = OwnFile::at(&path).unwrap();
        // Kept under another name, so that its inode number is not reused.
        std::fs::rename(&path, directory.path().join("kept")).unwrap();
        made.remove().unwrap();
        std::fs::write(&path, "somebody else's").unwrap();
        made.remove().unwrap();
        assert!(path.exists());
        let made = OwnFile::at(&path).unwrap();
        made.remove().unwrap();
        assert!(!path.exists());
    }
}
