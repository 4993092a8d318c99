//! The command line of sidecar-init; it uses only the library's public API.

#![no_main]

mod arguments;
mod check;
mod client;
mod client_arguments;
mod command_line;
mod help;
mod options;
mod output;
mod plan_json;
mod run;

use std::ffi::OsString;

use sidecar_init::internal::descriptors::Inherited;
use sidecar_init::internal::run_plain_command;

use options::Print;

sidecar_init::c_main!(run_arguments);

/// Runs the program with these arguments, the program's name first; returns the exit code.
/// `are_blocked`: whether all signals are.
fn run_arguments(arguments: Vec<OsString>, inherited: Inherited, are_blocked: bool) -> u8 {
    let state = match run_plain_command(&arguments, inherited, are_blocked) {
        Ok(code) => return code,
        Err(state) => state,
    };
    let request = arguments::parse(arguments);
    if !matches!(request, Ok(arguments::Request::Command(_) | arguments::Request::Bundle(_))) {
        // An ordinary program: Ctrl-C ends it, and so does a pipe without a reader.
        sidecar_init::internal::signals::end_by_signals();
    }
    let printed = |text: &str| output::print(text).err().unwrap_or(0);
    match request {
        Ok(arguments::Request::Print(Print::Help(subcommand))) => printed(&help::text(subcommand)),
        Ok(arguments::Request::Print(Print::Version)) => {
            printed(concat!("sidecar-init ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        Ok(arguments::Request::Command(command)) => run::command(command, state),
        Ok(arguments::Request::Bundle(bundle)) => run::bundle(bundle, state),
        Ok(arguments::Request::Check(check)) => check::check(&check),
        Ok(arguments::Request::Client(client)) => client::run(client),
        Err(error) => {
            output::complain(&format!("{error}\nTry 'sidecar-init --help'."));
            sidecar_init::exit::USAGE
        }
    }
}
