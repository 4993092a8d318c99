//! Rust's text as words and signs, as far as it takes to know which paths it names.

/// A piece of a program. Comments, literals and lifetimes are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Separator,
    Sign(char),
}

use Token::{Separator, Sign, Word};

/// A path by its words. One that begins with `::` has an empty first word.
pub(crate) type Path = Vec<String>;

/// Whether the program has this word.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    tokens(text).contains(&Word(word.to_owned()))
}

/// The paths of two words or more in the text, those of `use` in full; without its tests.
pub(crate) fn paths(text: &str) -> Vec<Path> {
    let tokens = without_tests(&tokens(text));
    let (mut paths, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        match &tokens[at] {
            // Not `impl Trait + use<'a>`.
            Word(word) if word == "use" && tokens.get(at + 1) != Some(&Sign('<')) => {
                at = imports(&tokens, at + 1, &[], &mut paths);
            }
            Word(_) | Separator => {
                let mut path = Path::new();
                // Behind a `>` it goes on with a path whose beginning has been read.
                if tokens[at] == Separator && at > 0 && tokens[at - 1] == Sign('>') {
                    at += 1;
                    continue;
                }
                if tokens[at] == Separator {
                    path.push(String::new());
                    at += 1;
                }
                while let Some(Word(word)) = tokens.get(at) {
                    path.push(word.clone());
                    at += 1;
                    match (tokens.get(at), tokens.get(at + 1)) {
                        (Some(Separator), Some(Word(_))) => at += 1,
                        _ => break,
                    }
                }
                if tokens.get(at) == Some(&Separator) {
                    at += 1;
                }
                paths.push(path);
            }
            Sign(_) => at += 1,
        }
    }
    paths.retain(|path| path.len() > 1);
    paths
}

/// Reads one tree of `use`; where it ends.
fn imports(tokens: &[Token], mut at: usize, before: &[String], paths: &mut Vec<Path>) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(at) {
            Some(Separator) if path.is_empty() => path.push(String::new()),
            Some(Separator) => {}
            Some(Word(word)) if word == "as" => at += 1,
            Some(Word(word)) => path.push(word.clone()),
            Some(Sign('*')) => {}
            Some(Sign('{')) => {
                at += 1;
                while !matches!(tokens.get(at), Some(Sign('}')) | None) {
                    at = imports(tokens, at, &path, paths);
                    if tokens.get(at) == Some(&Sign(',')) {
                        at += 1;
                    }
                }
                return at + 1;
            }
            _ => break,
        }
        at += 1;
    }
    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
        path.pop();
    }
    paths.push(path);
    at
}

/// Leaves out each item behind `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"].map(|text| match text {
        "cfg" | "test" => Word(text.to_owned()),
        _ => Sign(text.chars().next().unwrap()),
    });
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if !tokens[at..].starts_with(&attribute) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let mut depth = 0;
        for token in &tokens[at..] {
            at += 1;
            match token {
                Sign('{') => depth += 1,
                Sign('}') => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(token, Sign('}' | ';')) {
                break;
            }
        }
    }
    kept
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else if is_part(first) {
            let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            tokens.push(Word(rest[..length].to_owned()));
            length
        } else if rest.starts_with("::") {
            tokens.push(Separator);
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(Sign(first));
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// How long the literal or lifetime is that the text begins with, if it does.
fn literal(text: &str) -> Option<usize> {
    let after_prefix = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let prefix = text.len() - after_prefix.len();
    if let Some(raw) = after_prefix.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let length = raw[hashes + 1..].find(&end).map(|at| at + end.len());
            return Some(prefix + 1 + hashes + 1 + length.unwrap_or(raw.len() - hashes - 1));
        }
    }
    let quote = after_prefix.chars().next().filter(|first| "\"'".contains(*first))?;
    let mut characters = after_prefix.char_indices().skip(1);
    if quote == '\'' {
        let mut following = after_prefix[1..].chars();
        let is_character = following.next()? == '\\' || following.next() == Some('\'');
        if !is_character {
            // A lifetime: its name is a word that stands alone.
            return Some(1);
        }
    }
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return Some(prefix + at + 1);
        }
    }
    Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<String> {
        paths(text).iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn imports_are_read_in_full() {
        let text = "pub(crate) use crate::a::{self, b::{C, D as E}, f::*};\nuse ::toml::Spanned;";
        let expected =
            ["crate::a", "crate::a::b::C", "crate::a::b::D", "crate::a::f", "::toml::Spanned"];
        assert_eq!(named(text), expected);
    }

    #[test]
    fn paths_in_the_code_are_found_too() {
        let text = "fn f<'a>(x: &'a super::T) -> impl Fn() + use<'a> { g(x.b, Instant::now()); $crate::w::W }";
        assert_eq!(named(text), ["super::T", "Instant::now", "crate::w::W"]);
        assert_eq!(named("Vec::<a::B>::new()"), ["a::B"]);
    }

    #[test]
    fn comments_literals_and_tests_name_nothing() {
        let text = "// a::b\n/* a::b */ \"a::b\\\"\" r#\"a::\"b\"# b\"a::b\" 'x' '\\'' b'\"' c::d";
        assert_eq!(named(text), ["c::d"]);
        let text = "#[cfg(test)]\nmod tests { use a::b; fn f() {} }\nuse c::d;\n#[cfg(test)]\nmod tests;\nuse e::f;";
        assert_eq!(named(text), ["c::d", "e::f"]);
    }
}
