//! The command line. Pure but for the variables that it asks for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser};

use crate::config::{DEFAULT_FILE, FILE_VARIABLE};
use crate::filter;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
git-gate: a transparent mirror of git repositories. Every fetch first fetches from
upstream; every push is scanned for secrets before any of it goes on to upstream.

Usage:
  git-gate serve [-f FILE]     make the mirrors, and serve them over git:// and HTTP
  git-gate check [-f FILE]     say what is wrong with the configuration, or nothing

Options:
  -f, --file FILE   the configuration [default: /etc/git-gate/upstreams.toml]
                    [env: GIT_GATE_CONFIG]
  -h, --help        print this
  -V, --version     print the version

Exit codes: 0 ended by TERM or INT; 64 wrong usage; 78 wrong configuration, or
something that it names is missing or in use.
";

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Serve(PathBuf),
    Check(PathBuf),
    /// git daemon's access hook, with the hook's arguments.
    Access(Vec<OsString>),
    /// The same for smart HTTP.
    Refresh(Vec<OsString>),
    PreReceive,
    /// git, as git daemon and git-http-backend call it.
    Git(Vec<OsString>),
    /// Keeps the lock of a mirror.
    HoldLock,
    Help,
    Version,
}

/// Reads the arguments; the first is the name by which we were called, which for hooks says all.
/// `file` is what the variable says of the configuration.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    file: Option<OsString>,
) -> Result<Request, String> {
    let mut arguments = arguments.into_iter();
    let called = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    match Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("access") => return Ok(Request::Access(arguments)),
        Some("pre-receive") => return Ok(Request::PreReceive),
        Some(filter::NAME) => return Ok(Request::Git(arguments)),
        _ => {}
    }
    match arguments.first().and_then(|word| word.to_str()) {
        Some("refresh") => return Ok(Request::Refresh(arguments[1..].to_vec())),
        Some("hold-lock") => return Ok(Request::HoldLock),
        _ => {}
    }
    let mut parser = Parser::from_args(arguments);
    let mut mode = None;
    let mut file = file.filter(|file| !file.is_empty()).map(PathBuf::from);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Request::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Request::Version),
            Arg::Short('f') | Arg::Long("file") => {
                file = Some(parser.value().map_err(|_| "--file needs a value")?.into());
            }
            Arg::Value(word) if mode.is_none() && word == "serve" => mode = Some(true),
            Arg::Value(word) if mode.is_none() && word == "check" => mode = Some(false),
            other => return Err(other.unexpected().to_string()),
        }
    }
    let file = file.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    match mode {
        Some(true) => Ok(Request::Serve(file)),
        Some(false) => Ok(Request::Check(file)),
        None => Err(format!("say what to do: serve or check; {FILE_VARIABLE} or -f has the file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(words: &[&str], file: Option<&str>) -> Result<Request, String> {
        parse(words.iter().map(OsString::from), file.map(OsString::from))
    }

    #[test]
    fn the_file_is_given_or_known() {
        let default = PathBuf::from("/etc/git-gate/upstreams.toml");
        assert_eq!(ask(&["git-gate", "serve"], None), Ok(Request::Serve(default.clone())));
        assert_eq!(ask(&["git-gate", "check"], Some("")), Ok(Request::Check(default)));
        assert_eq!(ask(&["git-gate", "serve"], Some("/a")), Ok(Request::Serve("/a".into())));
        let given = ask(&["git-gate", "-f", "/b", "serve"], Some("/a"));
        assert_eq!(given, Ok(Request::Serve("/b".into())));
    }

    #[test]
    fn hooks_are_known_by_their_name() {
        let arguments = vec![OsString::from("upload-pack"), OsString::from("/git/app.git")];
        let words = ["/git/.git-gate/hooks/access", "upload-pack", "/git/app.git"];
        assert_eq!(ask(&words, None), Ok(Request::Access(arguments)));
        assert_eq!(ask(&["hooks/pre-receive"], None), Ok(Request::PreReceive));
        let arguments = vec![OsString::from("receive-pack"), OsString::from(".")];
        assert_eq!(ask(&["git", "receive-pack", "."], None), Ok(Request::Git(arguments)));
        assert_eq!(ask(&["git-gate", "hold-lock"], None), Ok(Request::HoldLock));
    }

    #[test]
    fn the_rest_is_refused() {
        for words in [&["git-gate"][..], &["git-gate", "x"], &["git-gate", "serve", "check"]] {
            assert!(ask(words, None).is_err(), "{words:?}");
        }
        assert!(ask(&["git-gate", "serve", "--port", "1"], None).is_err());
        assert_eq!(ask(&["git-gate", "--help"], None), Ok(Request::Help));
    }
}
