//! What stands in for git where git daemon and git-http-backend call `git receive-pack` and
//! `git upload-pack`: the same git behind a filter. A hook would come too late, as what is sent is
//! unpacked before any runs; and upload-pack has none for what is asked for.

mod pack;
mod packets;
mod receive;
mod upload;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::config::{self, Config, Gate, Upstream};

/// What a refused client has to read why, before its connection is closed.
const PARTING: Duration = Duration::from_secs(1);

/// Does what git is called for: `receive-pack` or `upload-pack`, with options and a folder.
pub(crate) fn run(config: Result<Config, String>, arguments: &[OsString]) -> ExitCode {
    let result = config.and_then(|config| {
        let (folder, options) = arguments.split_last().ok_or("no repository named")?;
        let upstream = here(&config, Path::new(folder))?;
        let is = |word: &str| options.iter().any(|option| option == word);
        let mut git = git(&config.gate, &upstream, options);
        // Those two only say which refs there are.
        let lists = is("--http-backend-info-refs") || is("--advertise-refs");
        let done = if lists {
            Err(git.exec())
        } else if is("receive-pack") {
            receive::receive(&config.gate, &upstream, git)
        } else if is("upload-pack") {
            upload::upload(&config.gate, &upstream, git)
        } else {
            Err(io::Error::other("it is asked for another service"))
        };
        done.map_err(|error| format!("git failed: {error}"))
    });
    result.unwrap_or_else(|reason| {
        let _ = packets::write(&packets::error(&format!("git-gate: refused: {reason}")));
        ExitCode::FAILURE
    })
}

/// git itself. It gets the mirror's path in the place of `.`, which some versions compare with
/// safe.directory as it is.
fn git(gate: &Gate, upstream: &Upstream, options: &[OsString]) -> Command {
    let mut git = Command::new("git");
    if options.iter().any(|option| option == "receive-pack") {
        // Each thread of index-pack would hold objects of its own.
        git.args(["-c", "pack.threads=1"]);
    }
    git.args(options).arg(gate.mirror(upstream));
    git.env_remove(EXEC_PATH);
    if let Some(path) = usual_path(gate) {
        git.env("PATH", path);
    }
    git
}

/// The PATH without the folder in which this is what `git` leads to.
pub(crate) fn usual_path(gate: &Gate) -> Option<OsString> {
    let path = env::var_os("PATH")?;
    let others = env::split_paths(&path).filter(|folder| *folder != gate.programs());
    env::join_paths(others).ok()
}

fn here(config: &Config, folder: &Path) -> Result<Upstream, String> {
    let unknown = "there is no such repository";
    let failed = |error: io::Error| format!("no mirror: {error}");
    let root = config.gate.root.canonicalize().map_err(failed)?;
    let folder = folder.canonicalize().map_err(failed)?;
    let name = config::name_of(&root, &folder).ok_or(unknown)?;
    Ok(config.upstream(name).ok_or(unknown)?.clone())
}

fn spawn(mut git: Command, stdout: Stdio) -> io::Result<(Child, ChildStdin)> {
    let mut child = git.stdin(Stdio::piped()).stdout(stdout).spawn()?;
    let stdin = child.stdin.take().ok_or_else(|| io::Error::other("it has no pipe"))?;
    Ok((child, stdin))
}

/// Reads what a refused client still sends: closing with unread input would reset the connection,
/// and the client would not see why.
fn drain(input: impl Read + Send + 'static) -> mpsc::Receiver<()> {
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || {
        let mut input = input;
        let _ = io::copy(&mut input, &mut io::sink());
        drop(sender);
    });
    ended
}

/// The exit code of git as ours.
fn code(status: std::process::ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

const EXEC_PATH: &str = "GIT_EXEC_PATH";

/// The name by which git daemon and git-http-backend look for git.
pub(crate) const NAME: &str = "git";

/// The environment of git daemon and git-http-backend, by which they find it in this folder.
/// git_exec_path and setup_path in git's exec-cmd.c put the former before the PATH.
pub(crate) fn environment(programs: &Path, path: &OsStr) -> Vec<(String, OsString)> {
    let folders = std::iter::once(programs.to_owned()).chain(env::split_paths(path));
    let path = env::join_paths(folders).unwrap_or_else(|_| path.to_owned());
    vec![(EXEC_PATH.to_owned(), programs.into()), ("PATH".to_owned(), path)]
}
