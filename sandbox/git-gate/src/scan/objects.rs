//! The objects of a push: the list that `git rev-list --objects` gives, and the contents that
//! `git cat-file --batch` gives. Pure but for the reader that it is handed.

use std::io::{self, BufRead, Read};

use crate::push::is_id;

/// An object that upstream does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    /// Where git met it first; empty for commits, top folders and what only a tag names.
    pub(crate) path: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Commit,
    Tag,
    Tree,
    Blob,
}

impl Kind {
    fn named(word: &str) -> Option<Kind> {
        match word {
            "commit" => Some(Kind::Commit),
            "tag" => Some(Kind::Tag),
            "tree" => Some(Kind::Tree),
            "blob" => Some(Kind::Blob),
            _ => None,
        }
    }
}

/// Reads the list.
///
/// # Errors
/// If a line does not begin with an id.
pub(crate) fn listed(output: &[u8]) -> Result<Vec<Listed>, String> {
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let object = |line: &[u8]| {
        let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let id = std::str::from_utf8(&line[..end]).ok().filter(|id| is_id(id))?;
        Some(Listed { id: id.to_owned(), path: line.get(end + 1..).unwrap_or_default().to_owned() })
    };
    lines
        .map(|line| object(line).ok_or_else(|| "git's list of objects is not understood".into()))
        .collect()
}

/// Reads the header of the next object of `git cat-file --batch`: its kind and size. It has to
/// be the object that was asked for, and to be there.
pub(crate) fn header(reader: &mut impl BufRead, id: &str) -> io::Result<(Kind, u64)> {
    let mut line = Vec::new();
    reader.by_ref().take(200).read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line);
    let mut words = line.trim_end().split(' ');
    let same = words.next() == Some(id);
    let kind = words.next().and_then(Kind::named);
    let size = words.next().and_then(|word| word.parse().ok());
    match (same, kind, size, words.next()) {
        (true, Some(kind), Some(size), None) => Ok((kind, size)),
        _ => Err(io::Error::other(format!("object {id} can't be read"))),
    }
}

/// Reads the contents that follow the header, and the newline behind them.
pub(crate) fn contents(reader: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    let length = usize::try_from(size).map_err(io::Error::other)?;
    contents.try_reserve_exact(length).map_err(io::Error::other)?;
    reader.by_ref().take(size).read_to_end(&mut contents)?;
    let mut newline = [0];
    reader.read_exact(&mut newline)?;
    if contents.len() as u64 == size && newline == *b"\n" {
        Ok(contents)
    } else {
        Err(io::Error::other("an object is shorter than git said"))
    }
}

/// The names in a tree, one a line. A tree that is not quite what git writes is given whole, so
/// that nothing can hide in the difference.
pub(crate) fn names(tree: &[u8], id_bytes: usize) -> Vec<u8> {
    let mut names = Vec::new();
    let mut rest = tree;
    while !rest.is_empty() {
        let Some((mode, name, next)) = entry(rest, id_bytes) else {
            names.extend_from_slice(tree);
            break;
        };
        if !matches!(mode, b"40000" | b"100644" | b"100755" | b"120000" | b"160000") {
            names.extend_from_slice(tree);
            names.push(b'\n');
        }
        names.extend_from_slice(name);
        names.push(b'\n');
        rest = next;
    }
    names
}

fn entry(rest: &[u8], id_bytes: usize) -> Option<(&[u8], &[u8], &[u8])> {
    let space = rest.iter().position(|byte| *byte == b' ')?;
    let end = rest.iter().position(|byte| *byte == 0).filter(|end| *end > space)?;
    let next = rest.get(end + 1 + id_bytes..)?;
    Some((&rest[..space], &rest[space + 1..end], next))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789012345678901234567890123456789";

    #[test]
    fn the_list_has_ids_and_paths() {
        let output = format!("{ID}\n{ID} \n{ID} a dir/é\n");
        let paths: Vec<Vec<u8>> =
            listed(output.as_bytes()).unwrap().into_iter().map(|object| object.path).collect();
        assert_eq!(paths, [b"".to_vec(), b"".to_vec(), "a dir/é".as_bytes().to_vec()]);
        assert!(listed(b"error: x\n").is_err());
        assert!(listed(b"").unwrap().is_empty());
    }

    #[test]
    fn objects_are_read_one_after_the_other() {
        let mut output = format!("{ID} blob 3\na\nb\n{ID} tag 0\n\n{ID} missing\n").into_bytes();
        let mut reader = output.as_slice();
        assert_eq!(header(&mut reader, ID).unwrap(), (Kind::Blob, 3));
        assert_eq!(contents(&mut reader, 3).unwrap(), b"a\nb");
        assert_eq!(header(&mut reader, ID).unwrap(), (Kind::Tag, 0));
        assert_eq!(contents(&mut reader, 0).unwrap(), b"");
        assert!(header(&mut reader, ID).is_err(), "missing");
        output.truncate(48);
        let mut reader = output.as_slice();
        header(&mut reader, ID).unwrap();
        assert!(contents(&mut reader, 3).is_err(), "cut off");
        let mut reader: &[u8] = b"";
        assert!(header(&mut reader, ID).is_err(), "nothing");
        let other = ID.replace('0', "f");
        let answer = format!("{other} blob 3\n");
        assert!(header(&mut answer.as_bytes(), ID).is_err(), "another object");
    }

    fn tree(entries: &[(&str, &str)]) -> Vec<u8> {
        let entry = |(mode, name): &(&str, &str)| {
            [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &[b' '; 20]].concat()
        };
        entries.iter().flat_map(entry).collect()
    }

    #[test]
    fn a_tree_gives_its_names() {
        let tree = tree(&[("100644", "a b"), ("40000", "dir")]);
        assert_eq!(names(&tree, 20), b"a b\ndir\n");
    }

    #[test]
    fn nothing_hides_in_an_odd_tree() {
        let odd = tree(&[("100644", "a"), ("0000777", "b")]);
        assert!(names(&odd, 20).windows(7).any(|window| window == b"0000777"));
        let cut = [tree(&[("100644", "a")]), b"100644 rest".to_vec()].concat();
        assert!(names(&cut, 20).ends_with(b"100644 rest"));
    }

    proptest! {
        #[test]
        fn no_tree_is_too_much_for_it(tree in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = names(&tree, 20);
        }

        #[test]
        fn every_name_is_given(list in proptest::collection::vec("[^\\x00\\n]{1,9}", 0..9)) {
            let entries: Vec<(&str, &str)> =
                list.iter().map(|name| ("100644", name.as_str())).collect();
            let expected: String = list.iter().map(|name| format!("{name}\n")).collect();
            prop_assert_eq!(names(&tree(&entries), 20), expected.into_bytes());
        }
    }
}
