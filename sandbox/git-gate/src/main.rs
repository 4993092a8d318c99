//! `git-gate`: a transparent mirror of git repositories that scans what is pushed for secrets.
//! One program in several parts: the server, the hooks that git calls, and a keeper of locks.

mod access;
mod arguments;
mod config;
mod filter;
mod git;
mod journal;
mod lock;
mod memory;
mod messages;
mod mirrors;
mod names;
mod notice;
mod plan;
mod pre_receive;
mod process;
mod push;
mod quarantine;
mod reason;
mod refresh;
mod scan;
mod serve;
mod ssh;
mod view;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use arguments::{HELP, Request};
use config::{Config, FILE_VARIABLE};

/// As in sysexits.h.
const WRONG_USAGE: u8 = 64;
const WRONG_CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    let request = match arguments::parse(std::env::args_os(), std::env::var_os(FILE_VARIABLE)) {
        Ok(request) => request,
        Err(error) => return failure(&[error], WRONG_USAGE),
    };
    match request {
        Request::Help => print(HELP),
        Request::Version => print(concat!("git-gate ", env!("CARGO_PKG_VERSION"), "\n")),
        Request::Access(arguments) => verdict(access::hook(load_for_hook(), &arguments)),
        Request::Refresh(arguments) => verdict(access::refresh(load_for_hook(), &arguments)),
        Request::PreReceive => verdict(pre_receive::hook(load_for_hook())),
        Request::Git(arguments) => filter::run(load_for_hook(), &arguments),
        Request::HoldLock => verdict(lock::hold().is_ok()),
        Request::Check(file) => match load(&file) {
            Ok(_) => ExitCode::SUCCESS,
            Err(errors) => failure(&[errors], WRONG_CONFIGURATION),
        },
        Request::Serve(file) => match load(&file) {
            Ok(config) => match serve::start(config, file) {
                Ok(()) => ExitCode::SUCCESS,
                Err(problems) => failure(&problems, WRONG_CONFIGURATION),
            },
            Err(errors) => failure(&[errors], WRONG_CONFIGURATION),
        },
    }
}

fn load(file: &Path) -> Result<Config, String> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    config::parse(&name, &text).map_err(|errors| errors.to_string())
}

/// A hook's client reads that something is wrong, and not where our files are.
fn load_for_hook() -> Result<Config, String> {
    let file = std::env::var_os(FILE_VARIABLE).unwrap_or_else(|| config::DEFAULT_FILE.into());
    load(Path::new(&file)).map_err(|errors| {
        journal::note("configuration-wrong", "", &serde_json::json!({ "reason": errors }));
        "the gate's configuration is wrong".to_owned()
    })
}

fn verdict(is_fine: bool) -> ExitCode {
    if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(text: &str) -> ExitCode {
    verdict(io::stdout().lock().write_all(text.as_bytes()).is_ok())
}

fn failure(problems: &[String], code: u8) -> ExitCode {
    for line in problems.iter().flat_map(|problem| problem.lines()) {
        let _ = writeln!(io::stderr().lock(), "git-gate: {line}");
    }
    ExitCode::from(code)
}
