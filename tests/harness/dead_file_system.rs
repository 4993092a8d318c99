//! A file system that does not answer, as NFS without its server: a mount of FUSE behind which
//! nobody is.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use test_support::notices::{is_root, or_skip};

/// Whoever asks it for anything waits until it is killed. It ends with this value.
pub struct DeadFileSystem {
    place: PathBuf,
    _own: Option<tempfile::TempDir>,
    _device: File,
}

/// The first request of the kernel, fuse.h of linux/uapi.
const INIT: u32 = 26;

impl DeadFileSystem {
    /// `None` where there can't be one, which is noted.
    pub fn mount() -> Option<DeadFileSystem> {
        let own = tempfile::tempdir().unwrap();
        let mut mounted = DeadFileSystem::mount_over(own.path())?;
        mounted._own = Some(own);
        Some(mounted)
    }

    /// The same, in place of what is there: as if that had stopped answering.
    pub fn mount_over(place: &Path) -> Option<DeadFileSystem> {
        if !is_root() || !or_skip(Path::new("/dev/fuse").exists(), "needs /dev/fuse") {
            return None;
        }
        let mut device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        mount("dead", place, "fuse", MountFlags::empty(), &*options).unwrap();
        let mut request = vec![0; 64 * 1024];
        let length = device.read(&mut request).unwrap();
        let number = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        assert!(length > 40 && number(4) == INIT);
        // The header: length, no error, the request's number; then version 7.31, all else zero but
        // the largest write.
        let mut answer = vec![0; 80];
        answer[..4].copy_from_slice(&80_u32.to_ne_bytes());
        answer[8..16].copy_from_slice(&request[8..16]);
        for (at, value) in [(16, 7_u32), (20, 31), (36, 4096)] {
            answer[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        device.write_all(&answer).unwrap();
        Some(DeadFileSystem { place: place.to_owned(), _own: None, _device: device })
    }

    /// A path that is not there, and nobody will ever say so.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }
}

impl Drop for DeadFileSystem {
    fn drop(&mut self) {
        let _ = unmount(&self.place, UnmountFlags::DETACH);
    }
}
