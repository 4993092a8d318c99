//! What the init's control group knows and can do: whether memory ran out, and to kill all that
//! is in it. cgroups(7), and the kernel's admin-guide/cgroup-v2.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where control groups are mounted; the second where version 1 has the first.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// Version 1 has a hierarchy for each controller.
const MEMORY_V1_MOUNT: &str = "/sys/fs/cgroup/memory";
/// How deep to look for groups below ours; systemd, the deepest user known, makes a few levels.
const DEEPEST: usize = 16;

/// Counts the processes of the init's control group that the kernel kills because memory runs out.
#[derive(Debug, Default)]
pub struct OutOfMemory {
    /// Where the kernel counts; `None` if nothing tells.
    file: Option<PathBuf>,
    /// How many there were before: the group may be older than we are, as that of a container
    /// that was started again.
    before: u64,
}

impl OutOfMemory {
    /// Counts from now on.
    pub fn watch() -> OutOfMemory {
        let own = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
        let places = v2_directories(&own).into_iter().map(|group| group.join("memory.events"));
        let old = v1_memory_directories(&own);
        let old = old.into_iter().map(|group| group.join("memory.oom_control"));
        let count = |file: PathBuf| {
            let before = kills_in(&file)?;
            Some(OutOfMemory { file: Some(file), before })
        };
        places.chain(old).find_map(count).unwrap_or_default()
    }

    /// How many were killed since.
    pub fn kills(&self) -> u64 {
        let now = self.file.as_deref().and_then(kills_in);
        now.map_or(0, |now| now.saturating_sub(self.before))
    }
}

fn kills_in(file: &Path) -> Option<u64> {
    oom_kill_in(&read(file)?)
}

/// In one go: the kernel writes such a file anew for each read, and the first command waits for
/// these.
fn read(file: &Path) -> Option<String> {
    let mut text = String::with_capacity(4096);
    fs::File::open(file).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Kills every process in the init's control group, if that is certain to be the container's
/// own: we must be PID 1, which this does not kill, and every process in it must be of our PID
/// namespace. On a host the group is shared with the user's shell.
pub fn kill_all() -> io::Result<()> {
    fs::write(own_group()?.join("cgroup.kill"), "1")
}

fn own_group() -> io::Result<PathBuf> {
    if std::process::id() != 1 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let group = v2_directories(&own)
        .into_iter()
        .find(|group| group.join("cgroup.kill").exists())
        .ok_or(io::ErrorKind::NotFound)?;
    if !has_only_our_processes(&group, DEEPEST)? {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(group)
}

/// A control group for one service, below the init's own: what the service leaves behind can't
/// leave it, whatever its process group or session.
#[derive(Debug)]
pub struct ServiceGroup(PathBuf);

impl ServiceGroup {
    /// Makes it, where the init's own group is the container's and ours to write; elsewhere
    /// there is none.
    pub fn make(name: &str) -> io::Result<ServiceGroup> {
        let group = own_group()?.join(format!("sidecar-init.{name}"));
        match fs::create_dir(&group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(ServiceGroup(group)),
        }
    }

    /// What a process writes `0` to that is to become a member.
    pub fn door(&self) -> io::Result<OwnedFd> {
        Ok(fs::File::options().write(true).open(self.0.join("cgroup.procs"))?.into())
    }

    /// Kills all members.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.0.join("cgroup.kill"), "1")
    }

    /// Whether none of its members lives.
    pub fn is_empty(&self) -> bool {
        let events = fs::read_to_string(self.0.join("cgroup.events"));
        events.is_ok_and(|events| events.lines().any(|line| line == "populated 0"))
    }
}

/// An empty one is removed; the kernel keeps any other, rmdir(2).
impl Drop for ServiceGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// `oom_kill N` in memory.events (version 2) or memory.oom_control (version 1).
fn oom_kill_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// The places where our group may be seen: at its path where the hierarchy is mounted whole, at
/// the mount itself where only our part of it is, as in a container.
fn v2_directories(own: &str) -> Vec<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    MOUNTS.iter().flat_map(|mount| below_and_at(mount, path)).collect()
}

fn v1_memory_directories(own: &str) -> Vec<PathBuf> {
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        controllers.split(',').any(|controller| controller == "memory").then_some(fields.next()?)
    });
    path.map(|path| below_and_at(MEMORY_V1_MOUNT, path)).unwrap_or_default()
}

fn below_and_at(mount: &str, path: &str) -> Vec<PathBuf> {
    let mut places = vec![Path::new(mount).join(path.trim_start_matches('/')), mount.into()];
    places.dedup();
    places
}

/// A process that has no pid in our namespace is listed as 0.
fn has_only_our_processes(group: &Path, depth: usize) -> io::Result<bool> {
    if depth == 0 || fs::read_to_string(group.join("cgroup.procs"))?.lines().any(|pid| pid == "0") {
        return Ok(false);
    }
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && !has_only_our_processes(&entry.path(), depth - 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_tell_of_kills() {
        assert_eq!(oom_kill_in("low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n"), Some(1));
        assert_eq!(oom_kill_in("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"), Some(4));
        assert_eq!(oom_kill_in("oom 2\noom_group_kill 1\n"), None);
    }

    #[test]
    fn earlier_kills_do_not_count() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        let group = OutOfMemory { file: Some(path.clone()), before: 3 };
        fs::write(&path, "oom_kill 3\n").unwrap();
        assert_eq!(group.kills(), 0);
        fs::write(&path, "oom_kill 5\n").unwrap();
        assert_eq!(group.kills(), 2);
        fs::remove_file(&path).unwrap();
        assert_eq!(group.kills(), 0, "nothing tells");
    }

    #[test]
    fn our_group_is_looked_for_at_its_path_first() {
        let own = "4:cpu,memory:/docker/x\n0::/system.slice/y\n";
        assert_eq!(v2_directories(own)[0], Path::new("/sys/fs/cgroup/system.slice/y"));
        assert_eq!(v1_memory_directories(own)[0], Path::new("/sys/fs/cgroup/memory/docker/x"));
        assert!(v1_memory_directories("0::/\n").is_empty());
        assert_eq!(v2_directories("0::/\n"), MOUNTS.map(Path::new), "each once");
    }

    #[test]
    fn a_group_with_strangers_is_not_ours() {
        let group = tempfile::tempdir().unwrap();
        let below = group.path().join("service");
        fs::create_dir(&below).unwrap();
        fs::write(group.path().join("cgroup.procs"), "1\n7\n").unwrap();
        fs::write(below.join("cgroup.procs"), "8\n").unwrap();
        assert!(has_only_our_processes(group.path(), DEEPEST).unwrap());
        fs::write(below.join("cgroup.procs"), "8\n0\n").unwrap();
        assert!(!has_only_our_processes(group.path(), DEEPEST).unwrap());
    }
}
