//! An entrypoint that builds its bundle in code, and runs it in this process.
//!
//! `entrypoint SOCKET JOURNAL` opens a control socket, for `drive` beside it, and writes the result of
//! the bundle to a file.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use sidecar_init::bundle::{Bundle, Service};
use sidecar_init::init::{Init, Options, Socket};
use sidecar_init::plan::Plan;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(socket), Some(journal)) = (arguments.next(), arguments.next()) else {
        return Err("entrypoint SOCKET JOURNAL".into());
    };
    // The program's descriptors stay open, and no service inherits them.
    let mut journal = File::create(journal)?;

    let mut bundle = Bundle::new("example");
    bundle.services.push(Service::new("cache", ["sleep", "1000"]));
    let script = "ls -l /proc/self/fd; echo listed; exec sleep 1000";
    let mut web = Service::new("web", ["sh", "-c", script]);
    web.requires = vec!["cache".to_owned()];
    bundle.services.push(web);

    let mut options = Options::default();
    options.socket = Some(Socket::at(socket));
    let code = Init::new(Plan::new(bundle)?, options)?.run();
    writeln!(journal, "ended with {code}")?;
    Ok(code.into())
}
