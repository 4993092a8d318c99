//! Where a bundle comes from: reads its file, selects services and builds the plan, at the start and at
//! each reload.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::bundle::toml::Overrides;
use crate::bundle::{Bundle, instances, selection, toml};
use crate::exit::{CONFIG, NOTHING_SELECTED};
use crate::file::Files;
use crate::plan::Plan;
use crate::privileges;
use strict_toml::listed;
use strict_toml::{ConfigError, ConfigErrors, MOST_SHOWN};

/// A bundle's file, and the options of the command line.
#[derive(Clone, Debug, Default)]
pub struct BundleSource {
    /// The file; absolute for an init that reloads, which changes its working directory.
    pub file: PathBuf,
    /// Only these services, instead of those that the environment selects.
    pub only: Option<String>,
    /// Options that override the file.
    pub overrides: Overrides,
    /// The main command beside the services.
    pub main: Option<Vec<OsString>>,
}

/// Why nothing can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The exit code.
    pub code: u8,
    /// One line or several.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for Refusal {}

impl BundleSource {
    /// Reads the bundle's file, and builds its plan. Warnings are added to `warnings`, one line each.
    ///
    /// # Errors
    /// All errors in the file and its selection, and accounts and files that do not exist.
    pub fn load(&self, warnings: &mut Vec<String>) -> Result<Plan, Refusal> {
        self.plan(&mut Files::default(), warnings)
    }

    /// The same, with all files read through `files`.
    ///
    /// # Errors
    /// As [`BundleSource::load`].
    pub(crate) fn plan(
        &self,
        files: &mut Files,
        warnings: &mut Vec<String>,
    ) -> Result<Plan, Refusal> {
        let bundle = self.narrowed(self.read(files)?, warnings)?;
        let mut bundle = instances::expand(bundle, |variable| std::env::var_os(variable))
            .map_err(|errors| self.refusal(errors))?;
        if bundle.services.is_empty() && self.main.is_none() {
            let reason = "the environment leaves no instance of any service to run".to_owned();
            return Err(Refusal { code: NOTHING_SELECTED, reason });
        }
        for service in &mut bundle.services {
            for (file, _) in &mut service.environment.files {
                *file = self.beside(file);
            }
        }
        let plan = Plan::bundle(bundle, self.main.clone(), files)
            .map_err(|errors| self.refusal(errors))?;
        warnings.extend(privileges::warnings(&plan));
        Ok(plan)
    }

    /// The path of a file that the bundle names.
    fn beside(&self, file: &Path) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(file)
    }

    fn refusal(&self, errors: Vec<ConfigError>) -> Refusal {
        let errors = ConfigErrors::new(&self.file.display().to_string(), errors);
        Refusal { code: CONFIG, reason: errors.to_string() }
    }

    fn read(&self, files: &mut Files) -> Result<Bundle, Refusal> {
        let refusal = |reason| Refusal { code: CONFIG, reason };
        let shown = self.file.display().to_string();
        let text = files.text(&self.file).map_err(|reason| {
            refusal(format!(
                "can't read the bundle {shown}: {reason}; name another with -f or \
                 SIDECAR_INIT_CONFIG"
            ))
        })?;
        toml::parse_with(&shown, text, self.overrides).map_err(|errors| refusal(errors.to_string()))
    }

    fn narrowed(&self, bundle: Bundle, warnings: &mut Vec<String>) -> Result<Bundle, Refusal> {
        let (source, wanted) = match (&self.only, &bundle.select_env) {
            (Some(only), _) => ("--only".to_owned(), only.to_owned()),
            (None, Some(variable)) => {
                let value = std::env::var_os(variable).unwrap_or_default();
                (variable.clone(), value.to_string_lossy().into_owned())
            }
            (None, None) => return Ok(bundle),
        };
        let selection = selection::select(&bundle, &wanted);
        let known = selection::names(&bundle);
        if !selection.unknown.is_empty() {
            let unknown: Vec<&str> = selection.unknown.iter().map(String::as_str).collect();
            let unknown = listed(&unknown, ", ");
            warnings.push(format!(
                "{source} names unknown services: {unknown}; the bundle has {known}"
            ));
        }
        let refusal =
            |reasons: Vec<String>| Refusal { code: NOTHING_SELECTED, reason: reasons.join("\n") };
        if selection.kept.is_empty() {
            let reason = format!("{source} leaves no service to run; the bundle has {known}");
            return Err(refusal(vec![reason]));
        }
        let missing = selection::missing(&bundle, &selection);
        if !missing.is_empty() {
            let reason = |(service, required): &(String, String)| {
                format!(
                    "{source} leaves out {required}, which {service} requires; select it too, or \
                     leave out {service}"
                )
            };
            return Err(refusal(missing.iter().take(MOST_SHOWN).map(reason).collect()));
        }
        Ok(selection::narrow(bundle, &selection))
    }
}
