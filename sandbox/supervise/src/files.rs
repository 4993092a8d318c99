//! Reading and writing files that others could tamper with: bounded, never through a symbolic
//! link at the end of the path, and never into a pipe that nobody reads.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Flags for a file in a directory that another user writes to. O_NONBLOCK, because open(2) of a
/// FIFO waits for its other end.
pub(crate) const WARY: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Larger than any file of the operator's.
pub const MAX_CONFIG: u64 = 4 * 1024 * 1024;

/// Server and operator read each other's files, and root in a container without CAP_DAC_OVERRIDE
/// is held to their modes like everyone. Who may enter the directory is up to its own mode.
pub(crate) const READABLE: u32 = 0o644;
/// Both write to the log: the server's user, and group root.
const WRITABLE: u32 = 0o660;

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// The text of a regular file of at most so many bytes. It is the operator's, who may link as he
/// likes.
pub fn read_bounded(path: &Path, max: u64) -> io::Result<String> {
    let wait_for_nobody = OFlags::NONBLOCK.union(OFlags::CLOEXEC);
    read_regular(
        OpenOptions::new().read(true).custom_flags(flags(wait_for_nobody)).open(path)?,
        max,
    )
}

/// The same for one that is open.
pub(crate) fn read_regular(file: File, max: u64) -> io::Result<String> {
    require_regular(&file)?;
    read_all(file, max)
}

/// All of it, as text of at most so many bytes.
pub fn read_all(from: impl Read, max: u64) -> io::Result<String> {
    let mut text = String::new();
    let size = from.take(max + 1).read_to_string(&mut text)?;
    if size as u64 > max {
        return Err(io::Error::other(format!("it is larger than {max} bytes")));
    }
    Ok(text)
}

fn require_regular(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() {
        return Ok(());
    }
    Err(io::Error::other("it is not a regular file"))
}

/// Opens a log so that every write goes to its end, whoever else writes.
pub fn open_log(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).custom_flags(flags(WARY)).mode(WRITABLE);
    let file = match options.clone().create_new(true).open(path) {
        Ok(file) => {
            file.set_permissions(PermissionsExt::from_mode(WRITABLE))?;
            file
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path)?,
        Err(error) => return Err(error),
    };
    require_regular(&file)?;
    Ok(file)
}

/// Opens a file to lock, which nobody else can open if it is made here. One that is there is only
/// read: it may be on a file system that is.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags(WARY));
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            options.write(true).create(true).mode(0o600).open(path)?
        }
        opened => opened?,
    };
    require_regular(&file)?;
    Ok(file)
}

/// Makes the names in a directory last.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
