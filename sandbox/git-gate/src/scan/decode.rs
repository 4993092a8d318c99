//! Other ways to read an object, for rules that know plain text only: UTF-16 and UTF-32, gzip,
//! and zip (so jar, docx, whl …), one inside another up to a depth. Pure but for where it goes.
//!
//! Each text is given away as soon as it is there. What is held of an object at a time are its
//! layers, which together are no larger than one file may be.

use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;
use zip::ZipArchive;

/// How many layers are taken off.
const DEPTH: usize = 3;
/// A shorter run of letters between NULs says nothing.
const SHORTEST_RUN: usize = 7;
/// More files in an archive than this are no archive that people push.
const MOST_FILES: usize = 100_000;
/// So much is unpacked at a time.
const PIECE: usize = 1 << 16;

/// Why decoding stops.
#[derive(Debug)]
pub(crate) enum Stop {
    /// More comes out of all than is allowed.
    TooMuch,
    /// More comes out of one file, with what it is packed in, than is allowed.
    TooBig,
    /// There is no memory for it.
    NoMemory,
    /// It could not be given away.
    Lost(io::Error),
}

/// Decodes one object after another.
pub(crate) struct Decoder<'a> {
    /// How many bytes may still come out.
    pub(crate) budget: u64,
    /// How many bytes the layers of one object may have together.
    pub(crate) room: u64,
    /// Where each text goes.
    pub(crate) give: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
    /// Something of it could be read only in part: it is broken, encrypted, or of another kind.
    pub(crate) incomplete: bool,
}

impl Decoder<'_> {
    /// Gives whatever else can be read in `bytes`.
    ///
    /// # Errors
    /// If more would come out than may.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.layer(bytes, 0, self.room)
    }

    /// `room` is what the layers below this one may have.
    fn layer(&mut self, bytes: &[u8], depth: usize, room: u64) -> Result<(), Stop> {
        for gap in [1, 3] {
            let text = wide_text(bytes, gap);
            if !text.is_empty() {
                self.spend(text.len())?;
                (self.give)(&text).map_err(Stop::Lost)?;
            }
        }
        let is_gzip = bytes.starts_with(&[0x1f, 0x8b]);
        let is_zip = bytes.starts_with(b"PK\x03\x04");
        if (is_gzip || is_zip) && depth == DEPTH {
            self.incomplete = true;
        } else if is_gzip {
            self.inner(MultiGzDecoder::new(bytes), depth, room)?;
        } else if is_zip {
            self.unzip(bytes, depth, room)?;
        }
        Ok(())
    }

    fn unzip(&mut self, bytes: &[u8], depth: usize, room: u64) -> Result<(), Stop> {
        // The list of an archive's files is read at once, so they are counted before.
        if bytes.windows(4).filter(|window| window == b"PK\x01\x02").count() > MOST_FILES {
            return Err(Stop::TooMuch);
        }
        let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else {
            self.incomplete = true;
            return Ok(());
        };
        let mut names = Vec::new();
        for index in 0..archive.len() {
            let Ok(file) = archive.by_index(index) else {
                self.incomplete = true;
                continue;
            };
            names.extend_from_slice(file.name_raw());
            names.push(b'\n');
            names.extend_from_slice(file.comment().as_bytes());
            names.push(b'\n');
            self.inner(file, depth, room)?;
        }
        self.spend(names.len())?;
        (self.give)(&names).map_err(Stop::Lost)
    }

    /// What is packed, and what is packed in that.
    fn inner(&mut self, reader: impl Read, depth: usize, room: u64) -> Result<(), Stop> {
        let inner = self.expand(reader, room)?;
        self.layer(&inner, depth + 1, room.saturating_sub(inner.len() as u64))?;
        (self.give)(&inner).map_err(Stop::Lost)
    }

    /// What comes out before an error is kept: others can read it too.
    fn expand(&mut self, mut reader: impl Read, room: u64) -> Result<Vec<u8>, Stop> {
        let mut text = Vec::new();
        loop {
            text.try_reserve(PIECE).map_err(|_| Stop::NoMemory)?;
            let before = text.len();
            let result = reader.by_ref().take(PIECE as u64).read_to_end(&mut text);
            let count = text.len() - before;
            self.spend(count)?;
            if text.len() as u64 > room {
                return Err(Stop::TooBig);
            }
            self.incomplete |= result.is_err();
            if result.is_err() || count == 0 {
                return Ok(text);
            }
        }
    }

    fn spend(&mut self, count: usize) -> Result<(), Stop> {
        self.budget = self.budget.checked_sub(count as u64).ok_or(Stop::TooMuch)?;
        Ok(())
    }
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
    use test_support::noise;
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

    /// The texts, and whether some are missing.
    fn decode(bytes: &[u8], budget: u64, room: u64) -> Result<(Vec<Vec<u8>>, bool), Stop> {
        let mut texts = Vec::new();
        let mut give = |text: &[u8]| {
            texts.push(text.to_owned());
            Ok(())
        };
        let mut decoder = Decoder { budget, room, give: &mut give, incomplete: false };
        decoder.decode(bytes)?;
        let incomplete = decoder.incomplete;
        Ok((texts, incomplete))
    }

    const MUCH: u64 = 1_000_000;

    fn finds(bytes: &[u8]) -> bool {
        let (texts, _) = decode(bytes, MUCH, MUCH).unwrap();
        let finds = |text: &Vec<u8>| text.windows(TEXT.len()).any(|part| part == TEXT.as_bytes());
        texts.iter().any(finds)
    }

    fn is_incomplete(bytes: &[u8]) -> bool {
        decode(bytes, MUCH, MUCH).unwrap().1
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
        assert_eq!(decode(TEXT.as_bytes(), 100, 100).unwrap(), (Vec::new(), false));
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
        assert!(is_incomplete(&four));
    }

    #[test]
    fn a_bomb_is_refused_while_it_unpacks() {
        for bomb in [gzip(&vec![b'x'; 1_000_000]), zip_of("a", &vec![b'x'; 1_000_000])] {
            assert!(matches!(decode(&bomb, 999_999, MUCH), Err(Stop::TooMuch)));
            assert!(matches!(decode(&bomb, MUCH * 2, 999_999), Err(Stop::TooBig)));
            assert!(decode(&bomb, MUCH + 3, MUCH).is_ok());
        }
        // The layers count together, but the files of an archive one by one.
        let nested = gzip(&gzip(&noise(600_000)));
        assert!(matches!(decode(&nested, MUCH * 2, MUCH), Err(Stop::TooBig)));
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for name in ["a", "b"] {
            writer.start_file(name, SimpleFileOptions::default()).unwrap();
            writer.write_all(&[b'x'; 600_000]).unwrap();
        }
        let two = writer.finish().unwrap().into_inner();
        assert!(decode(&two, MUCH * 2, MUCH).is_ok());
    }

    #[test]
    fn of_a_broken_one_the_readable_part_is_given() {
        let text: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
        let whole = gzip(&[TEXT.as_bytes(), &text].concat());
        let cut = &whole[..whole.len() / 2];
        assert!(finds(cut));
        assert!(is_incomplete(cut));
        assert!(is_incomplete(b"PK\x03\x04 nothing"));
    }

    proptest! {
        #[test]
        fn nothing_is_too_much_for_it(bytes in proptest::collection::vec(any::<u8>(), 0..300),
                                      head in 0..3usize) {
            let head: &[u8] = [&b""[..], b"\x1f\x8b\x08\0", b"PK\x03\x04"][head];
            let _ = decode(&[head, &bytes].concat(), 100_000, 100_000);
        }

        #[test]
        fn wide_text_survives_what_is_around_it(
            text in "[ -~]{8,40}", before in "[^\\x00]{0,9}", little in any::<bool>()
        ) {
            let bytes = [before.as_bytes(), b"\xff\xff", &wide(&text, little, 1)].concat();
            let found = decode(&bytes, 10_000, 10_000).unwrap().0.concat();
            prop_assert!(found.windows(text.len()).any(|part| part == text.as_bytes()));
        }
    }
}
