//! The binary `supervise`: the server for the agent, and the operator's commands.

mod arguments;
mod commands;

use std::process::ExitCode;

use arguments::Request;
use supervise::settings::Settings;

const USAGE: u8 = 64;
const BAD_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let request = match arguments::parse(std::env::args_os().collect()) {
        Ok(request) => request,
        Err(problem) => return fail(USAGE, &format!("{problem}; see supervise --help")),
    };
    let settings = match Settings::read(&|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(problem) => return fail(BAD_CONFIG, &problem),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error.to_string()),
    };
    match runtime.block_on(perform(request, settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, problem)) => fail(code, &problem),
    }
}

async fn perform(request: Request, settings: Settings) -> Result<(), (u8, String)> {
    let result = match request {
        Request::Help => commands::say(arguments::HELP),
        Request::Version => commands::say(concat!("supervise ", env!("CARGO_PKG_VERSION"), "\n")),
        Request::Serve => supervise::server::serve(settings).await,
        Request::List { json, all } => commands::list::run(&settings, json, all),
        Request::Show { id, json } => commands::show::run(&settings, &id, json),
        Request::Approve(choice) => {
            commands::decide::require_consent(&choice).map_err(|told| (USAGE, told.to_owned()))?;
            commands::decide::approve(&settings, &choice).await
        }
        Request::Reject(choice) => commands::decide::reject(&settings, &choice),
        Request::Watch { json } => commands::watch::run(&settings, json).await,
        Request::PipelockConfig { routes, hosts } => {
            commands::pipelock_config::run(routes.as_deref(), hosts)
        }
        Request::PipelockCheck { file } => {
            return commands::pipelock_config::check(&file).map_err(|told| (BAD_CONFIG, told));
        }
    };
    result.map_err(|problem| (1, problem))
}

fn fail(code: u8, problem: &str) -> ExitCode {
    if !problem.is_empty() {
        commands::warn(problem);
    }
    ExitCode::from(code)
}
