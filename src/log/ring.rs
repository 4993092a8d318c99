//! The last that a service has written, for whoever asks later.

use std::collections::VecDeque;

/// How much of a service's output is kept, in bytes.
const KEPT: usize = 32 * 1024;

/// The end of a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    /// How many bytes there were in all.
    total: u64,
}

impl Ring {
    /// Keeps a line, which has no newline at its end.
    pub(super) fn push(&mut self, line: &[u8]) {
        let kept = &line[..line.len().min(KEPT - 1)];
        self.make_room(kept.len() + 1);
        self.bytes.extend(kept);
        self.bytes.push_back(b'\n');
        self.total += kept.len() as u64 + 1;
    }

    /// Forgets as many of the oldest lines as it takes.
    fn make_room(&mut self, wanted: usize) {
        let too_many = (self.bytes.len() + wanted).saturating_sub(KEPT);
        if too_many > 0 {
            let rest_of_line = self.bytes.iter().skip(too_many - 1).position(|byte| *byte == b'\n');
            let end = rest_of_line.map_or(self.bytes.len(), |rest| too_many + rest);
            self.bytes.drain(..end);
        }
    }

    /// What came from the byte number `from` on, as far as it is still kept, and the number of
    /// the next byte.
    pub(super) fn since(&self, from: u64) -> (Vec<u8>, u64) {
        let begin = self.total - self.bytes.len() as u64;
        let skip = usize::try_from(from.saturating_sub(begin)).unwrap_or(usize::MAX);
        (self.bytes.iter().skip(skip).copied().collect(), self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_from_a_whole_line_on() {
        let mut ring = Ring::default();
        ring.push(b"one");
        ring.push(b"two");
        assert_eq!(ring.since(0), (b"one\ntwo\n".to_vec(), 8));
        assert_eq!(ring.since(4), (b"two\n".to_vec(), 8));
        assert_eq!(ring.since(8), (Vec::new(), 8));
        ring.push(&[b'x'; KEPT - 6]);
        assert_eq!(ring.since(0).0.len(), KEPT - 1, "the first is gone, the second whole");
        ring.push(b"end");
        let (kept, next) = ring.since(0);
        assert_eq!(next, 8 + KEPT as u64 - 5 + 4);
        assert!(kept.len() == KEPT - 1 && kept.ends_with(b"x\nend\n"), "the second is gone, too");
    }

    #[test]
    fn it_never_grows_beyond_its_size() {
        let mut ring = Ring::default();
        for size in [1, KEPT - 1, KEPT, KEPT + 1, 3 * KEPT, 7] {
            ring.push(&vec![b'a'; size]);
            assert!(ring.bytes.len() <= KEPT);
            let (kept, next) = ring.since(0);
            assert_eq!((kept.last(), next), (Some(&b'\n'), ring.total));
        }
    }
}
