//! What a pack would unpack to, seen before git unpacks it: gitformat-pack(5). Pure.
//!
//! A delta says at its begin how much it makes, which may be a million times its own size; git
//! believes it. So each byte passes here first, and what is too much never reaches git.

use flate2::{Decompress, FlushDecompress, Status};

use crate::config::Limits;

/// git keeps something of each one in memory, and asks for all of that when it reads their number.
const MOST_OBJECTS: u32 = 1_000_000;
/// The bytes of an id; the mirrors have SHA-1.
const ID: usize = 20;
/// The begin of a delta: two numbers of seven bits a byte.
const DELTA_BEGIN: usize = 20;

const OFFSET_DELTA: u8 = 6;
const ID_DELTA: u8 = 7;
const BLOB: u8 = 3;

/// Reads along.
pub(super) struct Check {
    limits: Limits,
    state: State,
    /// Objects that are still to come.
    rest: u32,
    /// What those before make, in bytes.
    total: u64,
    inflate: Decompress,
    scratch: Vec<u8>,
}

enum State {
    /// `PACK`, the version and the number of objects.
    Head(Vec<u8>),
    /// The kind and the size of an object, so many bits of it read.
    Object {
        kind: u8,
        size: u64,
        bits: u32,
    },
    /// Where the base of a delta is, back in the pack.
    Offset {
        size: u64,
    },
    /// The id of a delta's base, so many bytes of it still to come.
    Base {
        size: u64,
        rest: usize,
    },
    /// What is compressed; of a delta the begin.
    Data {
        size: u64,
        delta: Option<Vec<u8>>,
    },
    /// The sum that git checks, so many bytes of it still to come.
    Sum {
        rest: usize,
    },
    End,
}

/// Before the first byte of an object.
const NEXT: State = State::Object { kind: 0, size: 0, bits: 0 };

impl Check {
    pub(super) fn new(limits: Limits) -> Check {
        Check {
            limits,
            state: State::Head(Vec::new()),
            rest: 0,
            total: 0,
            inflate: Decompress::new(true),
            scratch: vec![0; 1 << 15],
        }
    }

    /// Reads the next bytes.
    ///
    /// # Errors
    /// If they must not reach git; with the reason for the client.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            if let State::Data { .. } = self.state {
                bytes = self.data(bytes)?;
                continue;
            }
            let (first, after) = (bytes[0], &bytes[1..]);
            bytes = after;
            self.state = match std::mem::replace(&mut self.state, State::End) {
                State::Head(head) => self.head(head, first)?,
                State::Object { kind, size, bits } => self.object(kind, size, bits, first)?,
                State::Offset { size } if first & 0x80 != 0 => State::Offset { size },
                State::Base { size, rest } if rest > 1 => State::Base { size, rest: rest - 1 },
                State::Offset { size } | State::Base { size, .. } => {
                    State::Data { size, delta: Some(Vec::new()) }
                }
                State::Sum { rest } if rest > 1 => State::Sum { rest: rest - 1 },
                State::Data { .. } | State::Sum { .. } | State::End => return Ok(()),
            };
        }
        Ok(())
    }

    /// Whether the last object was whole, and the sum behind it is still to come.
    pub(super) fn wants_its_sum(&self) -> bool {
        matches!(self.state, State::Sum { .. })
    }

    /// Whether all of it was there.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::End)
    }

    fn head(&mut self, mut head: Vec<u8>, byte: u8) -> Result<State, String> {
        head.push(byte);
        let Ok(head) = <[u8; 12]>::try_from(head.as_slice()) else { return Ok(State::Head(head)) };
        if !head.starts_with(b"PACK\0\0\0") || !matches!(head[7], 2 | 3) {
            return Err(malformed());
        }
        self.rest = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        if self.rest > MOST_OBJECTS {
            return Err(format!(
                "it has {} objects, and {MOST_OBJECTS} are the most; push it in parts",
                self.rest
            ));
        }
        Ok(self.next())
    }

    fn object(&mut self, kind: u8, size: u64, bits: u32, byte: u8) -> Result<State, String> {
        let (kind, more, width) =
            if bits == 0 { (byte >> 4 & 7, byte & 0x0f, 4) } else { (kind, byte & 0x7f, 7) };
        if bits > 56 {
            return Err(malformed());
        }
        let (size, bits) = (size | u64::from(more) << bits, bits + width);
        if byte & 0x80 != 0 {
            return Ok(State::Object { kind, size, bits });
        }
        match kind {
            // git streams a file that is big to the disk; the scan then says which one it is.
            BLOB => self.add(size)?,
            OFFSET_DELTA | ID_DELTA => self.fits(size)?,
            1..=4 => self.fits(size).and_then(|()| self.add(size))?,
            _ => return Err(malformed()),
        }
        Ok(match kind {
            OFFSET_DELTA => State::Offset { size },
            ID_DELTA => State::Base { size, rest: ID },
            _ => State::Data { size, delta: None },
        })
    }

    fn next(&self) -> State {
        if self.rest == 0 { State::Sum { rest: ID } } else { NEXT }
    }

    /// Unpacks a part of an object; what is left of the bytes.
    fn data<'bytes>(&mut self, mut bytes: &'bytes [u8]) -> Result<&'bytes [u8], String> {
        let State::Data { size, mut delta } = std::mem::replace(&mut self.state, State::End) else {
            return Ok(bytes);
        };
        loop {
            let (read, made) = (self.inflate.total_in(), self.inflate.total_out());
            let none = FlushDecompress::None;
            let status = self.inflate.decompress(bytes, &mut self.scratch, none);
            let status = status.map_err(|_| malformed())?;
            let read = usize::try_from(self.inflate.total_in() - read).map_err(|_| malformed())?;
            let made = usize::try_from(self.inflate.total_out() - made).map_err(|_| malformed())?;
            bytes = &bytes[read..];
            if self.inflate.total_out() > size {
                return Err(malformed());
            }
            if let Some(begin) = delta.as_mut().filter(|begin| begin.len() < DELTA_BEGIN) {
                let wanted = made.min(DELTA_BEGIN - begin.len());
                begin.extend_from_slice(&self.scratch[..wanted]);
            }
            if status == Status::StreamEnd {
                break;
            }
            if bytes.is_empty() && made < self.scratch.len() {
                // git can do nothing with a part of an object either.
                self.state = State::Data { size, delta };
                return Ok(bytes);
            }
            if read == 0 && made == 0 {
                return Err(malformed());
            }
        }
        if self.inflate.total_out() != size {
            return Err(malformed());
        }
        if let Some(begin) = delta {
            let (base, rest) = number(&begin).ok_or_else(malformed)?;
            let (result, _) = number(rest).ok_or_else(malformed)?;
            self.fits(base)?;
            self.fits(result)?;
            self.add(result)?;
        }
        self.inflate.reset(true);
        self.rest -= 1;
        self.state = self.next();
        Ok(bytes)
    }

    fn fits(&self, size: u64) -> Result<(), String> {
        let limit = self.limits.file;
        if size <= limit {
            return Ok(());
        }
        Err(format!("an object in it unpacks to {size} bytes; max-file-size is {limit}"))
    }

    fn add(&mut self, size: u64) -> Result<(), String> {
        self.total = self.total.saturating_add(size);
        let limit = self.limits.scan;
        if self.total <= limit {
            return Ok(());
        }
        Err(format!("it unpacks to more than max-scan-size ({limit} bytes); push it in parts"))
    }
}

fn malformed() -> String {
    "its pack is malformed".to_owned()
}

/// A number of a delta's begin, and what follows it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    fn limits() -> Limits {
        Limits { sessions: 1, push: 1 << 20, file: 1000, scan: 3000, memory: 1 << 30 }
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn object(kind: u8, size: usize, between: &[u8], contents: &[u8]) -> Vec<u8> {
        let mut head = vec![kind << 4 | (size & 15) as u8];
        let mut rest = size >> 4;
        while rest > 0 {
            *head.last_mut().unwrap() |= 0x80;
            head.push((rest & 0x7f) as u8);
            rest >>= 7;
        }
        [&head, between, &zlib(contents)].concat()
    }

    fn plain(kind: u8, contents: &[u8]) -> Vec<u8> {
        object(kind, contents.len(), b"", contents)
    }

    fn delta(base: u16, result: u16) -> Vec<u8> {
        let number = |number: u16| [number as u8 | 0x80, (number >> 7) as u8 & 0x7f];
        [&number(base)[..], &number(result)].concat()
    }

    fn pack(objects: &[Vec<u8>]) -> Vec<u8> {
        let count = u32::try_from(objects.len()).unwrap().to_be_bytes();
        [b"PACK\0\0\0\x02", &count[..], &objects.concat(), &[7; 20]].concat()
    }

    /// What is said of a pack, in whatever pieces it comes.
    fn check(pack: &[u8]) -> Result<(), String> {
        let in_pieces = |size: usize| {
            let mut check = Check::new(limits());
            pack.chunks(size).try_for_each(|piece| check.feed(piece))
        };
        let result = in_pieces(pack.len());
        assert_eq!(in_pieces(1), result);
        assert_eq!(in_pieces(7), result);
        result
    }

    #[test]
    fn a_usual_pack_passes() {
        let changes = delta(3, 900);
        let objects = [
            plain(1, b"tree"),
            plain(2, b""),
            plain(3, &[b'x'; 1100]),
            object(7, changes.len(), &[9; 20], &changes),
            object(6, changes.len(), &[0x81, 5], &changes),
        ];
        assert_eq!(check(&pack(&objects)), Ok(()));
        assert_eq!(check(&pack(&[])), Ok(()));
    }

    #[test]
    fn what_makes_too_much_is_refused_by_what_it_says() {
        let small = delta(3, 3);
        for (objects, reason) in [
            (vec![object(7, 4, &[9; 20], &delta(3, 1001))], "unpacks to 1001 bytes"),
            (vec![object(6, 4, &[1], &delta(1002, 3))], "unpacks to 1002 bytes"),
            (vec![object(7, 5000, &[9; 20], &small)], "unpacks to 5000 bytes"),
            (vec![plain(1, &[b'x'; 1003])], "unpacks to 1003 bytes"),
            (vec![plain(2, &[b'x'; 1004])], "unpacks to 1004 bytes"),
            (vec![plain(3, &[b'x'; 3001])], "more than max-scan-size (3000 bytes)"),
            (vec![plain(3, &[b'x'; 1501]), plain(3, &[b'y'; 1500])], "max-scan-size"),
            (vec![object(7, 4, &[9; 20], &delta(3, 900)); 4], "max-scan-size"),
        ] {
            let error = check(&pack(&objects)).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let many = [b"PACK\0\0\0\x02", &u32::MAX.to_be_bytes()[..]].concat();
        assert!(check(&many).unwrap_err().contains("4294967295 objects"));
    }

    #[test]
    fn what_is_not_what_it_says_is_refused() {
        for wrong in [
            b"PACK\0\0\0\x09\0\0\0\x01".to_vec(),
            b"no pack at all".to_vec(),
            pack(&[object(3, 2, b"", b"three")]),
            pack(&[object(3, 9, b"", b"three")]),
            pack(&[plain(5, b"x")]),
            pack(&[plain(0, b"x")]),
            pack(&[object(7, 1, &[9; 20], &[0x80])]),
            [&pack(&[])[..8], &[0, 0, 0, 1], &[0xff; 30]].concat(),
            [&pack(&[])[..8], &[0, 0, 0, 1], &[0x31; 30]].concat(),
        ] {
            assert_eq!(check(&wrong), Err(malformed()), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_pack_is_too_much_for_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&[&b"PACK\0\0\0\x02\0\0\0\x05"[..], &bytes].concat());
        }
    }
}
