//! Why an exec failed, as a message and an exit code.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::thread::CapabilitySet;

use crate::bundle::resource;
use crate::error_text::error_text;
use crate::exit::{INIT_FAILED, NOT_EXECUTABLE, NOT_FOUND};
use crate::privileges::{groups_may_be_set, missing};
use crate::sys::spawn::{Failure, Step};

/// A failed start.
#[derive(Clone, Debug)]
pub(in crate::init) struct StartFailure {
    /// The exit code for it.
    pub(in crate::init) code: u8,
    /// The message.
    pub(in crate::init) reason: String,
}

impl StartFailure {
    /// An error of the init itself.
    pub(in crate::init) fn of_init(reason: String) -> StartFailure {
        StartFailure { code: INIT_FAILED, reason }
    }
}

/// What was to be executed: the details for messages.
#[derive(Debug)]
pub(super) struct ExecAttempt {
    pub(super) program: OsString,
    pub(super) paths: Vec<CString>,
}

/// Names the capability if it is missing: setpriority(2), setrlimit(2) and proc(5) need it, but may
/// also fail for other reasons.
fn without(capability: CapabilitySet) -> String {
    missing(capability).map_or_else(String::new, |missing| format!(" ({missing})"))
}

/// EINVAL: the user namespace has no such id, setresuid(2) and setgroups(2).
fn why_not_changed(step: Step, error: &std::io::Error) -> &'static str {
    match (step, error.raw_os_error()) {
        (Step::User, Some(libc::EINVAL)) => "this user namespace does not map the user",
        (_, Some(libc::EINVAL)) => "this user namespace does not map one of the groups",
        (Step::Groups, Some(libc::EPERM)) if !groups_may_be_set() => {
            "this user namespace does not allow setgroups(2)"
        }
        _ => "it takes CAP_SETUID and CAP_SETGID",
    }
}

impl ExecAttempt {
    /// The exit code and the message of a failed start.
    pub(super) fn explain(&self, failure: &Failure) -> StartFailure {
        let (code, reason) = self.code_and_reason(failure);
        StartFailure { code, reason }
    }

    fn code_and_reason(&self, failure: &Failure) -> (u8, String) {
        let Failure { step, error } = failure;
        let kernel_says = error_text(error);
        let doing = match step {
            Step::Execute(index) => return self.explain_execute(*index, error),
            Step::Interpreter(index) => {
                let shown = self.shown(*index);
                let text = format!(
                    "{shown} is there, but the interpreter that it names (its #! line or ELF \
                     loader) is not"
                );
                return (NOT_FOUND, text);
            }
            Step::Directory(index) => {
                let text = format!("{} is a directory, not a program", self.shown(*index));
                return (NOT_EXECUTABLE, text);
            }
            Step::Fork => "can't make a process",
            Step::ProcessGroup => "can't give it a process group",
            Step::Descriptors => "can't arrange its descriptors",
            Step::Limit(number) => {
                let name = resource::name(*number);
                let without = without(CapabilitySet::SYS_RESOURCE);
                let text = format!("can't set limit `{name}` (`rlimits`){without}: {kernel_says}");
                return (INIT_FAILED, text);
            }
            Step::Nice => {
                let without = without(CapabilitySet::SYS_NICE);
                return (INIT_FAILED, format!("can't set `nice`{without}: {kernel_says}"));
            }
            Step::OomScore => {
                let without = without(CapabilitySet::SYS_RESOURCE);
                return (INIT_FAILED, format!("can't set `oom-score-adj`{without}: {kernel_says}"));
            }
            Step::Capabilities => {
                "can't drop capabilities; it takes CAP_SETPCAP, or `no-new-privileges`"
            }
            Step::Groups | Step::Group | Step::User => {
                let why = why_not_changed(*step, error);
                let text = format!("can't change to its user and groups; {why}: {kernel_says}");
                return (INIT_FAILED, text);
            }
            Step::NoNewPrivileges => "can't set `no-new-privileges`",
            Step::WorkingDirectory => "can't enter its working directory",
            Step::ParentDeathSignal => "can't set `parent-death-signal`",
        };
        (INIT_FAILED, format!("{doing}: {kernel_says}"))
    }

    fn explain_execute(&self, index: u32, error: &std::io::Error) -> (u8, String) {
        let shown = self.shown(index);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) if self.paths.len() != 1 => {
                let places: Vec<_> = self
                    .paths
                    .iter()
                    .filter_map(|path| Path::new(OsStr::from_bytes(path.as_bytes())).parent())
                    .map(|directory| directory.display().to_string())
                    .collect();
                let (program, places) = (&self.program, places.join(":"));
                (NOT_FOUND, format!("command {program:?} not found in PATH={places}"))
            }
            Some(libc::ENOENT | libc::ENOTDIR) => (NOT_FOUND, format!("command {shown} not found")),
            // No processes, memory or descriptors at the moment, execve(2): this is no error of the
            // file.
            Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => {
                (INIT_FAILED, format!("can't execute {shown}: {}", error_text(error)))
            }
            Some(libc::EACCES) => (
                NOT_EXECUTABLE,
                format!(
                    "{shown} can't be executed: permission denied; has it the x bit, and is it \
                     not on a noexec mount?"
                ),
            ),
            Some(libc::ENOEXEC) => (
                NOT_EXECUTABLE,
                format!(
                    "{shown} can't be executed: it is neither a program for this machine nor a \
                     script that begins with #!"
                ),
            ),
            _ => (NOT_EXECUTABLE, format!("{shown} can't be executed: {}", error_text(error))),
        }
    }

    /// The path with this index, for messages.
    fn shown(&self, index: u32) -> String {
        let path = self.paths.get(index as usize).map(|path| OsStr::from_bytes(path.as_bytes()));
        Path::new(path.unwrap_or(&self.program)).display().to_string()
    }
}
