//! What an approval would do, from the files as they are now.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::change::{new_text, warnings};
use crate::config_file::ConfigFile;
use crate::diff::unified;
use crate::proposal::{Proposal, Request};
use crate::settings::Settings;

/// All of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is done, in this order: the door that the agent stands before opens last.
    pub changes: Vec<Change>,
    /// What to look at before.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Makes it.
    pub fn make(settings: &Settings, request: &Request) -> Result<Self, String> {
        let Some(path) = file_of(settings, request) else {
            return Ok(Plan { changes: Vec::new(), warnings: warnings(request, "") });
        };
        let change = Change::make(ConfigFile::read(path)?, request.clone(), "")?;
        let warnings = warnings(request, change.file.text());
        let mut changes = Vec::from_iter(behind(settings, request)?);
        changes.push(change);
        Ok(Plan { changes, warnings })
    }
}

impl Plan {
    /// Changes with whatever is shown: the proposal, and each file, before and after.
    pub fn digest(&self, proposal: &Proposal) -> String {
        let file = |change: &Change| {
            let before = change.file.is_there().then(|| change.file.text());
            json!([change.file.path().as_os_str().as_bytes(), before, change.text])
        };
        let files: Vec<_> = self.changes.iter().map(file).collect();
        let shown = json!([proposal, files, self.warnings]).to_string();
        Sha256::digest(shown).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What the agent sends passes egress and then pipelock, so a route needs its host to be on
/// pipelock's list. Where that file is not there, there is no pipelock.
fn behind(settings: &Settings, request: &Request) -> Result<Option<Change>, String> {
    let Request::EgressRoute { route } = request else { return Ok(None) };
    let fix = "; pipelock has to let the host through as well, and where no pipelock runs, \
               SUPERVISE_PIPELOCK_FILE has to name a file that is not there";
    let file =
        ConfigFile::read(&settings.pipelock_config).map_err(|problem| format!("{problem}{fix}"))?;
    if !file.is_there() {
        return Ok(None);
    }
    let request = Request::PipelockHost { host: route.host.clone() };
    Change::make(file, request, fix).map(Some)
}

fn file_of<'a>(settings: &'a Settings, request: &Request) -> Option<&'a Path> {
    match request {
        Request::EgressRoute { .. } => Some(&settings.routes),
        Request::PipelockHost { .. } => Some(&settings.pipelock_config),
        Request::GitleaksException { .. } => Some(&settings.fingerprints),
        Request::Capability { .. } => None,
    }
}

/// What would be done with one file.
#[derive(Clone, Debug)]
pub struct Change {
    /// What the file has to grant then.
    pub request: Request,
    /// The file, as it is.
    pub file: ConfigFile,
    /// Its new text, if it has to change.
    pub text: Option<String>,
    /// The difference, empty if there is none.
    pub diff: String,
    /// What is to be said if it fails.
    fix: &'static str,
}

impl Change {
    fn make(file: ConfigFile, request: Request, fix: &'static str) -> Result<Self, String> {
        let path = file.path();
        let text = new_text(&request, file.text())
            .map_err(|problem| format!("{}: {problem}{fix}", path.display()))?;
        let diff = text
            .as_ref()
            .map(|text| unified(&path.to_string_lossy(), file.text(), text))
            .unwrap_or_default();
        Ok(Change { request, file, text, diff, fix })
    }

    /// What has gone wrong with it, and what can be done.
    pub fn failure(&self, problem: &str) -> String {
        format!("{problem}{}", self.fix)
    }
}
