//! A file of the operator's that an approval changes.
//!
//! It is replaced by rename(2) where that works. Where the file is a bind mount of its own,
//! rename gives EBUSY, and a new file would not be seen by the mount anyway: then it is written in
//! place.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::files::{MAX_CONFIG, read_bounded, sync_directory};

/// The file, as it was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    /// None if there was no file.
    text: Option<String>,
}

impl ConfigFile {
    /// Reads it; no file is an empty one.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = match read_bounded(path, MAX_CONFIG) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(problem(path, &error)),
        };
        Ok(ConfigFile { path: path.to_owned(), text })
    }

    /// What it said.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Whether there was one.
    pub fn is_there(&self) -> bool {
        self.text.is_some()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses if it is no longer as it was read.
    pub fn require_unchanged(&self) -> Result<(), String> {
        if ConfigFile::read(&self.path)?.text == self.text {
            return Ok(());
        }
        Err(format!(
            "{} has been changed in the meantime; look at the proposal again",
            self.path.display()
        ))
    }

    /// Writes the new text. If that fails half of it may be there.
    pub fn replace(&self, new: &str) -> Result<(), String> {
        self.write(new).map_err(|error| problem(&self.path, &error))
    }

    /// Brings back what it said; false if it says so anyway.
    pub fn restore(&self) -> io::Result<bool> {
        if self.require_unchanged().is_ok() {
            return Ok(false);
        }
        match &self.text {
            Some(text) => self.write(text)?,
            None => std::fs::remove_file(&self.path)?,
        }
        Ok(true)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let target = match std::fs::canonicalize(&self.path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.path.clone(),
            Err(error) => return Err(error),
        };
        match rename_over(&target, text) {
            Ok(()) => Ok(()),
            Err(_) if target.exists() => write_in_place(&target, text),
            Err(error) => Err(error),
        }
    }
}

/// What went wrong, and what its owner can do. Root in a container without CAP_DAC_OVERRIDE is held
/// to modes like everyone, which few expect.
fn problem(path: &Path, error: &io::Error) -> String {
    let fix = match error.kind() {
        io::ErrorKind::PermissionDenied if rustix::process::geteuid().is_root() => {
            "; file modes apply to root here: chown it to root where it comes from, or chgrp 0 and \
             chmod g+rw it"
        }
        io::ErrorKind::PermissionDenied => "; run this as root",
        io::ErrorKind::ReadOnlyFilesystem => "; mount it, and writable",
        _ => "",
    };
    format!("{}: {error}{fix}", path.display())
}

fn rename_over(target: &Path, text: &str) -> io::Result<()> {
    let directory = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    let old = std::fs::metadata(target).ok();
    let result = write_new(&temporary, text, old.as_ref())
        .and_then(|()| std::fs::rename(&temporary, target));
    if result.is_err() {
        let _ = std::fs::remove_file(&temporary);
        return result;
    }
    sync_directory(directory)
}

/// With the mode and the owner of the old one, since the proxies run as users of their own.
fn write_new(path: &Path, text: &str, old: Option<&Metadata>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let mode = old.map_or(0o644, |old| old.mode() & 0o777);
    if let Some(old) = old {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
    }
    file.set_permissions(PermissionsExt::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// What was there is overwritten before the rest is cut off, so that a reader in between finds the
/// common beginning of both.
fn write_in_place(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_mode_and_is_restored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("routes.yaml");
        std::fs::write(&path, "old\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let file = ConfigFile::read(&path).unwrap();
        file.replace("new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(file.require_unchanged().unwrap_err().contains("changed in the meantime"));
        assert!(file.restore().unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\n");
        assert!(!file.restore().unwrap());
        file.require_unchanged().unwrap();
    }

    #[test]
    fn a_file_that_was_not_there_goes_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("routes.yaml");
        let file = ConfigFile::read(&path).unwrap();
        assert!(!file.is_there());
        file.replace("new\n").unwrap();
        assert!(file.restore().unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_link_stays_one() {
        let directory = tempfile::tempdir().unwrap();
        let (path, real) = (directory.path().join("link"), directory.path().join("real"));
        std::fs::write(&real, "old\n").unwrap();
        std::os::unix::fs::symlink("real", &path).unwrap();
        ConfigFile::read(&path).unwrap().replace("new\n").unwrap();
        assert!(std::fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "new\n");
    }
}
