//! Talks to a running init, and shows what it says.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client_arguments::{ClientRequest, View};
use crate::connection::Connection;
use crate::run::{complain, print};

/// The init said no; or it is not healthy.
const REFUSED: u8 = 1;
/// There is no init to talk to, or it does not answer (`EX_UNAVAILABLE` of sysexits(3)).
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

fn connect(client: &ClientRequest) -> Result<Connection, String> {
    Connection::open(client.socket.as_deref(), client.limit)
}

fn ask(client: &ClientRequest) -> Result<u8, String> {
    let mut connection = connect(client)?;
    connection.send(&client.request)?;
    if client.waits {
        connection.be_patient();
    }
    let Some((_, answer)) = connection.receive()? else {
        return Err("sidecar-init closed the connection without an answer".to_owned());
    };
    connection.take_time();
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
                && let Some((_, more)) = connection.receive()?
            {
                printed = print(&text(&more));
            }
            printed
        }
        View::Lines => {
            let mut printed = Ok(());
            while printed.is_ok()
                && let Some((line, _)) = connection.receive()?
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
    events.send(&json!({"command": "events"}))?;
    loop {
        let mut connection = connect(client)?;
        connection.send(&client.request)?;
        let Some((_, answer)) = connection.receive()? else { return Ok(0) };
        let screen = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        if let Err(code) = print(&format!("{screen}{}", table(&answer, is_colourful()))) {
            return Ok(code);
        }
        if !events.wait(REDRAW)? {
            return Ok(0);
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
