//! Runs one command or a bundle.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sidecar_init::bundle::NO_SOCKET;
use sidecar_init::exit::INIT_FAILED;
use sidecar_init::init::{Init, Options, Socket};
use sidecar_init::internal::{HandOver, descriptors, error_text, memory, termination_log};
use sidecar_init::plan::Plan;
use sidecar_init::protocol::{DEFAULT_SOCKETS, SOCKET_VARIABLE};
use sidecar_init::source::Refusal;

use crate::arguments::{BundleRequest, CommandRequest, Common};
use crate::output::{complain, in_our_name};

/// Runs one command, or takes it over from the short way.
pub(crate) fn command(request: CommandRequest, state: HandOver) -> u8 {
    start(Plan::command(request.command, &request.options), options(request.common), Some(state))
}

pub(crate) fn bundle(request: BundleRequest, mut state: HandOver) -> u8 {
    // Otherwise the reader of a pipe waits for us (<https://github.com/openSUSE/catatonit/issues/12>).
    descriptors::close(state.take_inherited());
    let BundleRequest { common, source, ready_file } = request;
    let mut warnings = Vec::new();
    match source.load(&mut warnings) {
        Ok(plan) => {
            // Parsing used much more memory than the plan needs.
            memory::give_back();
            let socket = socket(plan.bundle.socket.as_deref());
            let source = Some(source);
            let mut options = options(common);
            options.source = source;
            options.socket = socket;
            options.ready_file = ready_file;
            options.warnings = warnings;
            start(plan, options, None)
        }
        Err(refusal) => {
            warnings.iter().for_each(|warning| complain(warning));
            refuse(&refusal, common.termination_log.as_deref())
        }
    }
}

/// Reports why nothing is run, also in the termination log; returns the exit code.
pub(crate) fn refuse(refusal: &Refusal, termination_log: Option<&Path>) -> u8 {
    complain(&refusal.reason);
    if let Some(file) = termination_log
        && let Err(error) = termination_log::write(file, in_our_name(&refusal.reason).trim_end())
    {
        let error = error_text(&error);
        complain(&format!("can't write the termination log {}: {error}", file.display()));
    }
    refusal.code
}

/// The path of the control socket: from the environment or the file, or as PID 1 the default paths.
/// Otherwise those may belong to another init.
fn socket(in_file: Option<&str>) -> Option<Socket> {
    match named_socket(in_file) {
        Some(path) if path == NO_SOCKET => None,
        Some(path) => Some(Socket::at(absolute(path.into()))),
        None if std::process::id() == 1 => {
            let places = DEFAULT_SOCKETS.map(Into::into).to_vec();
            Some(Socket { places, is_wanted: false })
        }
        None => None,
    }
}

/// The setting for the control socket: from the environment, or else from the file.
pub(crate) fn named_socket(in_file: Option<&str>) -> Option<OsString> {
    let in_environment = std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty());
    in_environment.or_else(|| in_file.map(OsString::from))
}

fn options(common: Common) -> Options {
    let mut options = Options::default();
    options.remap = common.remap;
    options.termination_log = common.termination_log;
    options.quiet = common.quiet;
    options.colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    options
}

/// An absolute path, because the init changes its working directory.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn start(plan: Plan, options: Options, mut state: Option<HandOver>) -> u8 {
    let termination_log = options.termination_log.clone();
    let inherited = state.as_mut().map_or_else(Vec::new, HandOver::take_inherited);
    let init = Init::new(plan, options).and_then(|mut init| {
        init.pass_to_command(inherited)?;
        if let Some(state) = state.take() {
            init.take_over(state);
        }
        Ok(init)
    });
    match init {
        Ok(init) => init.run(),
        Err(error) => {
            if let Some(state) = state {
                state.kill();
            }
            let reason = format!("can't start: {}", error_text(&error));
            refuse(&Refusal { code: INIT_FAILED, reason }, termination_log.as_deref())
        }
    }
}
