//! Reads the files of a bundle, with size limits, each once. A child process may read them and send the
//! content.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error_text::error_text;

/// A larger file is an error, or an attack on our memory.
const LARGEST: u64 = 1024 * 1024;
/// The account files may be larger.
const LARGEST_LIST: u64 = 8 * 1024 * 1024;
/// The limit for all files together.
const MOST_BYTES: u64 = 32 * 1024 * 1024;

/// Why a file could not be read, as the end of a sentence; `None`: it does not exist.
type Unreadable = Option<String>;

/// The content of a bundle's file and of the files that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    read: BTreeMap<PathBuf, Result<Vec<u8>, Unreadable>>,
    bytes: u64,
    /// Another process has read all of them: a file that is not here is missing.
    is_complete: bool,
}

impl Files {
    /// The text of the file; fails with the reason, as the end of a sentence.
    pub fn text(&mut self, path: &Path) -> Result<&str, String> {
        let bytes = self.bytes_of(path, LARGEST).map_err(|reason| {
            reason.unwrap_or_else(|| error_text(&io::Error::from_raw_os_error(libc::ENOENT)))
        })?;
        std::str::from_utf8(bytes)
            .map_err(|error| format!("it is not UTF-8 from byte {} on", error.valid_up_to()))
    }

    /// The text of an account file; empty if it is missing.
    pub fn list(&mut self, path: &Path) -> Result<String, String> {
        match self.bytes_of(path, LARGEST_LIST) {
            Ok(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
            Err(None) => Ok(String::new()),
            Err(Some(reason)) => Err(format!("{}: {reason}", path.display())),
        }
    }

    /// The content for another process.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |bytes: &[u8]| {
            out.extend((bytes.len() as u64).to_le_bytes());
            out.extend(bytes);
        };
        for (path, read) in &self.read {
            put(path.as_os_str().as_bytes());
            match read {
                Ok(bytes) => [b"read", &**bytes].map(&mut put),
                Err(Some(reason)) => [b"fail", reason.as_bytes()].map(&mut put),
                Err(None) => [b"none", &b""[..]].map(&mut put),
            };
        }
        // A path is never empty: this is the end mark.
        put(b"");
        out
    }

    /// The content from another process; `None`: incomplete.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Files> {
        let mut take = || {
            let (length, rest) = bytes.split_first_chunk()?;
            let (taken, rest) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
            bytes = rest;
            Some(taken.to_vec())
        };
        let mut read = BTreeMap::new();
        loop {
            let path = take()?;
            if path.is_empty() {
                return Some(Files { read, bytes: 0, is_complete: true });
            }
            let said = match (&*take()?, take()?) {
                (b"read", bytes) => Ok(bytes),
                (b"fail", reason) => Err(Some(String::from_utf8(reason).ok()?)),
                _ => Err(None),
            };
            read.insert(OsString::from_vec(path).into(), said);
        }
    }

    fn bytes_of(&mut self, path: &Path, largest: u64) -> Result<&[u8], Unreadable> {
        if !self.is_complete && !self.read.contains_key(path) {
            let left = MOST_BYTES.saturating_sub(self.bytes);
            let read = match read(path, largest.min(left)) {
                Ok(bytes) => Ok(bytes),
                Err(error) => Err(match error.kind() {
                    ErrorKind::NotFound => None,
                    ErrorKind::FileTooLarge if left < largest => {
                        Some(format!("all files together are larger than {MOST_BYTES} bytes"))
                    }
                    ErrorKind::FileTooLarge => Some(format!("it is larger than {largest} bytes")),
                    _ => Some(error_text(&error)),
                }),
            };
            self.bytes += read.as_ref().map_or(0, |bytes| bytes.len() as u64);
            self.read.insert(path.to_owned(), read);
        }
        match self.read.get(path) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err(None),
        }
    }
}

fn read(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    // Opening a FIFO without a writer would block, fifo(7).
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.file_type().is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(path: &Path) -> Result<String, String> {
        Files::default().text(path).map(str::to_owned)
    }

    #[test]
    fn only_small_text_files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_text(&path)
        };
        assert_eq!(read(b"text"), Ok("text".to_owned()));
        assert_eq!(read(b"te\xff"), Err("it is not UTF-8 from byte 2 on".to_owned()));
        let large = read(&vec![b'x'; LARGEST as usize + 1]);
        assert_eq!(large, Err("it is larger than 1048576 bytes".to_owned()));
        assert_eq!(read_text(directory.path()), Err("it is not a regular file".to_owned()));
        let missing = read_text(&directory.path().join("nosuch"));
        assert_eq!(missing, Err("No such file or directory".to_owned()));
    }

    #[test]
    fn a_fifo_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(read_text(&path), Err("it is not a regular file".to_owned()));
    }

    #[test]
    fn all_files_together_have_a_bound_and_each_is_read_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Files::default();
        let path = |number: u64| directory.path().join(number.to_string());
        let most = MOST_BYTES / LARGEST;
        for number in 0..=most {
            std::fs::write(path(number), vec![b'x'; LARGEST as usize]).unwrap();
        }
        for number in 0..most {
            assert!(files.text(&path(number)).is_ok(), "{number}");
        }
        let refused = files.text(&path(most)).unwrap_err();
        assert_eq!(refused, "all files together are larger than 33554432 bytes");
        std::fs::remove_file(path(0)).unwrap();
        assert!(files.text(&path(0)).is_ok(), "it is known already");
    }

    #[test]
    fn another_process_knows_the_same_and_reads_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("file"), "text").unwrap();
        let mut files = Files::default();
        let ask = |files: &mut Files, name: &str| files.text(&path(name)).map(str::to_owned);
        let answers = ["file", "nosuch", "."].map(|name| ask(&mut files, name));
        let sent = files.to_bytes();
        let mut received = Files::from_bytes(&sent).unwrap();
        std::fs::write(path("later"), "text").unwrap();
        std::fs::remove_file(path("file")).unwrap();
        assert_eq!(["file", "nosuch", "."].map(|name| ask(&mut received, name)), answers);
        assert!(answers[0].is_ok() && ask(&mut received, "later").is_err());
        for length in 0..sent.len() {
            assert!(Files::from_bytes(&sent[..length]).is_none(), "{length} bytes");
        }
    }

    #[test]
    fn a_list_of_accounts_may_be_missing_and_of_any_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        let list = || Files::default().list(&path);
        assert_eq!(list(), Ok(String::new()));
        std::fs::write(&path, b"caf\xe9:x:1:1").unwrap();
        assert_eq!(list(), Ok("caf\u{fffd}:x:1:1".to_owned()));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(list(), Err(format!("{}: it is not a regular file", path.display())));
    }
}
