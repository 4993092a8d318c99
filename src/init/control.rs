//! The control socket: lets clients in, reads their requests and writes the answers. Nobody who
//! is on the other side can make the init wait, grow or fail: the number of clients, what they
//! send and what waits to be written to them are bounded, and so is the time they have.

use std::collections::BTreeMap;
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
use crate::protocol::{Goal, LONGEST_REQUEST};
use crate::supervisor::ServiceId;
use crate::sys::{descriptors, peer};

/// How many clients may ask at once, and how many may wait or follow. One more of a kind replaces
/// the oldest of its kind: a service that runs as our user can neither keep the operator out nor,
/// by asking, cut off what the operator follows.
const MOST_OF_A_KIND: usize = 32;
/// How long a client that asks is not replaced. Otherwise a thousand connections at once would
/// close those that are about to send their request.
const TURN: Duration = Duration::from_millis(100);
/// How many are let in before the others have their turn.
const BATCH: usize = 64;
/// How long a client may take for a request, or for taking an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Others need not even connect; their credentials keep them out in any case.
const FILE_MODE: rustix::fs::Mode = rustix::fs::Mode::from_raw_mode(0o600);
/// A stream of which more than this waits to be read is cut off.
const MOST_WAITING: usize = 256 * 1024;

/// What a client gets without asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing: it asks.
    Asking,
    /// One answer, when the init has done what it asked for.
    Promised,
    /// Every event.
    Events,
    /// What a service writes, from this byte of it on.
    Logs(ServiceId, u64),
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Nothing but that the core was told of its request.
    Told,
    /// That the core was told of the shutdown with this code.
    Shutdown(u8),
    /// That the services are as it says, whoever has made them so.
    Are(Goal),
    /// That the services are up that it has started.
    Up,
    /// That the runs have ended that it has stopped.
    Ended,
}

/// An answer that comes later.
#[derive(Clone, Debug)]
pub(super) struct PendingAnswer {
    pub(super) awaited: Awaited,
    /// Each service, and how many failed starts of it do not count.
    pub(super) services: Vec<(ServiceId, u32)>,
    pub(super) until: Option<Instant>,
    /// When to look again, if nothing happens until then.
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
    /// When it is sent away, if it does nothing until then.
    deadline: Option<Instant>,
    entered: Instant,
    /// Nothing more comes from it.
    input_ended: bool,
    /// Nobody takes its answers any more. What it has said before it left is still carried out.
    is_gone: bool,
}

#[derive(Debug)]
pub(super) struct Control {
    /// How many clients of a kind there may be at once.
    most: usize,
    listener: UnixListener,
    file: Option<OwnFile>,
    clients: BTreeMap<usize, Client>,
    next: usize,
    /// Clients that have something to say, or have room again.
    busy: Vec<usize>,
    /// Whether somebody may be waiting to be accepted.
    has_visitors: bool,
}

/// Where few descriptors may be open, most are for the services.
fn most_of_a_kind(open_files: Option<u64>) -> usize {
    let share = open_files.map_or(MOST_OF_A_KIND as u64, |limit| (limit / 8).max(1));
    MOST_OF_A_KIND.min(usize::try_from(share).unwrap_or(MOST_OF_A_KIND))
}

impl Control {
    /// Opens the socket, in place of one that nobody listens at any more.
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
            busy: Vec::new(),
            has_visitors: false,
        })
    }

    /// The poll has said that somebody is waiting to be accepted.
    pub(super) fn listener_readable(&mut self) {
        self.has_visitors = true;
    }

    /// The poll has said that this client has said something, or has room.
    pub(super) fn client_ready(&mut self, number: usize) {
        self.busy.push(number);
    }

    /// Whether there is something to do without waiting for a report.
    pub(super) fn has_work(&self) -> bool {
        (self.has_visitors && self.room_at().is_none()) || !self.busy.is_empty()
    }

    /// Accepts connections, a batch at a time, as long as there is room for one more.
    pub(super) fn accept(&mut self, now: Instant, registry: &Registry) {
        for _ in 0..BATCH {
            if !self.has_visitors || self.room_at().is_some_and(|at| at > now) {
                return;
            }
            match self.listener.accept() {
                Ok((stream, _)) if is_allowed(&stream) => self.enter(stream, now, registry),
                Ok(_) => {}
                // One that has left again, accept(2).
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    // Out of descriptors, for example: they stay in the backlog, and the poll, which
                    // has told of them, does not do so again.
                    if error.kind() != ErrorKind::WouldBlock {
                        registry.look_again(Source::Listener.token());
                    }
                    self.has_visitors = false;
                }
            }
        }
    }

    /// The clients of which something was reported.
    pub(super) fn take_busy(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.busy)
    }

    /// What is to be taken away at the end, which is for the caller to do.
    pub(super) fn take_file(&mut self) -> Option<OwnFile> {
        self.file.take()
    }

    /// When there is room for one more client; `None`: now.
    fn room_at(&self) -> Option<Instant> {
        let asking = || self.clients.values().filter(|client| client.asks());
        let is_full = asking().count() >= self.most;
        is_full.then(|| asking().map(|client| client.entered + TURN).min()).flatten()
    }

    /// Closes the oldest of those that ask, or of the others, if they are more than `most`.
    fn make_room(&mut self, asks: bool, most: usize) {
        let same = || self.clients.iter().filter(|(_, client)| client.asks() == asks);
        if same().count() > most
            && let Some((oldest, _)) = same().min_by_key(|(_, client)| client.entered)
        {
            let oldest = *oldest;
            self.clients.remove(&oldest);
        }
    }

    fn enter(&mut self, stream: UnixStream, now: Instant, registry: &Registry) {
        self.make_room(true, self.most - 1);
        // Numbers are not reused soon: a report of the poll may be of one that has left.
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
                input_ended: false,
                is_gone: false,
            };
            self.clients.insert(number, client);
        }
    }

    /// The next whole request of this client, if there is one and the last one is answered.
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

    /// The socket that clients come in by.
    pub(super) fn descriptor(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// The connection of this client.
    pub(super) fn client_descriptor(&self, number: usize) -> Option<RawFd> {
        self.clients.get(&number).map(|client| client.stream.as_raw_fd())
    }

    pub(super) fn client(&mut self, number: usize) -> Option<&mut Client> {
        self.clients.get_mut(&number)
    }

    /// The client is to get its answer later.
    pub(super) fn defer_answer(&mut self, number: usize, waiting: PendingAnswer) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        // If it left right after its request, the poll has nothing more to say of it.
        client.is_gone |= client.is_closed();
        if !client.is_gone {
            client.waiting = Some(waiting);
            client.deadline = None;
        }
        self.make_room(false, self.most);
    }

    /// The client gets a stream from now on, or an answer that takes its time.
    pub(super) fn set_mode(&mut self, number: usize, mode: Mode) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.mode = mode;
            client.deadline = None;
        }
        self.make_room(false, self.most);
    }

    /// The client, which waits, is to be looked after at this time.
    pub(super) fn look_again(&mut self, number: usize, at: Option<Instant>) {
        let client = self.clients.get_mut(&number);
        if let Some(waiting) = client.and_then(|client| client.waiting.as_mut()) {
            waiting.look_again_at = at;
        }
    }

    /// The client, which has waited, is about to get its answer, and may ask again.
    pub(super) fn end_deferral(&mut self, number: usize, now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.waiting = None;
        client.entered = now;
        if client.mode == Mode::Promised {
            client.mode = Mode::Asking;
        }
        client.deadline = Some(now + PATIENCE);
    }

    /// All clients that are not just asking.
    pub(super) fn followers(&self) -> Vec<usize> {
        self.clients
            .iter()
            .filter(|(_, client)| !client.asks())
            .map(|(number, _)| *number)
            .collect()
    }

    /// The clients that follow the events.
    pub(super) fn event_followers(&self) -> Vec<usize> {
        let follows = |(_, client): &(&usize, &Client)| client.mode == Mode::Events;
        self.clients.iter().filter(follows).map(|(number, _)| *number).collect()
    }

    /// Gives the client this, now or when it has room. One that does not take its stream is sent
    /// away.
    pub(super) fn give_bytes(&mut self, number: usize, bytes: &[u8], now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if !client.is_gone {
            client.output.extend_from_slice(bytes);
        }
        if !client.flush(now) || (client.mode != Mode::Asking && client.output.len() > MOST_WAITING)
        {
            self.clients.remove(&number);
        }
    }

    /// The poll has said that the client has said something, or has room.
    pub(super) fn handle_report(&mut self, number: usize, now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if !client.asks() && client.is_closed() {
            client.is_gone = true;
            if client.waiting.take().is_some() {
                client.deadline = Some(now + PATIENCE);
            }
        }
        // Whoever gets a stream has nothing to say any more.
        let is_gone = client.is_gone && client.mode != Mode::Asking;
        if is_gone || !client.flush(now) {
            self.clients.remove(&number);
        }
    }

    /// Sends those away that have used up their time, but not those who have said something that is
    /// still to be heard.
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
    /// When the next client has used up its time, or there is room for one more.
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

    /// Silence meant nothing.
    fn put_off(&mut self, gap: Duration, _: Instant) {
        for client in self.clients.values_mut() {
            client.deadline = client.deadline.map(|deadline| deadline + gap);
        }
    }
}

impl Client {
    /// Whether it gets nothing without asking again.
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

    /// Whether nobody can take an answer any more: poll(2) says HUP when both directions are closed,
    /// whatever is still to be read. One that has only said its last word is still there.
    fn is_closed(&self) -> bool {
        let gone = PollFlags::HUP | PollFlags::ERR;
        look(&self.stream, PollFlags::empty()).is_ok_and(|seen| seen.intersects(gone))
    }

    /// Writes what there is room for. Whether it is still there.
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

/// Root, and whoever the init runs as.
fn is_allowed(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    peer::of_connection(stream.as_fd()).is_ok_and(|peer| peer.user == own || peer.user == 0)
}

#[cfg(test)]
mod tests;
