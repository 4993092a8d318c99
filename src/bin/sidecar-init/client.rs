//! Talks to a running init, and shows what it says.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sidecar_init::control::{DEFAULT_SOCKETS, SOCKET_VARIABLE};
use sidecar_init::error_text::error_text;
use sidecar_init::sys::peer;

use crate::client_arguments::{ClientRequest, View};
use crate::run::{complain, print};

/// The init said no; or it is not healthy.
const REFUSED: u8 = 1;
/// There is no init to talk to (`EX_UNAVAILABLE` of sysexits(3)).
const UNAVAILABLE: u8 = 69;
/// How often a watched status is drawn anew when nothing happens.
const REDRAW: Duration = Duration::from_secs(1);

/// Asks, shows the answer, and returns the code to exit with.
pub(crate) fn run(client: &ClientRequest) -> u8 {
    let result = match client.view {
        View::Status { watch: true } => watch(client),
        _ => ask(client),
    };
    result.unwrap_or_else(|error| {
        complain(&error);
        // For a health check there is but one way to say no.
        if client.view == View::Health { REFUSED } else { UNAVAILABLE }
    })
}

fn connect(client: &ClientRequest) -> Result<BufReader<UnixStream>, String> {
    let stream = match &client.socket {
        Some(socket) => UnixStream::connect(socket).map_err(|error| explain(socket, &error))?,
        None => connect_to_usual_place()?,
    };
    Ok(BufReader::new(stream))
}

/// At the usual places the init is PID 1. Containers of one pod may share such a place; the init
/// of another one has no pid here, or another one.
fn connect_to_usual_place() -> Result<UnixStream, String> {
    let mut refusal = None;
    for socket in DEFAULT_SOCKETS.map(PathBuf::from) {
        match UnixStream::connect(&socket) {
            Ok(stream) if is_pid_1(&stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                refusal.get_or_insert_with(|| explain(&socket, &error));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Err(refusal.unwrap_or_else(|| {
        format!(
            "no sidecar-init listens at {}; is a bundle running as PID 1? --socket or \
             {SOCKET_VARIABLE} name another place",
            DEFAULT_SOCKETS.join(" or ")
        )
    }))
}

fn is_pid_1(stream: &UnixStream) -> bool {
    peer::of_connection(stream.as_fd()).is_ok_and(|peer| peer.pid == Some(1))
}

fn explain(socket: &Path, error: &std::io::Error) -> String {
    let shown = socket.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
            "no sidecar-init listens at {shown}; is a bundle running? --socket or \
             {SOCKET_VARIABLE} name another place"
        ),
        ErrorKind::PermissionDenied => {
            format!("{shown} is for root and the user that sidecar-init runs as")
        }
        _ => format!("can't connect to {shown}: {}", error_text(error)),
    }
}

fn send(stream: &mut BufReader<UnixStream>, request: &Value) -> Result<(), String> {
    let line = format!("{request}\n");
    stream.get_mut().write_all(line.as_bytes()).map_err(lost)
}

fn receive(stream: &mut BufReader<UnixStream>) -> Result<Option<(String, Value)>, String> {
    let mut line = String::new();
    match stream.read_line(&mut line) {
        Ok(0) => Ok(None),
        Ok(_) => {
            let value = serde_json::from_str(&line)
                .map_err(|error| format!("an answer that is no JSON: {error}"))?;
            Ok(Some((line, value)))
        }
        Err(error) => Err(lost(error)),
    }
}

fn lost(error: std::io::Error) -> String {
    format!("the connection broke: {}", error_text(&error))
}

fn ask(client: &ClientRequest) -> Result<u8, String> {
    let mut stream = connect(client)?;
    send(&mut stream, &client.request)?;
    let Some((_, answer)) = receive(&mut stream)? else {
        return Err("sidecar-init closed the connection without an answer".to_owned());
    };
    if answer["ok"] != true {
        complain(answer["error"].as_str().unwrap_or("it did not say why"));
        return Ok(REFUSED);
    }
    let text = |value: &Value| value["text"].as_str().unwrap_or_default().to_owned();
    let printed = match client.view {
        View::Done => Ok(()),
        View::Status { .. } => print(&table(&answer, is_colourful())),
        View::Graph => print(&graph(&answer)),
        View::Changes => print(&changes(&answer)),
        View::Json => print(&format!("{answer:#}\n")),
        View::Text => print(&text(&answer)),
        View::Health => return Ok(health(&answer)),
        View::Follow => {
            let mut printed = print(&text(&answer));
            while printed.is_ok()
                && let Some((_, more)) = receive(&mut stream)?
            {
                printed = print(&text(&more));
            }
            printed
        }
        View::Lines => {
            let mut printed = Ok(());
            while printed.is_ok()
                && let Some((line, _)) = receive(&mut stream)?
            {
                printed = print(&line);
            }
            printed
        }
    };
    if let Err(code) = printed {
        return Ok(code);
    }
    Ok(if client.view == View::Json && answer["healthy"] == false { REFUSED } else { 0 })
}

fn health(answer: &Value) -> u8 {
    let problems = answer["problems"].as_array().cloned().unwrap_or_default();
    for problem in &problems {
        let text = |key: &str| problem[key].as_str().unwrap_or("?").to_owned();
        let _ = print(&format!("{}: {}\n", text("service"), text("problem")));
    }
    if problems.is_empty() { 0 } else { REFUSED }
}

/// Draws the table whenever something happens, and every second, until the init is gone.
fn watch(client: &ClientRequest) -> Result<u8, String> {
    let mut events = connect(client)?;
    send(&mut events, &json!({"command": "events"}))?;
    events.get_ref().set_read_timeout(Some(REDRAW)).map_err(lost)?;
    loop {
        let mut stream = connect(client)?;
        send(&mut stream, &client.request)?;
        let Some((_, answer)) = receive(&mut stream)? else { return Ok(0) };
        let screen = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        if let Err(code) = print(&format!("{screen}{}", table(&answer, is_colourful()))) {
            return Ok(code);
        }
        let mut line = String::new();
        match events.read_line(&mut line) {
            Ok(0) => return Ok(0),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(lost(error)),
        }
    }
}

fn is_colourful() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn table(answer: &Value, colour: bool) -> String {
    let heads = ["SERVICE", "STATE", "PID", "UPTIME", "RESTARTS", "LAST EXIT", "MEMORY", "CPU", ""];
    let mut rows = vec![heads.map(str::to_owned)];
    for service in answer["services"].as_array().into_iter().flatten() {
        rows.push(row(service));
    }
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len() - 1).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match colour_of(cell).filter(|_| colour && column == 1 && number > 0) {
                Some(code) => drop(write!(line, "\x1b[{code}m{cell:width$}\x1b[0m  ")),
                None => drop(write!(line, "{cell:width$}  ")),
            }
        }
        line.push_str(&row[heads.len() - 1]);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn colour_of(state: &str) -> Option<u8> {
    match state {
        "ready" | "done" => Some(32),
        "failed" | "killed" => Some(31),
        "starting" | "backoff" | "draining" | "stopping" | "waiting" => Some(33),
        _ => None,
    }
}

fn row(service: &Value) -> [String; 9] {
    let text = |key: &str| match &service[key] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let number = |key: &str| service[key].as_f64();
    let last_exit = match (&service["last_exit_code"], &service["last_exit_signal"]) {
        (Value::Null, Value::Null) => "-".to_owned(),
        (Value::Null, signal) => signal.as_str().unwrap_or("?").to_owned(),
        (code, _) => code.to_string(),
    };
    let more = service["problem"].as_str().filter(|problem| *problem != text("state"));
    [
        text("name"),
        text("state"),
        text("pid"),
        number("uptime_seconds").map_or("-".to_owned(), span),
        text("restarts"),
        last_exit,
        number("memory_bytes").map_or("-".to_owned(), |bytes| format!("{:.1} MB", bytes / 1e6)),
        number("cpu_seconds").map_or("-".to_owned(), |seconds| format!("{seconds:.2} s")),
        more.or(service["says"].as_str()).unwrap_or_default().to_owned(),
    ]
}

fn span(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(whole.as_secs())).to_string()
}

fn names(value: &Value) -> Vec<String> {
    let names = value.as_array().into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn changes(answer: &Value) -> String {
    let lines = ["started", "restarted", "stopped"].map(|word| (word, names(&answer[word])));
    let lines = lines.iter().filter(|(_, names)| !names.is_empty());
    let text: String =
        lines.map(|(word, names)| format!("{word}: {}\n", names.join(", "))).collect();
    if text.is_empty() { "nothing has changed\n".to_owned() } else { text }
}

fn graph(answer: &Value) -> String {
    let mut text = String::new();
    if answer["in_file_order"] == true {
        text.push_str("in the file's order:\n");
    }
    for service in answer["services"].as_array().into_iter().flatten() {
        let (after, requires) = (names(&service["after"]), names(&service["requires"]));
        let only_after: Vec<String> =
            after.into_iter().filter(|name| !requires.contains(name)).collect();
        let mut line = service["name"].as_str().unwrap_or("?").to_owned();
        for (word, names) in [("requires", requires), ("after", only_after)] {
            if !names.is_empty() {
                let _ = write!(line, "  {word} {}", names.join(", "));
            }
        }
        let _ = writeln!(text, "{line}");
    }
    text
}
