//! What upstream has of a file already. Who changes a file should not have to answer for lines that
//! were there before; and what upstream has can't leak to it again.

use std::collections::HashMap;

use super::Scan;

/// So many of the commits that a push builds on are looked at.
const MOST_COMMITS: usize = 20;

/// The files of the commits that the push builds on, as far as they were asked for.
pub(super) struct Before<'a> {
    scan: &'a Scan<'a>,
    commits: Option<Vec<String>>,
    files: HashMap<Vec<u8>, Vec<Vec<u8>>>,
}

impl<'a> Before<'a> {
    pub(super) fn new(scan: &'a Scan<'a>) -> Before<'a> {
        Before { scan, commits: None, files: HashMap::new() }
    }

    /// Whether the file at this path had this secret.
    pub(super) fn has(&mut self, path: &[u8], secret: &str) -> Result<bool, String> {
        let Ok(name) = std::str::from_utf8(path) else { return Ok(false) };
        if name.is_empty() || secret.is_empty() {
            return Ok(false);
        }
        if !self.files.contains_key(path) {
            let files = self.read(name)?;
            self.files.insert(path.to_owned(), files);
        }
        let files = self.files.get(path).map(Vec::as_slice).unwrap_or_default();
        Ok(files.iter().any(|file| has_word(file, secret.as_bytes())))
    }

    fn read(&mut self, name: &str) -> Result<Vec<Vec<u8>>, String> {
        if self.commits.is_none() {
            let output = self.scan.git(&["rev-list", "--boundary"], &["--not", "--all"])?;
            self.commits = Some(boundary(&String::from_utf8_lossy(&output)));
        }
        let mut files = Vec::new();
        for commit in self.commits.iter().flatten() {
            files.extend(self.scan.file(commit, name)?);
        }
        Ok(files)
    }
}

/// Of the list those commits that are not pushed, but built on.
fn boundary(list: &str) -> Vec<String> {
    list.lines()
        .filter_map(|line| line.strip_prefix('-'))
        .take(MOST_COMMITS)
        .map(str::to_owned)
        .collect()
}

/// Whether this word is in the text, and not only as a part of a longer one.
fn has_word(text: &[u8], word: &[u8]) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.windows(word.len()).enumerate().any(|(at, window)| {
        window == word
            && !is_part(at.checked_sub(1).and_then(|before| text.get(before)))
            && !is_part(text.get(at + word.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_were_there() {
        assert!(has_word(b"id = SECRET1\n", b"SECRET1"));
        assert!(has_word(b"xSECRET1 SECRET1", b"SECRET1"));
        for text in [&b"SECRET12"[..], b"xSECRET1", b"SECRET", b""] {
            assert!(!has_word(text, b"SECRET1"), "{text:?}");
        }
    }

    #[test]
    fn the_boundary_is_marked() {
        assert_eq!(boundary("aa\n-bb\ncc\n-dd\n"), ["bb", "dd"]);
    }
}
