//! The modules of the program, and which imports which.

use std::collections::{BTreeMap, BTreeSet};

use super::text;

/// What one file says.
pub(crate) struct Module {
    /// Its path below `src`.
    pub(crate) file: String,
    /// The modules of the program that it names, apart from those that it is a part of.
    pub(crate) imports: BTreeSet<String>,
    /// The paths that it names elsewhere.
    pub(crate) foreign: BTreeSet<String>,
}

/// By name: `bundle/toml` is `bundle/toml.rs`; the root of the library is empty, and the program is
/// `bin` and what is below.
pub(crate) type Modules = BTreeMap<String, Module>;

/// The modules of these files: the path of each below `src`, and its text.
pub(crate) fn modules(files: &[(String, String)]) -> Modules {
    let names: BTreeSet<String> = files.iter().map(|(file, _)| name(file)).collect();
    let module = |(file, text): &(String, String)| {
        let this = name(file);
        let (mut imports, mut foreign) = (BTreeSet::new(), BTreeSet::new());
        for path in text::paths(text) {
            match resolved(&this, &path, &names) {
                Some(other) if !is_within(&this, &other) => drop(imports.insert(other)),
                Some(_) => {}
                None => drop(foreign.insert(path.join("::").trim_start_matches(':').to_owned())),
            }
        }
        (this, Module { file: file.clone(), imports, foreign })
    };
    files.iter().map(module).collect()
}

/// Whether a module is this one, or a part of it.
pub(crate) fn is_within(module: &str, whole: &str) -> bool {
    let rest = module.strip_prefix(whole);
    whole.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The modules of one cycle, the first of them also at its end.
pub(crate) fn cycle(modules: &Modules) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    modules.keys().find_map(|module| walk(module, modules, &mut Vec::new(), &mut done))
}

fn walk<'a>(
    module: &'a str,
    modules: &'a Modules,
    way: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<String>> {
    if let Some(begin) = way.iter().position(|other| *other == module) {
        return Some(way[begin..].iter().chain([&module]).map(|name| name.to_string()).collect());
    }
    if !done.contains(module) {
        way.push(module);
        for other in &modules.get(module)?.imports {
            let cycle = walk(other, modules, way, done);
            if cycle.is_some() {
                return cycle;
            }
        }
        way.pop();
        done.insert(module);
    }
    None
}

fn name(file: &str) -> String {
    match file.trim_end_matches(".rs").strip_prefix("bin/sidecar-init/") {
        Some("main") => "bin".to_owned(),
        Some(name) => format!("bin/{name}"),
        None if file == "lib.rs" => String::new(),
        None => file.trim_end_matches(".rs").to_owned(),
    }
}

/// The module that a path leads to; `None`: it leads out of the program.
fn resolved(this: &str, path: &[String], names: &BTreeSet<String>) -> Option<String> {
    let root = if is_within(this, "bin") { "bin" } else { "" };
    let parent = |module: &str| module.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
    let below = |module: &str, word: &str| match module {
        "" => word.to_owned(),
        _ => format!("{module}/{word}"),
    };
    let mut place = match &**path.first()? {
        "crate" => root.to_owned(),
        "sidecar_init" => String::new(),
        "super" | "self" => this.to_owned(),
        word => names.contains(&below(this, word)).then(|| this.to_owned())?,
    };
    for word in path {
        match &**word {
            "super" => place = parent(&place),
            "crate" | "self" | "sidecar_init" => {}
            word if names.contains(&below(&place, word)) => place = below(&place, word),
            _ => break,
        }
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invented(files: &[(&str, &str)]) -> Modules {
        let owned = |(file, text): &(&str, &str)| (file.to_string(), text.to_string());
        modules(&files.iter().map(owned).collect::<Vec<_>>())
    }

    fn imports(modules: &Modules, name: &str) -> Vec<String> {
        modules[name].imports.iter().cloned().collect()
    }

    #[test]
    fn a_path_is_followed_to_its_module() {
        let modules = invented(&[
            ("lib.rs", "pub mod a; mod c; pub use c::X;"),
            ("a.rs", "mod b; use b::B; fn f() { crate::c::g(std::process::id()) }"),
            ("a/b.rs", "use super::{A, d::D}; use crate::X; use c::Y;"),
            ("a/d.rs", "use super::super::c; fn f(x: super::b::B) {}"),
            ("c.rs", ""),
            ("bin/sidecar-init/main.rs", "mod run; use sidecar_init::a::b::B;"),
            ("bin/sidecar-init/run.rs", "use crate::other; use sidecar_init::c;"),
        ]);
        assert_eq!(imports(&modules, "a"), ["a/b", "c"]);
        assert_eq!(imports(&modules, "a/b"), ["a/d"]);
        assert_eq!(imports(&modules, "a/d"), ["a/b", "c"]);
        assert_eq!(imports(&modules, "bin"), ["a/b"]);
        assert_eq!(imports(&modules, "bin/run"), ["c"]);
        assert_eq!(modules["a/b"].foreign.iter().collect::<Vec<_>>(), ["c::Y"]);
        assert_eq!(modules["a"].foreign.iter().collect::<Vec<_>>(), ["std::process::id"]);
    }

    #[test]
    fn a_cycle_is_found_and_named() {
        let modules = invented(&[
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "fn f() -> super::c::d::D {}"),
            ("c.rs", "mod d;"),
            ("c/d.rs", "use {super::C, crate::{a}};"),
        ]);
        assert_eq!(cycle(&modules).unwrap().join(" -> "), "a -> b -> c/d -> a");
        let modules =
            invented(&[("a.rs", "use crate::{b, c};"), ("b.rs", "use crate::c;"), ("c.rs", "")]);
        assert_eq!(cycle(&modules), None, "two ways are no cycle");
    }
}
