//! What ARCHITECTURE.md says of the modules.

use std::collections::BTreeMap;

use super::modules::{Modules, is_within};

/// What is compared with the program.
pub(crate) struct Document {
    /// From the top down, by the first parts of the names of modules.
    layers: Vec<Vec<String>>,
    /// By a file, or by a folder with a slash at its end: whether it is pure.
    map: BTreeMap<String, bool>,
}

/// What a pure module has nothing to do with...
const IMPURE: [&str; 12] = [
    "libc",
    "mio",
    "rustix",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::os",
    "std::process",
    "std::sync::mpsc",
    "std::thread",
    "tempfile",
];
/// ...apart from data, and what makes bytes of a name.
const DATA: [&str; 6] = [
    "rustix::thread::CapabilitySet",
    "std::net::IpAddr",
    "std::net::Ipv4Addr",
    "std::net::Ipv6Addr",
    "std::net::SocketAddr",
    "std::os::unix::ffi",
];

impl Document {
    pub(crate) fn parse(text: &str) -> Document {
        let begin = text.find("Layers import downwards only").expect("the layers");
        let block = text[begin..].split("```").nth(1).expect("the block of the layers");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        let layers = block.lines().skip(1).map(words).collect();
        let table = text.split("\n## Code map\n").nth(1).expect("the code map");
        let table = table.split("\n## ").next().unwrap_or_default();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
        let row = |(paths, what): (&str, &str)| {
            let is_pure = what.trim_end_matches(" |").ends_with("[pure]");
            let paths: Vec<String> =
                paths.split("`, `").flat_map(|path| expanded(path.trim_end_matches('`'))).collect();
            paths.into_iter().map(move |path| (path, is_pure))
        };
        Document { layers, map: rows.flat_map(row).collect() }
    }

    /// Everything that is not as it is said here.
    pub(crate) fn contradictions(&self, modules: &Modules) -> Vec<String> {
        let mut found = self.of_layers(modules);
        found.extend(self.of_code_map(modules));
        for (name, module) in modules {
            if self.is_pure(&module.file) != Some(true) {
                continue;
            }
            let is_data = |path: &str| DATA.iter().any(|data| begins_with(path, data));
            let impure = module.foreign.iter().filter(|path| {
                path.ends_with("Instant::now")
                    || path.ends_with("SystemTime::now")
                    || IMPURE.iter().any(|impure| begins_with(path, impure)) && !is_data(path)
            });
            found.extend(impure.map(|path| format!("{name} is to be pure, and names {path}")));
            let others = module.imports.iter().filter(|other| {
                modules.get(*other).and_then(|other| self.is_pure(&other.file)) != Some(true)
            });
            found.extend(
                others.map(|other| {
                    format!("{name} is to be pure, and imports {other}, which is not")
                }),
            );
        }
        found
    }

    fn of_layers(&self, modules: &Modules) -> Vec<String> {
        let layer = |name: &str| {
            self.layers.iter().position(|layer| layer.iter().any(|part| is_within(name, part)))
        };
        let mut found = Vec::new();
        for (name, module) in modules.iter().filter(|(name, _)| !name.is_empty()) {
            let Some(own) = layer(name) else {
                found.push(format!("{name} is in none of the layers"));
                continue;
            };
            let part = name.split('/').next().unwrap_or_default();
            let outside = module.imports.iter().filter(|other| !is_within(other, part));
            let upwards = outside.filter(|other| layer(other).is_some_and(|other| other <= own));
            found.extend(
                upwards
                    .map(|other| format!("{name} imports {other}, which is not in a lower layer")),
            );
        }
        let there = |part: &&String| modules.contains_key(&**part);
        let gone = self.layers.iter().flatten().filter(|part| !there(part));
        found.extend(gone.map(|part| format!("the layers have {part}, which is no module")));
        found
    }

    fn of_code_map(&self, modules: &Modules) -> Vec<String> {
        let files = || modules.values().map(|module| &module.file).filter(|file| *file != "lib.rs");
        let missing = files().filter(|file| self.is_pure(file).is_none());
        let missing = missing.map(|file| format!("the code map does not have src/{file}"));
        let is_gone = |path: &&String| !files().any(|file| file.starts_with(path.as_str()));
        let gone = self.map.keys().filter(is_gone);
        missing
            .chain(gone.map(|path| format!("the code map has src/{path}, which is not there")))
            .collect()
    }

    /// What the code map says of this file; `None`: nothing.
    fn is_pure(&self, file: &str) -> Option<bool> {
        let fits = |path: &&String| {
            *path == file || path.ends_with('/') && file.starts_with(path.as_str())
        };
        let best = self.map.keys().filter(fits).max_by_key(|path| path.len())?;
        self.map.get(best).copied()
    }
}

/// Whether the path is this one, or begins with it.
pub(crate) fn begins_with(path: &str, begin: &str) -> bool {
    path.strip_prefix(begin).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The paths below `src` that `src/{a,b}.rs` stands for.
fn expanded(path: &str) -> Vec<String> {
    let Some(path) = path.strip_prefix("src/") else { return Vec::new() };
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (names, after))) => {
            names.split(',').map(|name| format!("{before}{name}{after}")).collect()
        }
        None => vec![path.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::modules;

    const TEXT: &str = "\n## Code map\n\n| path | what it is |\n|---|---|\n\
        | `src/a.rs`, `src/a/` | one [pure] |\n| `src/a/{x,y}.rs` | two |\n| `src/b.rs` | three [pure] |\n\n\
        Layers import downwards only:\n\n```\na\nb\n```\n";

    fn contradictions(files: &[(&str, &str)]) -> Vec<String> {
        let owned = |(file, text): &(&str, &str)| (file.to_string(), text.to_string());
        let files: Vec<_> = files.iter().map(owned).collect();
        Document::parse(TEXT).contradictions(&modules(&files))
    }

    #[test]
    fn a_program_as_it_is_described_is_right() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b; use std::net::SocketAddr; use std::time::Instant;"),
            ("a/x.rs", "use std::{fs, net::TcpStream};"),
            ("a/y.rs", "use super::z::Z;"),
            ("a/z.rs", "use super::A;"),
            ("b.rs", "#[cfg(test)] mod tests { use crate::a; use std::fs; }"),
        ];
        assert_eq!(contradictions(&files), [""; 0]);
    }

    #[test]
    fn what_is_otherwise_is_said() {
        let files = [
            ("a.rs", "use std::{time::Instant, thread}; fn f() { Instant::now(); libc::getpid() }"),
            ("a/x.rs", ""),
            ("a/z.rs", "fn f(x: super::x::X) {}"),
            ("b.rs", "use crate::a::z;"),
            ("c.rs", ""),
        ];
        assert_eq!(
            contradictions(&files),
            [
                "b imports a/z, which is not in a lower layer",
                "c is in none of the layers",
                "the code map does not have src/c.rs",
                "the code map has src/a/y.rs, which is not there",
                "a is to be pure, and names Instant::now",
                "a is to be pure, and names libc::getpid",
                "a is to be pure, and names std::thread",
                "a/z is to be pure, and imports a/x, which is not",
            ]
        );
        let gone = contradictions(&[("a.rs", ""), ("a/x.rs", ""), ("a/y.rs", "")]);
        assert_eq!(
            gone,
            [
                "the layers have b, which is no module",
                "the code map has src/b.rs, which is not there"
            ]
        );
    }
}
