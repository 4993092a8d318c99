//! From a command's arguments to a [`Launch`]: where the program is looked for, and its environment.

use std::borrow::Cow;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::sys::spawn::{Launch, c_string};

/// The default search path, as Docker sets it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A child's environment, `NAME=value` each.
pub(crate) type Environment = Vec<Cow<'static, CStr>>;

/// A launch of one command, which gets all that the init has inherited. Fails with the reason if that
/// is not possible, for example with a NUL in an argument.
pub(crate) fn one_command<'fd>(
    command: &[OsString],
    environment: Vec<&'static CStr>,
) -> Result<Launch<'fd>, String> {
    let rewrite_listen_pid = listens_for_us(&environment);
    let launch = of(command, environment.into_iter().map(Cow::Borrowed).collect())?;
    Ok(Launch { keeps_descriptors: true, rewrite_listen_pid, ..launch })
}

/// A launch of a command with this environment; its `PATH` is searched for the program.
pub(crate) fn of<'fd>(
    command: &[OsString],
    environment: Environment,
) -> Result<Launch<'fd>, String> {
    let program = command.first().ok_or("its command is empty")?;
    let paths = paths(program, path_in(&environment)).into_iter().map(text);
    Ok(Launch {
        paths: paths.collect::<Result<_, _>>()?,
        arguments: command.iter().cloned().map(text).collect::<Result<_, _>>()?,
        environment,
        ..Launch::default()
    })
}

/// A C string. Fails with the reason if the text has a NUL.
pub(crate) fn text(text: OsString) -> Result<CString, String> {
    c_string(text).map_err(|_| "a NUL byte in its command or environment".to_owned())
}

/// The two parts of `NAME=value`; a name may begin with `=`, as in std.
pub(crate) fn name_and_value(variable: &CStr) -> Option<(&OsStr, &OsStr)> {
    let bytes = variable.to_bytes();
    let middle = 1 + bytes.get(1..)?.iter().position(|byte| *byte == b'=')?;
    Some((OsStr::from_bytes(&bytes[..middle]), OsStr::from_bytes(&bytes[middle + 1..])))
}

/// `LISTEN_PID` is rewritten only if it named us: otherwise the sockets were for another process.
fn listens_for_us(environment: &[&CStr]) -> bool {
    let mut variables = environment.iter().map(|variable| variable.to_bytes());
    let pid = variables.find_map(|variable| variable.strip_prefix(b"LISTEN_PID="));
    pid.is_some_and(|pid| *pid == *std::process::id().to_string().as_bytes())
}

fn path_in(environment: &Environment) -> Option<&OsStr> {
    let mut variables = environment.iter().filter_map(|variable| name_and_value(variable));
    variables.find(|(name, _)| *name == "PATH").map(|(_, value)| value)
}

/// The paths to try, as execvp(3) does.
fn paths(program: &OsStr, path: Option<&OsStr>) -> Vec<OsString> {
    if program.as_bytes().contains(&b'/') {
        return vec![program.to_owned()];
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    std::env::split_paths(path).map(|directory| directory.join(program).into()).collect()
}
