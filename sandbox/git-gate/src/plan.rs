//! A program that is to be run, with the whole environment that it gets. Data only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// All of it: nothing is inherited.
    pub(crate) environment: Vec<(String, OsString)>,
    pub(crate) directory: PathBuf,
}

impl Plan {
    pub(crate) fn new(program: impl Into<PathBuf>, directory: &Path) -> Plan {
        let directory = directory.to_owned();
        Plan { program: program.into(), arguments: Vec::new(), environment: Vec::new(), directory }
    }

    pub(crate) fn arguments<T: Into<OsString>>(
        mut self,
        arguments: impl IntoIterator<Item = T>,
    ) -> Plan {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub(crate) fn environment(mut self, environment: &[(String, OsString)]) -> Plan {
        self.environment.extend_from_slice(environment);
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: impl Into<OsString>) -> Plan {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// What people call the program.
    pub(crate) fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        let name = name.to_string_lossy();
        match self.arguments.iter().find(|argument| !argument.to_string_lossy().starts_with('-')) {
            Some(word) if name == "git" => format!("git {}", word.to_string_lossy()),
            _ => name.into_owned(),
        }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.directory).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}
