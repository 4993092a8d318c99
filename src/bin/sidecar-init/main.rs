//! The command line of sidecar-init. Everything it does goes through the library's public API.

#![no_main]

mod arguments;
mod check;
mod client;
mod client_arguments;
mod help;
mod plan_json;
mod run;

use std::ffi::OsString;

sidecar_init::c_main!(run_arguments);

/// Runs the program with these arguments, the program's name first; returns the exit code.
fn run_arguments(arguments: Vec<OsString>) -> u8 {
    sidecar_init::sys::descriptors::open_missing_standard();
    match arguments::parse(arguments) {
        Ok(arguments::Request::Help) => run::print(help::HELP),
        Ok(arguments::Request::Version) => {
            run::print(concat!("sidecar-init ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        Ok(arguments::Request::Command(command)) => run::command(command),
        Ok(arguments::Request::Bundle(bundle)) => run::bundle(bundle),
        Ok(arguments::Request::Check(check)) => check::check(&check),
        Ok(arguments::Request::Client(client)) => client::run(&client),
        Err(error) => {
            run::complain(&format!("{error}\nTry 'sidecar-init --help'."));
            sidecar_init::exit::USAGE
        }
    }
}
