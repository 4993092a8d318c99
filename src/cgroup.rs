//! The init's control group: counts out-of-memory kills, and kills its members. cgroups(7), and the
//! kernel's admin-guide/cgroup-v2.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::signal::Signal;
use crate::sys::{directory, signals};

/// Mount points of version 2; the second one where version 1 uses the first.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// Version 1 has one hierarchy per controller.
const MEMORY_V1_MOUNT: &str = "/sys/fs/cgroup/memory";
/// How deep to search below our group; systemd, the deepest known user, makes a few levels.
const DEEPEST: usize = 16;
/// How many names to try for a service's group if others exist.
const MOST_NAMES: u32 = 8;
/// How often to search for members of a group without `cgroup.kill`.
const MOST_ROUNDS: usize = 8;
/// How many of them to hold by pidfd at the same time.
const MOST_AT_ONCE: usize = 64;

/// Counts the processes of the init's control group that the kernel kills because memory runs out.
#[derive(Debug, Default)]
pub struct OutOfMemory {
    /// The file with the kernel's counter; `None` if there is none.
    file: Option<PathBuf>,
    /// The count at the start: the group may be older than the init, as in a restarted container.
    before: u64,
}

impl OutOfMemory {
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

    /// The kills since the start.
    pub fn kills(&self) -> u64 {
        let now = self.file.as_deref().and_then(kills_in);
        now.map_or(0, |now| now.saturating_sub(self.before))
    }
}

fn kills_in(file: &Path) -> Option<u64> {
    oom_kill_in(&read(file)?)
}

/// With as few system calls as possible, because the first command waits for it.
fn read(file: &Path) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(file, flags, Mode::empty()).ok()?;
    let (mut text, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        match rustix::io::read(&file, &mut chunk) {
            Ok(0) => return String::from_utf8(text).ok(),
            Ok(count) => text.extend_from_slice(&chunk[..count]),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Kills every process in the init's control group, if that certainly belongs to the container: we must
/// be PID 1, which this does not kill, and every member must be in our PID namespace. On a host the
/// group also contains the user's shell.
pub fn kill_all() -> io::Result<()> {
    kill_at_once(&OwnGroup::find()?.directory)
}

/// Linux before 5.14 has no such file. `fs::write` would create it, which a cgroup answers with EACCES.
fn kill_at_once(group: &Path) -> io::Result<()> {
    fs::File::options().write(true).open(group.join("cgroup.kill"))?.write_all(b"1")
}

/// The init's own control group, if it is the container's.
#[derive(Debug)]
pub struct OwnGroup {
    directory: PathBuf,
    /// As in `/proc/PID/cgroup`.
    path: String,
}

impl OwnGroup {
    /// Finds it. The root of a hierarchy has no events, and is never a container's.
    pub fn find() -> io::Result<OwnGroup> {
        if std::process::id() != 1 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let directory = v2_directories(&own)
            .into_iter()
            .find(|group| group.join("cgroup.events").exists())
            .ok_or(io::ErrorKind::NotFound)?;
        if !has_only_our_processes(&directory, DEEPEST)? {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let path = v2_path(&own).trim_end_matches('/').to_owned();
        Ok(OwnGroup { directory, path })
    }
}

/// The path of a process's control group of version 2, relative to ours.
pub fn path_of(pid: i32) -> Option<String> {
    read(Path::new(&format!("/proc/{pid}/cgroup"))).map(|groups| v2_path(&groups).to_owned())
}

/// A control group for one service, below the init's own: processes of the service can't leave it,
/// whatever process group or session they have.
#[derive(Debug)]
pub struct ServiceGroup {
    directory: PathBuf,
    /// As in `/proc/PID/cgroup`.
    path: String,
}

impl ServiceGroup {
    /// Creates it, if the init may write to its own group. An existing group may contain foreign
    /// processes, and is used only if it is empty.
    pub fn make(own: &OwnGroup, name: &str) -> io::Result<ServiceGroup> {
        let mut tried = 0;
        loop {
            let name = match tried {
                0 => format!("sidecar-init.{name}"),
                // A character that service names do not have.
                _ => format!("sidecar-init.{name}~{tried}"),
            };
            let directory = own.directory.join(&name);
            let made = fs::create_dir(&directory).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    // The kernel does not remove a group with members, rmdir(2).
                    fs::remove_dir(&directory).and_then(|()| fs::create_dir(&directory))
                }
                _ => Err(error),
            });
            match made {
                Ok(()) => {
                    return Ok(ServiceGroup { path: format!("{}/{name}", own.path), directory });
                }
                Err(error) if is_taken(&error) && tried < MOST_NAMES => tried += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The `cgroup.procs` file, to which a process writes `0` to become a member.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(fs::File::options().write(true).open(self.directory.join("cgroup.procs"))?.into())
    }

    pub fn kill(&self) -> io::Result<()> {
        match kill_at_once(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                kill_each(&self.directory, DEEPEST)
            }
            other => other,
        }
    }

    pub fn is_empty(&self) -> bool {
        let events = fs::read_to_string(self.directory.join("cgroup.events"));
        events.is_ok_and(|events| events.lines().any(|line| line == "populated 0"))
    }

    /// Whether a process with this path, as from [`path_of`], is a member.
    pub fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Whether rmdir(2) failed because the directory is not empty.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty)
}

/// Removes an empty group; the kernel keeps others, rmdir(2).
impl Drop for ServiceGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Kills the members of a group and of those below it one by one. Members may fork meanwhile, so it
/// repeats until there are none.
fn kill_each(group: &Path, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Ok(());
    }
    for entry in directory::entries(group)? {
        let (name, is_group) = entry?;
        if is_group {
            kill_each(&group.join(name), depth - 1)?;
        }
    }
    for _ in 0..MOST_ROUNDS {
        let found = members(group)?;
        let open =
            |pid: i32| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?));
        for some in found.chunks(MOST_AT_ONCE) {
            let opened: Vec<_> = some.iter().filter_map(|pid| open(*pid)).collect();
            // A process that is still a member has not ended, so the pidfd is its own.
            let still = members(group)?;
            for (pid, pidfd) in opened {
                if still.contains(&pid) {
                    let _ = signals::pidfd_send(&pidfd, Signal::KILL);
                }
            }
        }
        if found.is_empty() {
            break;
        }
    }
    Ok(())
}

fn members(group: &Path) -> io::Result<Vec<i32>> {
    let text = fs::read_to_string(group.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|pid| pid.parse().ok()).collect())
}

/// `oom_kill N` in memory.events (version 2) or memory.oom_control (version 1).
fn oom_kill_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// The possible directories of our group: at its path if the whole hierarchy is mounted, at the mount
/// point if only our part is, as in a container.
fn v2_directories(own: &str) -> Vec<PathBuf> {
    MOUNTS.iter().flat_map(|mount| below_and_at(mount, v2_path(own))).collect()
}

/// The path of version 2 in `/proc/PID/cgroup`.
fn v2_path(groups: &str) -> &str {
    groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/")
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

/// A process without a pid in our namespace is listed as 0.
fn has_only_our_processes(group: &Path, depth: usize) -> io::Result<bool> {
    if depth == 0 || fs::read_to_string(group.join("cgroup.procs"))?.lines().any(|pid| pid == "0") {
        return Ok(false);
    }
    for entry in directory::entries(group)? {
        let (name, is_group) = entry?;
        if is_group && !has_only_our_processes(&group.join(name), depth - 1)? {
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
    fn members_are_killed_one_by_one_where_the_kernel_does_not_do_it_at_once() {
        let group = tempfile::tempdir().unwrap();
        let below = group.path().join("below");
        fs::create_dir(&below).unwrap();
        let start = || std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let mut children = [start(), start()];
        fs::write(group.path().join("cgroup.procs"), format!("{}\n", children[0].id())).unwrap();
        fs::write(below.join("cgroup.procs"), format!("{}\n", children[1].id())).unwrap();
        let of_service = ServiceGroup { directory: group.path().to_owned(), path: "/x".to_owned() };
        of_service.kill().unwrap();
        for child in &mut children {
            let status = child.wait().unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        }
    }

    #[test]
    fn a_group_that_has_members_already_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let own = OwnGroup { directory: directory.path().to_owned(), path: "/x".to_owned() };
        let group = ServiceGroup::make(&own, "a").unwrap();
        assert!(group.holds("/x/sidecar-init.a") && group.holds("/x/sidecar-init.a/below"));
        assert!(!group.holds("/x/sidecar-init.ab") && !group.holds("/x"));
        // An empty directory is like an empty group.
        let again = ServiceGroup::make(&own, "a").unwrap();
        assert_eq!(again.path, "/x/sidecar-init.a");
        fs::create_dir(again.directory.join("stranger")).unwrap();
        assert_eq!(ServiceGroup::make(&own, "a").unwrap().path, "/x/sidecar-init.a~1");
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
