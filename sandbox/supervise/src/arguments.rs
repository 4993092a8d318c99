//! From argv to what is asked for.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

pub(crate) const HELP: &str = "\
supervise: takes an agent's requests for more access, and your decisions on them

usage:
  supervise serve                  the MCP server for the agent
  supervise list [--all]           what waits for you, and what went wrong with the sidecars
  supervise show ID                one proposal, and what would change
  supervise approve ID             do it: change the files, reload, make sure, tell the agent
  supervise reject ID              do not
  supervise watch                  what comes in, live
  supervise pipelock-config [HOST...]
                                   print a pipelock.yaml that allows these hosts
  supervise pipelock-config --check FILE
                                   whether a pipelock.yaml is closed; if not, exit code 78

options:
  -n, --note TEXT                  approve, reject: what to tell the agent
  -y, --yes                        approve: do not ask; needed without a terminal and with --json
      --expect DIGEST              approve: only if it is still what show showed, with this digest
  -a, --all                        list: what was decided, too
      --routes FILE                pipelock-config: and the hosts of this routes.yaml; - is stdin
      --check FILE                 pipelock-config: print nothing, check this one; - is stdin
      --json                       list, show, approve, reject, watch: for programs
  -h, --help
  -V, --version

An ID can be shortened, as long as it is clear which one is meant.
";

/// What the user wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Help,
    Version,
    Serve,
    List { json: bool, all: bool },
    Show { id: String, json: bool },
    Approve(Choice),
    Reject(Choice),
    Watch { json: bool },
    PipelockConfig { routes: Option<PathBuf>, hosts: Vec<String> },
    PipelockCheck { file: PathBuf },
}

/// A decision.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) id: String,
    pub(crate) note: Option<String>,
    pub(crate) yes: bool,
    /// The digest of what was shown.
    pub(crate) expect: Option<String>,
    pub(crate) json: bool,
}

#[derive(Default)]
struct Given {
    words: Vec<String>,
    note: Option<String>,
    routes: Option<PathBuf>,
    check: Option<PathBuf>,
    yes: bool,
    expect: Option<String>,
    all: bool,
    json: bool,
}

/// Reads the arguments, the program's name first.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Request, String> {
    let mut parser = Parser::from_iter(arguments);
    let mut given = Given::default();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Request::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Request::Version),
            Arg::Short('n') | Arg::Long("note") => given.note = Some(text(parser.value())?),
            Arg::Short('y') | Arg::Long("yes") => given.yes = true,
            Arg::Long("expect") => given.expect = Some(text(parser.value())?),
            Arg::Short('a') | Arg::Long("all") => given.all = true,
            Arg::Long("routes") => given.routes = Some(path(parser.value())?),
            Arg::Long("check") => given.check = Some(path(parser.value())?),
            Arg::Long("json") => given.json = true,
            Arg::Value(word) => given.words.push(text(Ok(word))?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    request(given)
}

fn text(value: Result<OsString, lexopt::Error>) -> Result<String, String> {
    value.and_then(|value| value.string()).map_err(|error| error.to_string())
}

fn path(value: Result<OsString, lexopt::Error>) -> Result<PathBuf, String> {
    value.map(PathBuf::from).map_err(|error| error.to_string())
}

fn request(given: Given) -> Result<Request, String> {
    let mut words = given.words.into_iter();
    let command = words.next().ok_or("a command is missing")?;
    let words: Vec<String> = words.collect();
    let most = match command.as_str() {
        "serve" | "list" | "watch" => 0,
        "show" | "approve" | "reject" => 1,
        "pipelock-config" => usize::MAX,
        other => return Err(format!("'{other}' is no command")),
    };
    match words.get(most) {
        Some(word) if most == 0 => return Err(format!("unexpected '{word}' after {command}")),
        Some(word) => return Err(format!("unexpected '{word}'; one proposal at a time")),
        None if most == 1 && words.is_empty() => {
            return Err(format!("{command} needs the id of a proposal"));
        }
        None => {}
    }
    let command = command.as_str();
    let decides = matches!(command, "approve" | "reject");
    for (option, is_given, fits) in [
        ("--note", given.note.is_some(), decides),
        ("--yes", given.yes, command == "approve"),
        ("--expect", given.expect.is_some(), command == "approve"),
        ("--all", given.all, command == "list"),
        ("--routes", given.routes.is_some(), command == "pipelock-config"),
        ("--check", given.check.is_some(), command == "pipelock-config"),
        ("--json", given.json, !matches!(command, "serve" | "pipelock-config")),
    ] {
        if is_given && !fits {
            return Err(format!("{option} does not go with {command}"));
        }
    }
    if given.check.is_some() && (given.routes.is_some() || !words.is_empty()) {
        return Err("--check goes with neither hosts nor --routes".to_owned());
    }
    let Given { note, routes, check, yes, expect, all, json, .. } = given;
    let id = words.first().cloned().unwrap_or_default();
    Ok(match command {
        "pipelock-config" => match check {
            Some(file) => Request::PipelockCheck { file },
            None => Request::PipelockConfig { routes, hosts: words },
        },
        "serve" => Request::Serve,
        "list" => Request::List { json, all },
        "watch" => Request::Watch { json },
        "show" => Request::Show { id, json },
        "approve" => Request::Approve(Choice { id, note, yes, expect, json }),
        _ => Request::Reject(Choice { id, note, yes, expect, json }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Request, String> {
        super::parse(std::iter::once(&"supervise").chain(words).map(OsString::from).collect())
    }

    #[test]
    fn commands_are_read() {
        assert_eq!(parse(&["serve"]), Ok(Request::Serve));
        assert_eq!(parse(&["list", "--all"]), Ok(Request::List { json: false, all: true }));
        let note = Some("no".to_owned());
        assert_eq!(
            parse(&["reject", "-n", "no", "ab"]),
            Ok(Request::Reject(Choice {
                id: "ab".to_owned(),
                note,
                yes: false,
                expect: None,
                json: false
            }))
        );
        assert_eq!(parse(&["whatever", "--help"]), Ok(Request::Help));
        let hosts = vec!["a.example.com".to_owned(), "b.example.com".to_owned()];
        let routes = Some(PathBuf::from("-"));
        assert_eq!(
            parse(&["pipelock-config", "a.example.com", "--routes", "-", "b.example.com"]),
            Ok(Request::PipelockConfig { routes, hosts })
        );
        let file = PathBuf::from("x");
        assert_eq!(
            parse(&["pipelock-config", "--check", "x"]),
            Ok(Request::PipelockCheck { file })
        );
    }

    #[test]
    fn mistakes_are_told() {
        for (words, expected) in [
            (&[][..], "a command is missing"),
            (&["stop"], "'stop' is no command"),
            (&["show"], "needs the id"),
            (&["approve", "a", "b"], "one proposal at a time"),
            (&["serve", "x"], "unexpected 'x'"),
            (&["serve", "--json"], "--json does not go with serve"),
            (&["show", "a", "--yes"], "--yes does not go with show"),
            (&["reject", "a", "--expect", "x"], "--expect does not go with reject"),
            (&["list", "--nope"], "--nope"),
            (&["list", "--routes", "x"], "--routes does not go with list"),
            (&["pipelock-config", "--json"], "--json does not go with pipelock-config"),
            (&["pipelock-config", "--routes"], "--routes"),
            (&["list", "--check", "x"], "--check does not go with list"),
            (&["pipelock-config", "--check", "x", "a.example.com"], "neither hosts nor --routes"),
            (&["pipelock-config", "--check", "x", "--routes", "y"], "neither hosts nor --routes"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(expected), "{words:?}: {error}");
        }
    }
}
