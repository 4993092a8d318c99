//! The control socket: accepts clients, reads their requests and writes the answers. No client can make
//! the init block, grow or fail: the number of clients, the size of their requests and buffers, and
//! their time are limited.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::launch::sockets::bind_unix;
use super::learnt::Scheduled;
use super::own_file::OwnFile;
use super::token::Source;
use crate::poll::{Registry, look};
use crate::protocol::{Goal, LONGEST_REQUEST, no};
use crate::supervisor::ServiceId;
use crate::sys::{descriptors, peer};

/// How many clients may send requests at the same time, and how many may wait or follow. A further one
/// replaces the oldest of its kind: so a service with our user can't lock out the operator, and can't
/// disconnect the operator's followers by sending requests.
const MOST_OF_A_KIND: usize = 32;
/// How long a client that sends requests is not replaced. Otherwise a thousand connections at once
/// would close clients before they have sent their request.
const TURN: Duration = Duration::from_millis(100);
/// How many connections are accepted before other work.
const BATCH: usize = 64;
/// The timeout for a request, and for reading an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Other users can't even connect; their credentials are also checked.
const FILE_MODE: rustix::fs::Mode = rustix::fs::Mode::from_raw_mode(0o600);
/// A stream with more buffered bytes is closed.
const MOST_WAITING: usize = 256 * 1024;

/// What a client gets without another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing: it sends requests.
    Asking,
    /// One answer, when its request has taken effect.
    Promised,
    /// Every event.
    Events,
    /// The output of a service, from this offset on.
    Logs(ServiceId, u64),
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Until the core has its request.
    Told,
    /// Until the core has the shutdown with this code.
    Shutdown(u8),
    /// Until the services are in this state, whatever the cause.
    Are(Goal),
    /// Until the services that it has started are up.
    Up,
    /// Until the runs that it has stopped have ended.
    Ended,
}

/// A deferred answer.
#[derive(Clone, Debug)]
pub(super) struct PendingAnswer {
    pub(super) awaited: Awaited,
    /// Each service, and how many earlier failed starts to ignore.
    pub(super) services: Vec<(ServiceId, u32)>,
    pub(super) until: Option<Instant>,
    /// When to check again, if nothing happens before.
    pub(super) look_again_at: Option<Instant>,
}

impl PendingAnswer {
    pub(super) fn new(
        awaited: Awaited,
        services: Vec<(ServiceId, u32)>,
        until: Option<Instant>,
    ) -> PendingAnswer {
        PendingAnswer { awaited, services, until, look_again_at: None }
    }

    pub(super) fn for_shutdown(code: u8) -> PendingAnswer {
        PendingAnswer::new(Awaited::Shutdown(code), Vec::new(), None)
    }

    pub(super) fn for_goal(
        goal: Goal,
        ids: Vec<ServiceId>,
        until: Option<Instant>,
    ) -> PendingAnswer {
        let services = ids.into_iter().map(|id| (id, 0)).collect();
        PendingAnswer::new(Awaited::Are(goal), services, until)
    }
}

#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    pub(super) mode: Mode,
    pub(super) waiting: Option<PendingAnswer>,
    /// When an idle client is disconnected.
    deadline: Option<Instant>,
    entered: Instant,
    was_answered: bool,
    /// Its input is at end of file.
    input_ended: bool,
    /// It does not read answers any more. Its requests are still executed.
    is_gone: bool,
}

#[derive(Debug)]
pub(super) struct Control {
    /// The maximum of clients of each kind.
    most: usize,
    listener: UnixListener,
    file: Option<OwnFile>,
    clients: BTreeMap<usize, Client>,
    next: usize,
    /// Clients with input, or with space for output, each once, in the order of their turns.
    busy: VecDeque<usize>,
    /// Whether the backlog may have connections.
    has_visitors: bool,
}

/// With a low limit on open files, most are for the services.
fn most_of_a_kind(open_files: Option<u64>) -> usize {
    let share = open_files.map_or(MOST_OF_A_KIND as u64, |limit| (limit / 8).max(1));
    MOST_OF_A_KIND.min(usize::try_from(share).unwrap_or(MOST_OF_A_KIND))
}

impl Control {
    /// Opens the socket, and replaces one without a listener.
    pub(super) fn open(path: &Path, registry: &Registry) -> io::Result<Control> {
        let (listener, file) = bind_unix(path, FILE_MODE)?;
        listener.set_nonblocking(true)?;
        Source::Listener.register(&listener, registry);
        let file = Some(file);
        Ok(Control {
            most: most_of_a_kind(descriptors::open_files_limit()),
            listener,
            file,
            clients: BTreeMap::new(),
            next: 0,
            busy: VecDeque::new(),
            has_visitors: false,
        })
    }

    /// The poll has reported a new connection.
    pub(super) fn listener_readable(&mut self) {
        self.has_visitors = true;
    }

    /// The poll has reported input or space for output.
    pub(super) fn client_ready(&mut self, number: usize) {
        if !self.busy.contains(&number) {
            self.busy.push_back(number);
        }
    }

    /// Whether there is work that needs no report.
    pub(super) fn has_work(&self) -> bool {
        (self.has_visitors && self.room_at().is_none()) || !self.busy.is_empty()
    }

    /// Accepts a batch of connections, while there is room.
    pub(super) fn accept(&mut self, now: Instant, registry: &Registry) {
        for _ in 0..BATCH {
            if !self.has_visitors || self.room_at().is_some_and(|at| at > now) {
                return;
            }
            match self.listener.accept() {
                Ok((stream, _)) if is_allowed(&stream) => self.enter(stream, now, registry),
                Ok(_) => {}
                // A client that has disconnected, accept(2).
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    // For example out of descriptors: the connections stay in the backlog, and the poll
                    // does not report them again.
                    if error.kind() != ErrorKind::WouldBlock {
                        registry.look_again(Source::Listener.token());
                    }
                    self.has_visitors = false;
                }
            }
        }
    }

    /// The client whose turn it is.
    pub(super) fn next_ready(&mut self) -> Option<usize> {
        self.busy.pop_front()
    }

    /// The socket's file, which the caller removes at the end.
    pub(super) fn take_file(&mut self) -> Option<OwnFile> {
        self.file.take()
    }

    /// When there is room for another client; `None`: now.
    fn room_at(&self) -> Option<Instant> {
        let asking = || self.clients.iter().filter(|(_, client)| client.asks());
        if asking().count() < self.most || asking().any(|client| self.had_its_turn(client)) {
            return None;
        }
        asking().map(|(_, client)| client.entered + TURN).min()
    }

    /// Whether it has got the answers to all that it has sent so far, so that another client may replace it
    /// at once.
    fn had_its_turn(&self, (number, client): (&usize, &Client)) -> bool {
        let is_idle = client.input.is_empty() && client.output.is_empty();
        client.asks() && client.was_answered && is_idle && !self.busy.contains(number)
    }

    /// If more than `most` clients send requests (or do not), closes one of them: the oldest that was
    /// answered, or else the oldest.
    fn make_room(&mut self, asks: bool, most: usize) {
        let same = || self.clients.iter().filter(|(_, client)| client.asks() == asks);
        if same().count() > most
            && let Some((oldest, _)) =
                same().min_by_key(|one| (!self.had_its_turn(*one), one.1.entered))
        {
            let oldest = *oldest;
            let client = self.clients.remove(&oldest);
            // It waits or follows, and must not take this for the end of the init. If this does not
            // fit, the reader is slow anyway.
            if let Some(mut client) = client.filter(|client| !asks && client.output.is_empty()) {
                let reason = no(&"another client has replaced this one".to_owned().into());
                let _ = client.stream.write(format!("{reason}\n").as_bytes());
            }
        }
    }

    fn enter(&mut self, stream: UnixStream, now: Instant, registry: &Registry) {
        self.make_room(true, self.most - 1);
        // Numbers are not reused soon: the poll may still report a closed client.
        let number = self.next;
        self.next = (self.next + 1) % (1 << 20);
        if stream.set_nonblocking(true).is_ok() {
            Source::Client(number).register(&stream, registry);
            let client = Client {
                stream,
                input: Vec::new(),
                output: Vec::new(),
                mode: Mode::Asking,
                waiting: None,
                deadline: Some(now + PATIENCE),
                entered: now,
                was_answered: false,
                input_ended: false,
                is_gone: false,
            };
            self.clients.insert(number, client);
        }
    }

    /// The next complete request of this client, if the last one is answered.
    pub(super) fn request(
        &mut self,
        number: usize,
        now: Instant,
    ) -> Option<Result<Vec<u8>, String>> {
        let client = self.clients.get_mut(&number)?;
        if !client.asks() || !client.output.is_empty() {
            return None;
        }
        client.fill();
        if let Some(end) = client.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = client.input.drain(..=end).collect();
            client.deadline = Some(now + PATIENCE);
            return Some(Ok(line));
        }
        if client.input.len() >= LONGEST_REQUEST {
            client.input_ended = true;
            client.input.clear();
            return Some(Err(format!("a request is shorter than {LONGEST_REQUEST} bytes")));
        }
        if client.input_ended {
            self.clients.remove(&number);
        }
        None
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    pub(super) fn client_descriptor(&self, number: usize) -> Option<RawFd> {
        self.clients.get(&number).map(|client| client.stream.as_raw_fd())
    }

    pub(super) fn client(&mut self, number: usize) -> Option<&mut Client> {
        self.clients.get_mut(&number)
    }

    /// The client gets its answer later.
    pub(super) fn defer_answer(&mut self, number: usize, waiting: PendingAnswer) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        // If it disconnected right after its request, the poll reports nothing more.
        client.is_gone |= client.is_closed();
        if !client.is_gone {
            client.waiting = Some(waiting);
            client.deadline = None;
        }
        self.make_room(false, self.most);
    }

    /// The client gets a stream, or a later answer.
    pub(super) fn set_mode(&mut self, number: usize, mode: Mode) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.mode = mode;
            client.deadline = None;
        }
        self.make_room(false, self.most);
    }

    /// When to check a waiting client again.
    pub(super) fn look_again(&mut self, number: usize, at: Option<Instant>) {
        let client = self.clients.get_mut(&number);
        if let Some(waiting) = client.and_then(|client| client.waiting.as_mut()) {
            waiting.look_again_at = at;
        }
    }

    /// The waiting client is about to get its answer, and may send requests again.
    pub(super) fn end_deferral(&mut self, number: usize, now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.waiting = None;
        client.entered = now;
        if client.mode == Mode::Promised {
            client.mode = Mode::Asking;
        }
        client.deadline = Some(now + PATIENCE);
    }

    /// All clients that wait or follow.
    pub(super) fn followers(&self) -> Vec<usize> {
        self.clients
            .iter()
            .filter(|(_, client)| !client.asks())
            .map(|(number, _)| *number)
            .collect()
    }

    pub(super) fn event_followers(&self) -> Vec<usize> {
        let follows = |(_, client): &(&usize, &Client)| client.mode == Mode::Events;
        self.clients.iter().filter(follows).map(|(number, _)| *number).collect()
    }

    /// Sends bytes to the client, now or when there is space. A client that does not read its stream is
    /// disconnected.
    pub(super) fn give_bytes(&mut self, number: usize, bytes: &[u8], now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.was_answered = true;
        if !client.is_gone {
            client.output.extend_from_slice(bytes);
        }
        if !client.flush(now) || (client.mode != Mode::Asking && client.output.len() > MOST_WAITING)
        {
            self.clients.remove(&number);
        }
    }

    /// Handles input, or space for output.
    pub(super) fn handle_report(&mut self, number: usize, now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if !client.asks() && client.is_closed() {
            client.is_gone = true;
            if client.waiting.take().is_some() {
                client.deadline = Some(now + PATIENCE);
            }
        }
        // A client with a stream sends nothing more.
        let is_gone = client.is_gone && client.mode != Mode::Asking;
        if is_gone || !client.flush(now) {
            self.clients.remove(&number);
        }
    }

    /// Disconnects clients over their time limit, except those with unread requests.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        self.clients.retain(|number, client| {
            client.deadline.is_none_or(|deadline| deadline > now) || self.busy.contains(number)
        });
    }
}

impl Scheduled for Control {
    /// When the next client is over its time limit, or there is room for another one.
    fn deadline(&self) -> Option<Instant> {
        let until = |client: &Client| {
            let waiting = client.waiting.as_ref();
            let waits = waiting.map(|waiting| [waiting.until, waiting.look_again_at]);
            let waits = waits.into_iter().flatten().flatten();
            waits.chain(client.deadline).min()
        };
        let room = self.has_visitors.then(|| self.room_at()).flatten();
        self.clients.values().filter_map(until).chain(room).min()
    }

    /// A suspension says nothing about clients.
    fn put_off(&mut self, gap: Duration, _: Instant) {
        for client in self.clients.values_mut() {
            client.deadline = client.deadline.map(|deadline| deadline + gap);
        }
    }
}

impl Client {
    /// Whether it gets nothing without a request.
    fn asks(&self) -> bool {
        self.mode == Mode::Asking && self.waiting.is_none()
    }

    fn fill(&mut self) {
        let mut buffer = [0; LONGEST_REQUEST];
        while self.input.len() < LONGEST_REQUEST {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.input_ended = true;
                    return;
                }
                Ok(count) => {
                    self.input.extend_from_slice(&buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.input_ended = true;
                    return;
                }
            }
        }
    }

    /// Whether it can't read an answer any more: poll(2) reports HUP when both directions are closed,
    /// even if input is unread. A client that has only closed its sending direction still can.
    fn is_closed(&self) -> bool {
        let gone = PollFlags::HUP | PollFlags::ERR;
        look(&self.stream, PollFlags::empty()).is_ok_and(|seen| seen.intersects(gone))
    }

    /// Writes as much as possible. Returns whether the client is still connected.
    fn flush(&mut self, now: Instant) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count @ 1..) => {
                    self.output.drain(..count);
                    self.deadline = self.deadline.map(|_| now + PATIENCE);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Ok(0) | Err(_) => {
                    self.is_gone = true;
                    self.output.clear();
                }
            }
        }
        if self.is_gone && self.mode != Mode::Asking {
            return false;
        }
        !(self.input_ended && self.input.is_empty() && self.asks())
    }
}

/// Root, and the init's own user.
fn is_allowed(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    peer::of_connection(stream.as_fd()).is_ok_and(|peer| peer.user == own || peer.user == 0)
}

#[cfg(test)]
mod tests;
