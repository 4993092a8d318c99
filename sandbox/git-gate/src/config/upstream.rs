//! The tables `[[upstream]]`: what is mirrored, and who the other side has to be.

use std::ops::Range;

use strict_toml::{DeTable, Diagnostics, Placed, Section};

use super::values::{line, path};
use super::{Protocol, Ssh, Upstream, address};

pub(super) const KEYS: [&str; 5] = ["name", "url", "key", "known-hosts", "default-branch"];

pub(super) fn upstreams<'text>(
    tables: &[(&DeTable<'text>, Range<usize>)],
    protocols: &[Protocol],
    diagnostics: &mut Diagnostics<'text>,
) -> Vec<Upstream> {
    let mut upstreams = Vec::<Upstream>::new();
    for (table, span) in tables {
        let mut section = Section::new(table, "[[upstream]]", diagnostics);
        let Some((upstream, name)) = upstream(&mut section, span.clone(), protocols) else {
            continue;
        };
        // Where names differ only in case, a file system may give both the same mirror.
        if upstreams.iter().any(|other| other.name.eq_ignore_ascii_case(&upstream.name)) {
            let message = format!("a second upstream with the name \"{}\"", upstream.name);
            section.report(name, message);
        }
        upstreams.push(upstream);
    }
    upstreams
}

fn upstream(
    section: &mut Section,
    span: Range<usize>,
    protocols: &[Protocol],
) -> Option<(Upstream, Range<usize>)> {
    section.only(&KEYS, &[]);
    for key in ["name", "url"] {
        if section.get(key).is_none() {
            section.report(span.clone(), format!("this [[upstream]] has no `{key}`"));
        }
    }
    let name = name(section);
    let url = url(section, protocols);
    let branch = default_branch(section);
    let key = path(section, "key");
    let known_hosts = path(section, "known-hosts");
    let (url, protocol) = url?;
    let ssh = match (protocol, key, known_hosts) {
        (Protocol::Ssh, Some(key), Some(known_hosts)) => Some(Ssh { key, known_hosts }),
        (Protocol::Ssh, _, _) => {
            for key in ["key", "known-hosts"] {
                if section.get(key).is_none() {
                    let message = format!("this [[upstream]] has no `{key}`, which ssh needs");
                    section.report(span.clone(), message);
                }
            }
            return None;
        }
        (_, None, None) => None,
        (_, _, _) => {
            section.report(span, "`key` and `known-hosts` are for ssh upstreams only");
            return None;
        }
    };
    let name = name?;
    let upstream = Upstream { name: name.value.to_owned(), url, ssh, default_branch: branch };
    Some((upstream, name.span))
}

/// It becomes the name of a folder, and a word in the file of approved fingerprints.
fn name<'a>(section: &mut Section<'a, '_, '_>) -> Option<Placed<&'a str>> {
    let name = line(section, "name")?;
    let is_fine = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let fits = name.value.chars().all(is_fine)
        && name.value.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.value.len() <= 100
        && !name.value.ends_with(".git")
        && !name.value.ends_with(".lock");
    if fits {
        return Some(name);
    }
    let message = "`name` begins with a letter or a digit and goes on with those, - _ and .; \
                   it does not end in .git, which the gate adds";
    section.report(name.span, message);
    None
}

fn url(section: &mut Section, protocols: &[Protocol]) -> Option<(String, Protocol)> {
    let url = line(section, "url")?;
    match address::protocol(url.value) {
        Ok(protocol) if protocols.contains(&protocol) => Some((url.value.to_owned(), protocol)),
        Ok(protocol) => {
            let name = protocol.name();
            let message =
                format!("`url` is a {name} one, and `protocols` does not have \"{name}\"");
            section.report(url.span, message);
            None
        }
        Err(problem) => {
            section.report(url.span, format!("`url` {problem}"));
            None
        }
    }
}

/// Of git's rules for names (git-check-ref-format(1)) those that people meet; git has the others.
fn default_branch(section: &mut Section) -> Option<String> {
    let branch = line(section, "default-branch")?;
    let name = branch.value;
    let is_bad = |letter: char| letter.is_whitespace() || "~^:?*[\\".contains(letter);
    if name.contains(is_bad) || name.starts_with(['-', '/']) || name.contains("..") {
        section.report(branch.span, "`default-branch` is the name of a branch, like \"main\"");
        return None;
    }
    Some(name.strip_prefix("refs/heads/").unwrap_or(name).to_owned())
}
