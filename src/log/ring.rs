//! The recent output of a service, for later requests.

use std::collections::VecDeque;

/// The most bytes per service.
const MOST_KEPT: usize = 32 * 1024;
/// The most bytes of all services; many services have an equal share.
const KEPT_OF_ALL: usize = 512 * 1024;

/// The bytes per service, for this number of services.
pub(super) fn share(services: usize) -> usize {
    (KEPT_OF_ALL / services.max(1)).clamp(1, MOST_KEPT)
}

/// The end of a byte stream.
#[derive(Debug, Default)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    /// The number of all bytes.
    total: u64,
    /// How many bytes to keep.
    kept: usize,
}

impl Ring {
    /// Keeps this many bytes from here on.
    pub(super) fn keep(&mut self, kept: usize) {
        self.kept = kept;
        self.make_room(0);
        self.bytes.shrink_to(kept);
    }

    pub(super) fn forget(&mut self) {
        *self = Ring { kept: self.kept, ..Ring::default() };
    }

    /// Adds a line without its newline.
    pub(super) fn push(&mut self, line: &[u8]) {
        let line = &line[..line.len().min(self.kept.saturating_sub(1))];
        let wanted = line.len() + 1;
        self.make_room(wanted);
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        if length + wanted > capacity {
            // Doubled as usual, but not beyond the limit.
            let capacity = (2 * capacity).min(self.kept).max(length + wanted);
            self.bytes.reserve_exact(capacity - length);
        }
        self.bytes.extend(line);
        self.bytes.push_back(b'\n');
        self.total += wanted as u64;
    }

    /// Drops the oldest lines to make space.
    fn make_room(&mut self, wanted: usize) {
        let too_many = (self.bytes.len() + wanted).saturating_sub(self.kept);
        if too_many > 0 {
            let mut rest = self.bytes.iter().skip(too_many.saturating_sub(1));
            let rest_of_line = rest.position(|byte| *byte == b'\n');
            let end = rest_of_line.map_or(self.bytes.len(), |rest| too_many + rest);
            self.bytes.drain(..end.min(self.bytes.len()));
        }
    }

    /// The stored bytes from the offset `from` on, and the offset of the end.
    pub(super) fn since(&self, from: u64) -> (Vec<u8>, u64) {
        let begin = self.total - self.bytes.len() as u64;
        let skip = usize::try_from(from.saturating_sub(begin)).unwrap_or(usize::MAX);
        (self.bytes.iter().skip(skip).copied().collect(), self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: usize = MOST_KEPT;

    fn ring() -> Ring {
        let mut ring = Ring::default();
        ring.keep(KEPT);
        ring
    }

    #[test]
    fn many_services_share_what_is_kept() {
        assert_eq!(share(0), MOST_KEPT);
        assert_eq!(share(16), MOST_KEPT);
        assert_eq!(share(1000) * 1000, KEPT_OF_ALL / 1000 * 1000);
        assert_eq!(share(usize::MAX), 1);
    }

    #[test]
    fn a_smaller_share_holds_at_once() {
        let mut ring = ring();
        for number in 0..100 {
            ring.push(format!("line {number}").as_bytes());
        }
        ring.keep(16);
        assert_eq!(ring.since(0).0, b"line 98\nline 99\n");
        assert!(ring.bytes.capacity() <= 16);
        ring.push(b"one that is longer than all that is kept");
        assert_eq!(ring.since(0).0, b"one that is lon\n");
        assert!(ring.bytes.capacity() <= 16);
    }

    #[test]
    fn the_end_is_kept_from_a_whole_line_on() {
        let mut ring = ring();
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
        let mut ring = ring();
        for size in [1, KEPT - 1, KEPT, KEPT + 1, 3 * KEPT, 7] {
            ring.push(&vec![b'a'; size]);
            assert!(ring.bytes.capacity() <= KEPT);
            let (kept, next) = ring.since(0);
            assert_eq!((kept.last(), next), (Some(&b'\n'), ring.total));
        }
    }
}
