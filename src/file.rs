//! Reads small files in a way that can't hold up the init, which reads them again at a reload.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error_text::error_text;

/// A larger file is refused: it is a mistake, or an attack on our memory.
const LARGEST: u64 = 1024 * 1024;

/// The text of the file; fails with the reason, as the end of a sentence.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    // A FIFO without a writer would be waited for, fifo(7).
    let options = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut file = options.map_err(|error| error_text(&error))?;
    let kind = file.metadata().map_err(|error| error_text(&error))?.file_type();
    if !kind.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let mut limited = Read::by_ref(&mut file).take(LARGEST + 1);
    limited.read_to_end(&mut bytes).map_err(|error| error_text(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        format!("it is not UTF-8 from byte {} on", error.utf8_error().valid_up_to())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(read_text(directory.path()), Err("it is no regular file".to_owned()));
        let missing = read_text(&directory.path().join("nosuch"));
        assert_eq!(missing, Err("No such file or directory".to_owned()));
    }

    #[test]
    fn a_fifo_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(read_text(&path), Err("it is no regular file".to_owned()));
    }
}
