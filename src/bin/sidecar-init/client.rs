//! Controls a running init, and prints the answers.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use sidecar_init::client::{Client, Error, ErrorKind};
use sidecar_init::protocol::{Graph, Reloaded, SOCKET_VARIABLE, ServiceStatus, StateKind, Status};
use sidecar_init::words::Words;

use crate::output::{complain, print};

/// The init refused the request, or is not healthy.
const REFUSED: u8 = 1;
/// No init answers (`EX_UNAVAILABLE` of sysexits(3)).
const UNAVAILABLE: u8 = 69;
/// How often `status --watch` prints again without an event.
const REDRAW: Duration = Duration::from_secs(1);

/// Makes the requests and prints the answers; returns the exit code.
pub(crate) type Action = Box<dyn FnOnce(&Client) -> Result<u8, Error>>;

/// A subcommand for a running init.
pub(crate) struct ClientRequest {
    pub(crate) client: Client,
    pub(crate) action: Action,
    /// A health check has only one exit code for failures.
    pub(crate) is_health_check: bool,
}

/// Runs the subcommand, and returns the exit code.
pub(crate) fn run(request: ClientRequest) -> u8 {
    (request.action)(&request.client).unwrap_or_else(|error| {
        let hint = match error.kind() {
            ErrorKind::NoInit => format!(" --socket or {SOCKET_VARIABLE} name another place"),
            _ => String::new(),
        };
        complain(&format!("{error}{hint}"));
        match error.kind() {
            ErrorKind::Refused | ErrorKind::TimedOut => REFUSED,
            _ if request.is_health_check => REFUSED,
            _ => UNAVAILABLE,
        }
    })
}

/// Success without output.
pub(crate) fn done((): ()) -> u8 {
    0
}

pub(crate) fn show(text: &str) -> u8 {
    print(text).err().unwrap_or(0)
}

pub(crate) fn follow(client: &Client, name: &str) -> Result<u8, Error> {
    for text in client.follow(name)? {
        if let Err(code) = print(&text?) {
            return Ok(code);
        }
    }
    Ok(0)
}

pub(crate) fn events(client: &Client) -> Result<u8, Error> {
    for event in client.events()? {
        if let Err(code) = print(&format!("{}\n", event?)) {
            return Ok(code);
        }
    }
    Ok(0)
}

pub(crate) fn health(client: &Client, json: bool) -> Result<u8, Error> {
    let health = client.health()?;
    let text = match json {
        true => format!("{health:#}\n"),
        false => {
            health.problems.iter().map(|it| format!("{}: {}\n", it.service, it.problem)).collect()
        }
    };
    let printed = print(&text);
    Ok(if health.healthy { printed.err().unwrap_or(0) } else { REFUSED })
}

/// Prints the table at each event, and every second, until the init ends.
pub(crate) fn watch(client: &Client) -> Result<u8, Error> {
    let mut events = client.events()?;
    loop {
        let status = match client.status() {
            Err(error) if error.kind() == ErrorKind::Closed => return Ok(0),
            status => status?,
        };
        let screen = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        if let Err(code) = print(&format!("{screen}{}", table(&status, is_colourful()))) {
            return Ok(code);
        }
        if events.batch(REDRAW)?.is_none() {
            return Ok(0);
        }
    }
}

pub(crate) fn status(status: &Status) -> String {
    table(status, is_colourful())
}

fn is_colourful() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn table(status: &Status, colour: bool) -> String {
    let heads = ["SERVICE", "STATE", "PID", "UPTIME", "RESTARTS", "LAST EXIT", "MEMORY", "CPU", ""];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(status.services.iter().map(row));
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len() - 1).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let is_state = colour && column == 1 && number > 0;
            let state = StateKind::from_word(cell).filter(|_| is_state);
            match state.and_then(colour_of) {
                Some(code) => drop(write!(line, "\x1b[{code}m{cell:width$}\x1b[0m  ")),
                None => drop(write!(line, "{cell:width$}  ")),
            }
        }
        line.push_str(&row[heads.len() - 1]);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn colour_of(state: StateKind) -> Option<u8> {
    match state {
        StateKind::Ready | StateKind::Done => Some(32),
        StateKind::Failed | StateKind::Killed => Some(31),
        StateKind::Stopped | StateKind::NeverStarted => None,
        _ => Some(33),
    }
}

fn row(service: &ServiceStatus) -> [String; 9] {
    fn or_dash<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
        value.map_or_else(|| "-".to_owned(), text)
    }
    let code = service.last_exit_code.map(|code| code.to_string());
    let last_exit = code.or_else(|| Some(service.last_exit_signal?.to_string()));
    let state = service.state.word();
    let more = service.problem.as_ref().filter(|problem| *problem != state);
    [
        service.name.clone(),
        state.to_owned(),
        or_dash(service.pid, |pid| pid.to_string()),
        or_dash(service.uptime, span),
        service.restarts.to_string(),
        or_dash(last_exit, |exit| exit),
        or_dash(service.memory_bytes, |bytes| format!("{:.1} MB", bytes as f64 / 1e6)),
        or_dash(service.cpu_seconds, |seconds| format!("{seconds:.2} s")),
        more.or(service.says.as_ref()).cloned().unwrap_or_default(),
    ]
}

fn span(span: Duration) -> String {
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

pub(crate) fn changes(reloaded: &Reloaded) -> String {
    let Reloaded { started, restarted, stopped, .. } = reloaded;
    let lines = [("started", started), ("restarted", restarted), ("stopped", stopped)];
    let lines = lines.iter().filter(|(_, names)| !names.is_empty());
    let text: String =
        lines.map(|(word, names)| format!("{word}: {}\n", names.join(", "))).collect();
    if text.is_empty() { "nothing has changed\n".to_owned() } else { text }
}

pub(crate) fn graph(graph: &Graph) -> String {
    let mut text = String::new();
    if graph.in_file_order {
        text.push_str("in the file's order:\n");
    }
    for service in &graph.services {
        let is_weak = |name: &&String| !service.requires.contains(*name);
        let only_after: Vec<String> = service.after.iter().filter(is_weak).cloned().collect();
        text.push_str(&service.name);
        for (word, names) in [("requires", &service.requires), ("after", &only_after)] {
            if !names.is_empty() {
                let _ = write!(text, "  {word} {}", names.join(", "));
            }
        }
        text.push('\n');
    }
    text
}
