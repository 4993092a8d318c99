//! A repository of a push's own, in which ids can be nothing but ids.
//!
//! git takes `<40 hexadecimal digits>` for a ref of that name before it takes it for an object when
//! it pushes (gitrevisions(7); match_refs in git's remote.c), and it warns of such names, and of
//! one called HEAD, wherever it meets them, which gitleaks calls an error. Upstream may have such
//! refs already. So neither the scan nor the push looks at the mirror's refs: they get a repository
//! whose refs name the same objects by numbers, and which has no objects but those of the
//! quarantine and the mirror.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::config::{Gate, Upstream};
use crate::{git, process};

/// Of a bare repository; git asks for these files before it calls a folder one.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n";
/// Names no ref that there is.
const HEAD: &str = "ref: refs/heads/none\n";
/// Where the objects are, and what receive-pack says of its quarantine (git-receive-pack(1)).
const OBJECTS: &str = "GIT_OBJECT_DIRECTORY";

/// Removed with this.
pub(crate) struct View {
    folder: PathBuf,
    /// With which programs see it in the mirror's place.
    pub(crate) environment: Vec<(String, OsString)>,
    /// The full names of all refs that upstream has.
    pub(crate) names: Vec<String>,
}

impl View {
    /// Of the mirror as it is now; `environment` is the hook's.
    pub(crate) fn make(
        gate: &Gate,
        upstream: &Upstream,
        environment: &[(String, OsString)],
        deadline: Instant,
    ) -> Result<View, String> {
        let arguments = ["for-each-ref", "--format=%(objectname) %(refname)"];
        let plan = git::command(gate, upstream, environment, &arguments);
        let finished = process::run(&plan, Vec::new(), deadline)?;
        if !finished.status.success() {
            return Err("the refs of the mirror can't be listed".to_owned());
        }
        let (packed, names) = refs(&finished.text())?;
        // Names of processes are unique while they run, and one that was killed left its folder.
        let folder = folder(gate).join(std::process::id().to_string());
        let failed = |error: io::Error| format!("the push can't be looked at: {error}");
        remove(&folder).and_then(|()| write(&folder, &packed)).map_err(failed)?;
        let mut environment = environment.to_vec();
        if !environment.iter().any(|(name, _)| name == OBJECTS) {
            environment.push((OBJECTS.to_owned(), gate.mirror(upstream).join("objects").into()));
        }
        // The path of the quarantine would forbid an upstream on the same disk to move its refs.
        environment.retain(|(name, _)| name != "GIT_DIR" && name != "GIT_QUARANTINE_PATH");
        environment.push(("GIT_DIR".to_owned(), folder.clone().into()));
        Ok(View { folder, environment, names })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let _ = remove(&self.folder);
    }
}

fn folder(gate: &Gate) -> PathBuf {
    gate.own().join("pushes")
}

/// Removes what killed hooks left. Only while none runs.
pub(crate) fn clear(gate: &Gate) -> io::Result<()> {
    remove(&folder(gate))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write(folder: &Path, packed: &str) -> io::Result<()> {
    for part in ["objects", "refs"] {
        fs::create_dir_all(folder.join(part))?;
    }
    for (file, text) in [("config", CONFIG), ("HEAD", HEAD), ("packed-refs", packed)] {
        fs::write(folder.join(file), text)?;
    }
    Ok(())
}

/// The text of a packed-refs file that names the same objects by numbers, and the refs' own names.
fn refs(list: &str) -> Result<(String, Vec<String>), String> {
    let (mut packed, mut names) = (String::from("# pack-refs with:\n"), Vec::new());
    for (number, line) in list.lines().enumerate() {
        let (id, name) = line.split_once(' ').ok_or("git's list of refs is not understood")?;
        let _ = writeln!(packed, "{id} refs/upstream/{number:09}");
        names.push(name.to_owned());
    }
    Ok((packed, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_get_numbers() {
        let (packed, names) = refs("aa refs/heads/HEAD\nbb refs/tags/x\n").unwrap();
        let lines: Vec<&str> = packed.lines().skip(1).collect();
        assert_eq!(lines, ["aa refs/upstream/000000000", "bb refs/upstream/000000001"]);
        assert_eq!(names, ["refs/heads/HEAD", "refs/tags/x"]);
        assert!(refs("broken\n").is_err());
    }
}
