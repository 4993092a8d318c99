//! Which variables a service gets. Pure.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use strict_toml::MOST_SHOWN;

use super::{Environment, pattern};

/// A list of variables and their values.
pub type Variables = Vec<(OsString, OsString)>;
/// The same, borrowed.
pub type Borrowed<'a> = Vec<(&'a OsStr, &'a OsStr)>;

/// The variables that a service does not inherit: those of its files, then those that the bundle sets;
/// the last value of a name wins.
pub fn own<'a>(environment: &'a Environment, files: &'a [Arc<Variables>]) -> Borrowed<'a> {
    let set = environment.set.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
    let in_files = files.iter().flat_map(|file| file.iter());
    let mut all: Borrowed = in_files.map(|(name, value)| (&**name, &**value)).chain(set).collect();
    let mut seen = BTreeSet::new();
    all.reverse();
    all.retain(|(name, _)| seen.insert(*name));
    all.reverse();
    all
}

/// Whether the service inherits a variable with this name, if nothing replaces it.
pub fn is_inherited(environment: &Environment, name: &OsStr) -> bool {
    let fits = |pattern: &String| pattern::matches(pattern, name.as_bytes());
    environment.pass.as_ref().is_none_or(|pass| pass.iter().any(fits))
        && !environment.drop.iter().any(fits)
}

/// Parses `NAME=value` lines. Skips blank lines and those that begin with `#`, allows `export ` in
/// front, and removes quotes around a whole value. Expands nothing. Each error names file and line;
/// after a limit, one last error has the number of the others.
pub fn parse_file(file: &str, text: &str) -> Result<Variables, Vec<String>> {
    let (mut variables, mut errors) = (Vec::new(), Vec::new());
    let mut more = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let assignment = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let parts = assignment
            .split_once('=')
            .map(|(name, value)| (name.trim_end(), value.trim_start()))
            .filter(|(name, _)| !name.is_empty() && !line.contains('\0'));
        match parts {
            Some((name, value)) => variables.push((name.into(), unquoted(value).into())),
            None if errors.len() == MOST_SHOWN => more += 1,
            None => errors.push(format!("{file}:{number}: not a variable; write NAME=value")),
        }
    }
    if more > 0 {
        errors.push(format!("{file}: {more} more lines are not variables"));
    }
    if errors.is_empty() { Ok(variables) } else { Err(errors) }
}

fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn inherited(environment: &Environment) -> Vec<&'static str> {
        let mut names = vec!["PATH", "EGRESS_TOKEN_1", "EGRESS_PORT", "HOME"];
        names.retain(|name| is_inherited(environment, OsStr::new(name)));
        names
    }

    #[test]
    fn everything_is_passed_unless_told_otherwise() {
        let all = ["PATH", "EGRESS_TOKEN_1", "EGRESS_PORT", "HOME"];
        assert_eq!(inherited(&Environment::default()), all);
    }

    #[test]
    fn pass_and_drop_lists_take_patterns() {
        let environment = Environment {
            pass: Some(vec!["PATH".to_owned(), "EGRESS_*".to_owned()]),
            drop: vec!["EGRESS_TOKEN_*".to_owned()],
            ..Environment::default()
        };
        assert_eq!(inherited(&environment), ["PATH", "EGRESS_PORT"]);
    }

    #[test]
    fn what_is_set_wins_over_files_and_the_last_file_over_others() {
        let environment =
            Environment { set: vec![("A".to_owned(), "set".to_owned())], ..Environment::default() };
        let files = [&[("A", "file"), ("B", "first"), ("B", "other")][..], &[("B", "file")]]
            .map(|file| Arc::new(variables(file)));
        let own = own(&environment, &files);
        let expected = [("B", "file"), ("A", "set")];
        assert_eq!(own, expected.map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
    }

    #[test]
    fn files_are_read_line_by_line() {
        let text = "# comment\n\nA=1\nexport B = \"two words\"\nC='x=y'\nD=\n";
        let expected = variables(&[("A", "1"), ("B", "two words"), ("C", "x=y"), ("D", "")]);
        assert_eq!(parse_file("env", text), Ok(expected));
        let errors = parse_file("env", "A=1\nnonsense\n=\n").unwrap_err();
        assert_eq!(errors[0], "env:2: not a variable; write NAME=value");
        assert!(errors[1].starts_with("env:3: "), "{errors:?}");
        let errors = parse_file("env", &"x\n".repeat(MOST_SHOWN + 7)).unwrap_err();
        assert_eq!(errors.len(), MOST_SHOWN + 1);
        assert_eq!(errors[MOST_SHOWN], "env: 7 more lines are not variables");
    }
}
