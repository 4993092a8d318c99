//! Other ways to read an object, for rules that know plain text only: UTF-16 and UTF-32, gzip,
//! and zip (so jar, docx, whl …), one inside another up to a depth. Pure.

use std::io::{Cursor, Read};

use flate2::read::MultiGzDecoder;
use zip::ZipArchive;

/// How many layers are taken off.
const DEPTH: usize = 3;
/// A shorter run of letters between NULs says nothing.
const SHORTEST_RUN: usize = 7;
/// More files in an archive than this are no archive that people push.
const MOST_FILES: usize = 100_000;

/// The decoded contents, one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) texts: Vec<Vec<u8>>,
    /// Something in it could be read only in part: it is broken, encrypted, or of another kind.
    pub(crate) incomplete: bool,
}

/// More comes out of it than is allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

/// What else can be read in `bytes`; `budget` is how many bytes may come out, and is lessened.
///
/// # Errors
/// If more would come out.
pub(crate) fn decode(bytes: &[u8], budget: &mut u64) -> Result<Decoded, TooMuch> {
    let mut decoded = Decoded::default();
    layer(bytes, 0, budget, &mut decoded)?;
    Ok(decoded)
}

fn layer(bytes: &[u8], depth: usize, budget: &mut u64, found: &mut Decoded) -> Result<(), TooMuch> {
    for gap in [1, 3] {
        let text = wide_text(bytes, gap);
        if !text.is_empty() {
            *budget = budget.checked_sub(text.len() as u64).ok_or(TooMuch)?;
            found.texts.push(text);
        }
    }
    let is_gzip = bytes.starts_with(&[0x1f, 0x8b]);
    let is_zip = bytes.starts_with(b"PK\x03\x04");
    if !is_gzip && !is_zip {
        return Ok(());
    }
    if depth == DEPTH {
        found.incomplete = true;
        return Ok(());
    }
    if is_gzip {
        let inner = expand(MultiGzDecoder::new(bytes), budget, found)?;
        layer(&inner, depth + 1, budget, found)?;
        found.texts.push(inner);
        return Ok(());
    }
    unzip(bytes, depth, budget, found)
}

fn unzip(bytes: &[u8], depth: usize, budget: &mut u64, found: &mut Decoded) -> Result<(), TooMuch> {
    let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else {
        found.incomplete = true;
        return Ok(());
    };
    if archive.len() > MOST_FILES {
        return Err(TooMuch);
    }
    let mut names = Vec::new();
    for index in 0..archive.len() {
        let Ok(file) = archive.by_index(index) else {
            found.incomplete = true;
            continue;
        };
        names.extend_from_slice(file.name_raw());
        names.push(b'\n');
        names.extend_from_slice(file.comment().as_bytes());
        names.push(b'\n');
        let inner = expand(file, budget, found)?;
        layer(&inner, depth + 1, budget, found)?;
        found.texts.push(inner);
    }
    *budget = budget.checked_sub(names.len() as u64).ok_or(TooMuch)?;
    found.texts.push(names);
    Ok(())
}

/// What comes out before an error is kept: others can read it too.
fn expand(reader: impl Read, budget: &mut u64, found: &mut Decoded) -> Result<Vec<u8>, TooMuch> {
    let mut text = Vec::new();
    let result = reader.take(budget.saturating_add(1)).read_to_end(&mut text);
    found.incomplete |= result.is_err();
    *budget = budget.checked_sub(text.len() as u64).ok_or(TooMuch)?;
    Ok(text)
}

/// The ASCII text whose letters stand `gap` NULs apart: UTF-16 has one, UTF-32 three. This
/// needs no byte order mark, and finds such text within other data and at any offset. Each run
/// begins a line.
fn wide_text(bytes: &[u8], gap: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut at = 0;
    while at + gap < bytes.len() {
        let start = text.len();
        while is_wide_letter(bytes, at, gap) {
            text.push(bytes[at]);
            at += gap + 1;
        }
        if text.len() - start < SHORTEST_RUN {
            at -= (text.len() - start) * (gap + 1);
            text.truncate(start);
            at += 1;
            continue;
        }
        // The last letter of big-endian text has its NULs before it.
        if let Some(last) = bytes.get(at).filter(|byte| is_letter(**byte)) {
            text.push(*last);
        }
        text.push(b'\n');
    }
    text
}

fn is_wide_letter(bytes: &[u8], at: usize, gap: usize) -> bool {
    let Some(unit) = bytes.get(at..=at + gap) else { return false };
    is_letter(unit[0]) && unit[1..].iter().all(|byte| *byte == 0)
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use zip::write::SimpleFileOptions;

    use super::*;

    const TEXT: &str = concat!("key = AKIA", "IEQH746YNG7BY3A4");

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zip_of(name: &str, bytes: &[u8]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap().into_inner()
    }

    fn wide(text: &str, little: bool, zeros: usize) -> Vec<u8> {
        let zeros = vec![0; zeros];
        let letter = |byte: u8| {
            if little { [&[byte], &zeros[..]].concat() } else { [&zeros[..], &[byte]].concat() }
        };
        text.bytes().flat_map(letter).collect()
    }

    fn finds(bytes: &[u8]) -> bool {
        let decoded = decode(bytes, &mut 1_000_000).unwrap();
        let finds = |text: &Vec<u8>| text.windows(TEXT.len()).any(|part| part == TEXT.as_bytes());
        decoded.texts.iter().any(finds)
    }

    #[test]
    fn wide_text_is_found_at_any_place() {
        for little in [true, false] {
            for zeros in [1, 3] {
                let text = wide(TEXT, little, zeros);
                assert!(finds(&text), "{little} {zeros}");
                assert!(finds(&[b"\xff\xfe".to_vec(), text.clone()].concat()), "{little} {zeros}");
                assert!(
                    finds(&[b"x\0\0y".to_vec(), text, vec![7; 9]].concat()),
                    "{little} {zeros}"
                );
            }
        }
        assert_eq!(decode(TEXT.as_bytes(), &mut 100).unwrap(), Decoded::default());
    }

    #[test]
    fn archives_are_looked_into_and_their_names_too() {
        assert!(finds(&gzip(TEXT.as_bytes())));
        assert!(finds(&zip_of("a", TEXT.as_bytes())));
        assert!(finds(&zip_of(TEXT, b"")));
        assert!(finds(&zip_of("a.png", &gzip(&wide(TEXT, true, 1)))));
        let two = [gzip(b"first"), gzip(TEXT.as_bytes())].concat();
        assert!(finds(&two), "two members");
    }

    #[test]
    fn too_many_layers_are_said() {
        let three = gzip(&gzip(&gzip(TEXT.as_bytes())));
        assert!(finds(&three));
        let four = gzip(&three);
        assert!(!finds(&four));
        assert!(decode(&four, &mut 1_000_000).unwrap().incomplete);
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = gzip(&vec![b'x'; 1_000_000]);
        assert_eq!(decode(&bomb, &mut 999_999), Err(TooMuch));
        assert!(decode(&bomb, &mut 1_000_000).is_ok());
        let bomb = zip_of("a", &vec![b'x'; 1_000_000]);
        assert_eq!(decode(&bomb, &mut 10_000), Err(TooMuch));
    }

    #[test]
    fn of_a_broken_one_the_readable_part_is_given() {
        let text: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
        let whole = gzip(&[TEXT.as_bytes(), &text].concat());
        let cut = &whole[..whole.len() / 2];
        assert!(finds(cut));
        assert!(decode(cut, &mut 1_000_000).unwrap().incomplete);
        assert!(decode(b"PK\x03\x04 nothing", &mut 1000).unwrap().incomplete);
    }

    proptest! {
        #[test]
        fn nothing_is_too_much_for_it(bytes in proptest::collection::vec(any::<u8>(), 0..300),
                                      head in 0..3usize) {
            let head: &[u8] = [&b""[..], b"\x1f\x8b\x08\0", b"PK\x03\x04"][head];
            let _ = decode(&[head, &bytes].concat(), &mut 100_000);
        }

        #[test]
        fn wide_text_survives_what_is_around_it(
            text in "[ -~]{8,40}", before in "[^\\x00]{0,9}", little in any::<bool>()
        ) {
            let bytes = [before.as_bytes(), b"\xff\xff", &wide(&text, little, 1)].concat();
            let found = decode(&bytes, &mut 10_000).unwrap().texts.concat();
            prop_assert!(found.windows(text.len()).any(|part| part == text.as_bytes()));
        }
    }
}
