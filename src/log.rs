//! The services' output and the init's own messages, on their way to stdout and stderr.
//!
//! A service in the modes `prefix` and `json` writes into pipes ([`stream`]). Whole lines are formatted
//! ([`format`]) and appended to the buffer of their descriptor ([`sink`]). Nothing here blocks:
//! unwritten output stays in the sink's buffer, and while that is full the pipes of the services are
//! not read, so that the services block and not the init (backpressure).

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use mio::Token;

use crate::bundle::{LogMode, Service};
use crate::poll::Registry;
use crate::supervisor::ServiceId;

mod format;
mod look_ahead;
mod nonblocking_writer;
mod ring;
mod sink;
mod stream;

pub use nonblocking_writer::write_in_time;
pub use stream::pipe;

use format::Format;
pub use format::TimeStamp;
use ring::Ring;
use sink::Sinks;
pub use sink::Voice;
use stream::{Pumped, Stream};

/// The most bytes of one read(2).
const READ_BYTES: usize = 32 * 1024;
/// The most pipes of earlier runs.
const MOST_OUTLIVING: usize = 128;

/// An output of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Channel {
    /// Both.
    pub const BOTH: [Channel; 2] = [Channel::Stdout, Channel::Stderr];

    /// The name in JSON lines.
    pub fn name(self) -> &'static str {
        match self {
            Channel::Stdout => "stdout",
            Channel::Stderr => "stderr",
        }
    }
}

/// All output of the init, and of the services that do not inherit its descriptors.
#[derive(Debug)]
pub struct Logs {
    /// The outputs for all lines.
    pub sinks: Sinks,
    /// The streams, each at its own index; `None` where one has ended.
    streams: Vec<Option<Stream>>,
    /// Unused indices.
    free: Vec<usize>,
    /// The indices of each service's streams.
    current: Vec<[Option<usize>; 2]>,
    /// The indices of streams of earlier runs with open write ends, oldest first.
    outliving: VecDeque<usize>,
    /// The queue of streams that may be readable, each at most once.
    ready: VecDeque<usize>,
    scratch: Vec<u8>,
    /// Services that have written the watched text.
    heard: Vec<ServiceId>,
    /// The recent output of each service; `None` if nothing can request it.
    rings: Option<Vec<Ring>>,
}

impl Logs {
    /// No output yet. The poll reports the sinks with these `tokens`.
    pub fn new(voice: Voice, tokens: [Token; 2]) -> Logs {
        Logs {
            sinks: Sinks::new(voice, tokens),
            streams: Vec::new(),
            free: Vec::new(),
            current: Vec::new(),
            outliving: VecDeque::new(),
            ready: VecDeque::new(),
            scratch: Vec::new(),
            heard: Vec::new(),
            rings: None,
        }
    }

    /// From here on stores the recent output of this number of services.
    pub fn keep(&mut self, services: usize) {
        let rings = self.rings.get_or_insert_default();
        rings.resize_with(services.max(rings.len()), Ring::default);
        rings.iter_mut().for_each(|ring| ring.keep(ring::share(services)));
    }

    /// The stored output of the service from this offset on, and the offset of the end.
    pub fn since(&self, id: ServiceId, from: u64) -> (Vec<u8>, u64) {
        let ring = self.rings.as_ref().and_then(|rings| rings.get(id.0));
        ring.map_or((Vec::new(), 0), |ring| ring.since(from))
    }

    /// The id is reused for another service.
    pub fn forget(&mut self, id: ServiceId) {
        if let Some(ring) = self.rings.as_mut().and_then(|rings| rings.get_mut(id.0)) {
            ring.forget();
        }
        for channel in Channel::BOTH {
            self.outlives(id, channel);
        }
        for stream in self.streams.iter_mut().flatten().filter(|stream| stream.service == Some(id))
        {
            stream.service = None;
        }
    }

    /// Watches for one line of the service that contains `text`.
    pub fn watch(&mut self, id: ServiceId, text: &str) {
        for channel in Channel::BOTH {
            if let Some(Some(stream)) =
                self.place(id, channel).and_then(|place| self.streams.get_mut(place))
            {
                stream.watch_for(text);
            }
        }
    }

    /// Services that have written the watched text since the last call.
    pub fn take_heard(&mut self) -> Vec<ServiceId> {
        std::mem::take(&mut self.heard)
    }

    /// Adds the read end of the pipe for `channel` of the service. The poll reports it with the `token`
    /// of its index. A pipe of an earlier run is still read: a process that writes into it would
    /// otherwise die of SIGPIPE.
    pub fn attach(
        &mut self,
        id: ServiceId,
        service: &Service,
        channel: Channel,
        pipe: OwnedFd,
        registry: &Registry,
        token: impl Fn(usize) -> Token,
    ) {
        let colour = self.sinks.voice.colour && self.sinks.sink(channel, registry).is_terminal();
        let format = match service.log {
            LogMode::Json => Format::json(&service.name, channel),
            LogMode::Prefix | LogMode::Inherit => {
                Format::prefix(&service.name, colour.then_some(id.0))
            }
        };
        self.outlives(id, channel);
        self.heard.retain(|heard| *heard != id);
        self.end_oldest(registry);
        let place = self.free.last().copied().unwrap_or(self.streams.len());
        let mut stream =
            Stream::open(pipe, channel, format, service.log_full, registry, token(place));
        stream.service = Some(id);
        stream.name.clone_from(&service.name);
        match self.free.pop() {
            Some(place) => self.streams[place] = Some(stream),
            None => self.streams.push(Some(stream)),
        }
        if self.current.len() <= id.0 {
            self.current.resize(id.0 + 1, [None; 2]);
        }
        self.current[id.0][channel as usize] = Some(place);
    }

    /// The current pipe belongs to an earlier run from now on.
    fn outlives(&mut self, id: ServiceId, channel: Channel) {
        let place = self.current.get_mut(id.0).and_then(|of| of[channel as usize].take());
        if let Some(place) = place
            && let Some(Some(stream)) = self.streams.get_mut(place)
        {
            stream.watch_no_more();
            self.outliving.push_back(place);
        }
    }

    /// Closes the oldest pipes if there are too many.
    fn end_oldest(&mut self, registry: &Registry) {
        while self.outliving.len() > MOST_OUTLIVING
            && let Some(place) = self.outliving.pop_front()
        {
            self.pump_stream(place, registry);
            self.finish_line(place, registry);
            let Some(stream) = self.streams[place].take() else { continue };
            self.freed(place, &stream);
            let (channel, name) = (stream.channel.name(), &stream.name);
            let text = format!(
                "more than {MOST_OUTLIVING} pipes of earlier runs are still open: \
                 the oldest, {channel} of service \"{name}\", is closed"
            );
            self.sinks.say(&text, registry);
        }
    }

    /// The stream at this index has ended.
    fn freed(&mut self, place: usize, stream: &Stream) {
        self.free.push(place);
        self.outliving.retain(|outliving| *outliving != place);
        if let Some(of) = stream.service.and_then(|id| self.current.get_mut(id.0)) {
            of.iter_mut().filter(|current| **current == Some(place)).for_each(|it| *it = None);
        }
    }

    fn place(&self, id: ServiceId, channel: Channel) -> Option<usize> {
        self.current.get(id.0)?[channel as usize]
    }

    /// The poll has reported the pipe at this index.
    pub fn readable(&mut self, place: usize) {
        self.enqueue(place);
    }

    /// The pipe at this index, while it is open.
    pub fn stream_descriptor(&self, place: usize) -> Option<RawFd> {
        let stream = self.streams.get(place)?.as_ref();
        stream.map(AsRawFd::as_raw_fd)
    }

    /// Moves output without blocking. Returns whether there is more that can be moved now: then the
    /// poll must not wait.
    pub fn pump(&mut self, registry: &Registry) -> bool {
        let mut more = false;
        for _ in 0..self.ready.len() {
            let Some(index) = self.ready.pop_front() else { break };
            match self.pump_stream(index, registry) {
                Pumped::Empty | Pumped::Ended | Pumped::Failed => {}
                Pumped::SinkFull => self.enqueue(index),
                Pumped::TurnOver => {
                    more = true;
                    self.enqueue(index);
                }
            }
        }
        more
    }

    /// Searches for watched text in pipes that can't be read, because the sink is full.
    pub fn look_ahead(&mut self) {
        for index in &self.ready {
            let Some(Some(stream)) = self.streams.get_mut(*index) else { continue };
            stream.look_ahead();
            if stream.take_heard() {
                self.heard.extend(stream.service);
            }
        }
    }

    /// Moves the remaining output of a service that has ended, without blocking; pipes that its
    /// children keep open stay open.
    pub fn service_ended(&mut self, id: ServiceId, registry: &Registry) {
        for channel in Channel::BOTH {
            let Some(index) = self.place(id, channel) else { continue };
            match self.pump_stream(index, registry) {
                Pumped::Empty => self.finish_line(index, registry),
                Pumped::Ended | Pumped::Failed => {}
                Pumped::SinkFull | Pumped::TurnOver => self.enqueue(index),
            }
        }
    }

    /// Moves all remaining output, without blocking. Returns whether there may be more that can be
    /// moved now.
    pub fn finish(&mut self, registry: &Registry) -> bool {
        let (mut more, mut is_held_up) = (false, false);
        for index in 0..self.streams.len() {
            let mut pumped = self.pump_stream(index, registry);
            if pumped == Pumped::Failed {
                // There is no later retry for a lasting failure.
                pumped = self.pump_stream(index, registry);
            }
            match pumped {
                Pumped::Empty => self.finish_line(index, registry),
                Pumped::Ended | Pumped::Failed => {}
                Pumped::SinkFull => is_held_up = true,
                Pumped::TurnOver => more = true,
            }
        }
        self.sinks.flush(registry);
        // Later streams may have made room for blocked ones.
        more || is_held_up && self.sinks.is_flushed(&Channel::BOTH)
    }

    fn pump_stream(&mut self, index: usize, registry: &Registry) -> Pumped {
        let Some(Some(mut stream)) = self.streams.get_mut(index).map(Option::take) else {
            return Pumped::Ended;
        };
        stream.queued = false;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(READ_BYTES, 0);
        let id = stream.service;
        let mut ring = self.take_ring(id);
        let sink = self.sinks.sink(stream.channel, registry);
        let pumped = stream.pump(sink, &mut scratch, ring.as_mut(), registry);
        self.put_ring_back(id, ring);
        self.scratch = scratch;
        if stream.take_heard() {
            self.heard.extend(id);
        }
        if pumped == Pumped::Failed {
            registry.look_again(stream.token());
        }
        match pumped {
            Pumped::Ended => self.freed(index, &stream),
            _ => self.streams[index] = Some(stream),
        }
        pumped
    }

    fn finish_line(&mut self, index: usize, registry: &Registry) {
        if let Some(Some(mut stream)) = self.streams.get_mut(index).map(Option::take) {
            let id = stream.service;
            let mut ring = self.take_ring(id);
            stream.finish(self.sinks.sink(stream.channel, registry), ring.as_mut(), registry);
            self.put_ring_back(id, ring);
            self.streams[index] = Some(stream);
        }
    }

    fn take_ring(&mut self, id: Option<ServiceId>) -> Option<Ring> {
        self.rings.as_mut()?.get_mut(id?.0).map(std::mem::take)
    }

    fn put_ring_back(&mut self, id: Option<ServiceId>, ring: Option<Ring>) {
        if let (Some(id), Some(ring), Some(rings)) = (id, ring, &mut self.rings) {
            rings[id.0] = ring;
        }
    }

    fn enqueue(&mut self, index: usize) {
        if let Some(Some(stream)) = self.streams.get_mut(index)
            && !stream.queued
        {
            stream.queued = true;
            self.ready.push_back(index);
        }
    }
}
