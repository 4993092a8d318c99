//! Which clients are accepted, and which are closed for them.

use super::*;

struct Server {
    control: Control,
    poll: crate::poll::Poll,
    directory: tempfile::TempDir,
    peers: Vec<UnixStream>,
}

impl Server {
    fn new() -> Server {
        let (poll, directory) = (crate::poll::Poll::new().unwrap(), tempfile::tempdir().unwrap());
        let mut control = Control::open(&directory.path().join("s"), poll.registry()).unwrap();
        control.most = 4;
        Server { control, poll, directory, peers: Vec::new() }
    }

    /// Opens `count` connections; returns the current clients.
    fn connect(&mut self, count: usize, now: Instant) -> Vec<usize> {
        let path = self.directory.path().join("s");
        self.peers.extend((0..count).map(|_| UnixStream::connect(&path).unwrap()));
        self.control.listener_readable();
        self.accept(now)
    }

    fn accept(&mut self, now: Instant) -> Vec<usize> {
        self.control.accept(now, self.poll.registry());
        self.control.clients.keys().copied().collect()
    }
}

#[test]
fn clients_leave_most_descriptors_to_the_services() {
    assert_eq!([Some(4), Some(24), Some(256), Some(20_000)].map(most_of_a_kind), [1, 3, 32, 32]);
    assert_eq!(most_of_a_kind(None), 32);
}

#[test]
fn a_new_connection_waits_until_the_oldest_has_had_its_turn() {
    let (mut server, now) = (Server::new(), Instant::now());
    assert_eq!(server.connect(6, now), [0, 1, 2, 3]);
    assert!(!server.control.has_work(), "the poll may wait");
    assert_eq!(server.control.deadline(), Some(now + TURN));
    let later = now + TURN;
    assert_eq!(server.accept(later), [2, 3, 4, 5]);
    assert_eq!(server.control.deadline(), Some(now + PATIENCE), "the backlog is empty");

    server.control.give_bytes(3, b"x\n", later);
    assert_eq!(server.connect(1, later), [2, 4, 5, 6], "one that was answered has had its turn");

    server.control.give_bytes(4, b"x\n", later);
    server.control.client_ready(4);
    assert_eq!(server.connect(1, later), [4, 5, 6, 7], "its next request has come");
}

#[test]
fn those_that_follow_are_not_replaced_by_those_that_ask() {
    let (mut server, now) = (Server::new(), Instant::now());
    server.connect(4, now);
    server.control.set_mode(0, Mode::Events);
    server.control.defer_answer(1, PendingAnswer::for_shutdown(0));
    assert_eq!(server.connect(2, now), [0, 1, 2, 3, 4, 5]);
    let later = now + TURN;
    assert_eq!(server.connect(4, later), [0, 1, 6, 7, 8, 9]);
    for number in 6..9 {
        server.control.set_mode(number, Mode::Events);
    }
    assert_eq!(server.accept(later), [1, 6, 7, 8, 9], "the oldest that follows");
}
