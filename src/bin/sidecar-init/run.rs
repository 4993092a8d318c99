//! Runs what was asked for.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use sidecar_init::bundle::toml::ConfigErrors;
use sidecar_init::bundle::{Bundle, selection};
use sidecar_init::control::{DEFAULT_SOCKETS, NO_SOCKET, SOCKET_VARIABLE};
use sidecar_init::exit::{CONFIG, INIT_FAILED, NOTHING_SELECTED};
use sidecar_init::init::{Init, Options, Socket};
use sidecar_init::plan::Plan;

use crate::arguments::{BundleRequest, CommandRequest, Common};

/// A bundle's file larger than this is refused unread.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Runs one command.
pub(crate) fn command(request: CommandRequest) -> u8 {
    start(Plan::command(request.command, &request.options), request.common, None)
}

/// Runs a bundle.
pub(crate) fn bundle(request: BundleRequest) -> u8 {
    let mut bundle = match load(&request.file, request.only.as_deref()) {
        Ok(bundle) => bundle,
        Err(code) => return code,
    };
    bundle.grace = request.grace.unwrap_or(bundle.grace);
    if let Some(log) = request.log {
        bundle.log = log;
        bundle.services.iter_mut().for_each(|service| service.log = log);
    }
    match plan(&request.file, bundle, request.main) {
        Ok(plan) => {
            // Reading the file took far more than what is kept of it.
            sidecar_init::sys::memory::give_back();
            let socket = socket(plan.bundle.socket.as_deref());
            start(plan, request.common, socket)
        }
        Err(code) => code,
    }
}

/// Looks up on this machine what the bundle of `file` names. Says what is missing, and returns
/// the code to exit with, if anything is.
pub(crate) fn plan(file: &Path, bundle: Bundle, main: Option<Vec<OsString>>) -> Result<Plan, u8> {
    Plan::bundle(bundle, main).map_err(|errors| {
        complain(&ConfigErrors::new(&file.display().to_string(), errors).to_string());
        CONFIG
    })
}

/// Reads the bundle of `file` and narrows it to what is selected. Says what is wrong, and
/// returns the code to exit with, if anything is.
pub(crate) fn load(file: &Path, only: Option<&str>) -> Result<Bundle, u8> {
    let shown = file.display().to_string();
    let text = read(file).map_err(|reason| {
        complain(&format!(
            "can't read the bundle {shown}: {reason}; name another with -f or SIDECAR_INIT_CONFIG"
        ));
        CONFIG
    })?;
    let bundle = sidecar_init::bundle::toml::parse(&shown, &text).map_err(|errors| {
        complain(&errors.to_string());
        CONFIG
    })?;
    let (source, wanted) = match (only, &bundle.select_env) {
        (Some(only), _) => ("--only".to_owned(), only.to_owned()),
        (None, Some(variable)) => {
            let value = std::env::var_os(variable).unwrap_or_default();
            (variable.clone(), value.to_string_lossy().into_owned())
        }
        (None, None) => return Ok(bundle),
    };
    let selection = selection::select(&bundle, &wanted);
    if !selection.unknown.is_empty() {
        let (unknown, known) = (selection.unknown.join(", "), selection::names(&bundle));
        complain(&format!(
            "{source} names what the bundle does not have: {unknown}; it has {known}"
        ));
    }
    if selection.kept.is_empty() {
        let known = selection::names(&bundle);
        complain(&format!("{source} leaves no service to run; the bundle has {known}"));
        return Err(NOTHING_SELECTED);
    }
    let missing = selection::missing(&bundle, &selection);
    for (service, required) in &missing {
        complain(&format!(
            "{source} leaves out {required}, which {service} requires; select it too, or leave out {service}"
        ));
    }
    if !missing.is_empty() {
        return Err(NOTHING_SELECTED);
    }
    Ok(selection::narrow(bundle, &selection))
}

fn read(file: &Path) -> Result<String, String> {
    let reason = |error: std::io::Error| {
        let text = error.to_string();
        text.split(" (os error").next().unwrap_or(&text).to_owned()
    };
    let size = std::fs::metadata(file).map_err(reason)?.len();
    if size > LARGEST_FILE {
        return Err(format!("it is larger than {LARGEST_FILE} bytes"));
    }
    let bytes = std::fs::read(file).map_err(reason)?;
    String::from_utf8(bytes).map_err(|error| {
        format!("it is not UTF-8 from byte {} on", error.utf8_error().valid_up_to())
    })
}

/// Where the control socket is to be: where the environment or the file says, or as PID 1 at one
/// of its usual places. Elsewhere those may be another init's.
fn socket(in_file: Option<&str>) -> Option<Socket> {
    let in_environment = std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty());
    match in_environment.or_else(|| in_file.map(OsString::from)) {
        Some(path) if path == NO_SOCKET => None,
        Some(path) => Some(Socket { places: vec![path.into()], is_wanted: true }),
        None if std::process::id() == 1 => {
            let places = DEFAULT_SOCKETS.map(Into::into).to_vec();
            Some(Socket { places, is_wanted: false })
        }
        None => None,
    }
}

fn start(plan: Plan, common: Common, socket: Option<Socket>) -> u8 {
    let options = Options {
        socket,
        remap: common.remap,
        termination_log: common.termination_log,
        quiet: common.quiet,
        colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    match Init::new(plan, options) {
        Ok(init) => init.run(),
        Err(error) => {
            complain(&format!("can't start: {error}"));
            INIT_FAILED
        }
    }
}

/// Prints to stdout; a reader that is gone is no failure of ours.
pub(crate) fn print(text: &str) -> u8 {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    0
}

/// Says what is wrong, before there is an init that could.
pub(crate) fn complain(text: &str) {
    let mut stderr = std::io::stderr();
    for line in text.lines() {
        let _ = writeln!(stderr, "sidecar-init: {line}");
    }
}
