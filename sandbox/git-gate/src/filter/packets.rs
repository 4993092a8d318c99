//! Packets of git's protocol, gitprotocol-common(5): four hexadecimal digits, and so many bytes
//! with them.

use std::io::{self, Read, Write};

/// A packet with its digits. Fewer than four bytes are said for what has no contents: 0000 ends a
/// section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet(pub(super) Vec<u8>);

impl Packet {
    pub(super) fn contents(&self) -> &[u8] {
        self.0.get(4..).unwrap_or_default()
    }

    pub(super) fn is_flush(&self) -> bool {
        self.0 == b"0000"
    }
}

/// The next packet; `None` at the end.
///
/// # Errors
/// If it is broken off, or is none.
pub(super) fn read(reader: &mut impl Read) -> io::Result<Option<Packet>> {
    let mut packet = vec![0; 4];
    loop {
        match reader.read(&mut packet[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    reader.read_exact(&mut packet[1..])?;
    let digits = packet.iter().map(|digit| char::from(*digit).to_digit(16));
    let length = digits.reduce(|sum, digit| Some(sum? * 16 + digit?)).flatten();
    let length = match length {
        Some(0..4) => 4,
        Some(length) => usize::try_from(length).map_err(io::Error::other)?,
        None => return Err(io::Error::other("the client does not speak git's protocol")),
    };
    packet.resize(length, 0);
    reader.read_exact(&mut packet[4..])?;
    Ok(Some(Packet(packet)))
}

/// The same; an error without a reason is one that the client knows itself.
pub(super) fn read_from_client(reader: &mut impl Read) -> Result<Option<Packet>, Option<String>> {
    read(reader).map_err(|error| {
        let is_wrong = error.kind() == io::ErrorKind::Other;
        is_wrong.then(|| error.to_string())
    })
}

fn packet(contents: &[u8]) -> Packet {
    let mut packet = format!("{:04x}", contents.len() + 4).into_bytes();
    packet.extend_from_slice(contents);
    Packet(packet)
}

/// What ends a conversation with an error.
pub(super) fn error(reason: &str) -> Packet {
    packet(format!("ERR {reason}").as_bytes())
}

/// A line that the client shows behind `remote:` (gitprotocol-pack(5), side-band-64k).
pub(super) fn progress(line: &str) -> Packet {
    packet(format!("\u{2}git-gate: {line}\n").as_bytes())
}

/// Gives it to the client, whole.
pub(super) fn write(packet: &Packet) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(&packet.0)?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packets_are_read_one_by_one() {
        let mut input: &[u8] = b"0006a\n0000000100040005x";
        let mut next = || read(&mut input).unwrap().map(|packet| packet.contents().to_owned());
        assert_eq!(next(), Some(b"a\n".to_vec()));
        for _ in 0..3 {
            assert_eq!(next(), Some(Vec::new()));
        }
        assert_eq!(next(), Some(b"x".to_vec()));
        assert_eq!(next(), None);
        assert!(read(&mut &b"0000"[..]).unwrap().unwrap().is_flush());
        for broken in [&b"00"[..], b"0009abc", b"+123", b"PACK"] {
            assert!(read(&mut &*broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn what_is_said_is_a_packet() {
        let said = [error("no").0, progress("so").0].concat();
        assert_eq!(said, b"000aERR no0012\x02git-gate: so\n");
    }

    proptest! {
        #[test]
        fn nothing_is_too_much_for_it(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut input = bytes.as_slice();
            while let Ok(Some(_)) = read(&mut input) {}
        }
    }
}
