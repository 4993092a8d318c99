//! Reads directories.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags};

/// The names in a directory, and whether each is a directory.
///
/// `std::fs::read_dir` panics if the directory can't be closed.
///
/// # Errors
/// If it can't be opened; an entry, if the rest can't be read.
pub fn entries(path: &Path) -> io::Result<impl Iterator<Item = io::Result<(OsString, bool)>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = Dir::new(rustix::fs::open(path, flags, Mode::empty())?)?;
    Ok(directory.filter_map(|entry| match entry {
        Err(error) => Some(Err(error.into())),
        Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => None,
        Ok(entry) => {
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            Some(Ok((name, entry.file_type() == FileType::Directory)))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_directories_are_told() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("below")).unwrap();
        std::fs::write(directory.path().join("file"), "").unwrap();
        let mut found: Vec<_> = entries(directory.path()).unwrap().map(Result::unwrap).collect();
        found.sort();
        assert_eq!(found, [("below".into(), true), ("file".into(), false)]);
        assert!(entries(&directory.path().join("file")).is_err());
    }
}
