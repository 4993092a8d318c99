//! Who is let in, and who has to leave for that.

use super::*;

struct House {
    control: Control,
    poll: crate::poll::Poll,
    directory: tempfile::TempDir,
    visitors: Vec<UnixStream>,
}

impl House {
    fn new() -> House {
        let (poll, directory) = (crate::poll::Poll::new().unwrap(), tempfile::tempdir().unwrap());
        let control = Control::open(&directory.path().join("s"), poll.registry()).unwrap();
        House { control, poll, directory, visitors: Vec::new() }
    }

    fn come(&mut self, count: usize) {
        let path = self.directory.path().join("s");
        self.visitors.extend((0..count).map(|_| UnixStream::connect(&path).unwrap()));
    }

    /// Who is in after those waiting to be accepted were let in.
    fn open(&mut self, now: Instant) -> Vec<usize> {
        while self.control.accept(now, self.poll.registry()) {}
        self.control.clients.keys().copied().collect()
    }
}

#[test]
fn clients_leave_most_descriptors_to_the_services() {
    assert_eq!([Some(4), Some(24), Some(256), Some(20_000)].map(most_clients), [2, 6, 64, 64]);
    assert_eq!(most_clients(None), 64);
}

#[test]
fn a_newcomer_waits_at_the_door_until_somebody_has_had_a_turn() {
    let (mut house, now) = (House::new(), Instant::now());
    house.come(MOST_CLIENTS + 2);
    let first: Vec<usize> = (0..MOST_CLIENTS).collect();
    assert_eq!(house.open(now), first);
    assert!(!house.control.has_room_again(now));
    assert_eq!(house.control.deadline(), Some(now + TURN));

    // One has been answered: it has had its turn before its time.
    house.control.give_bytes(7, b"x\n", now);
    assert!(house.control.has_room_again(now));
    let inside = house.open(now);
    assert!(!inside.contains(&7) && inside.contains(&MOST_CLIENTS), "{inside:?}");

    let later = now + TURN;
    assert!(house.control.has_room_again(later));
    let inside = house.open(later);
    assert!(!inside.contains(&0) && inside.contains(&(MOST_CLIENTS + 1)), "{inside:?}");
    assert!(!house.control.has_room_again(later), "nobody is left waiting to be accepted");
    assert_eq!(house.control.deadline(), Some(now + PATIENCE));
}

#[test]
fn those_who_wait_leave_for_a_newcomer_only_if_they_are_more_than_half() {
    let (mut house, now) = (House::new(), Instant::now());
    house.come(MOST_CLIENTS);
    house.open(now);
    let waiting = PendingAnswer::for_shutdown(0);
    for number in 0..MOST_CLIENTS / 2 {
        house.control.wait(number, waiting.clone());
    }
    house.come(1);
    assert!(!house.open(now).contains(&MOST_CLIENTS), "those who ask are safe still");
    house.control.wait(MOST_CLIENTS / 2, waiting);
    let inside = house.open(now);
    assert!(!inside.contains(&0) && inside.contains(&MOST_CLIENTS), "{inside:?}");
}
