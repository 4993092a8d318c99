//! Reports events to the outside: hooks, the `on-event` file and the parent; and stores them for later
//! requests.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::children::Children;
use super::history::History;
use super::learnt::{Learnt, Scheduled};
use crate::bundle::OnEvent;
use crate::event_kind::EventKind;
use crate::exit::ExitStatus;
use crate::supervisor::Announcement;

mod event_file;
pub(super) mod hooks;
pub(super) mod parent;
mod rate_limit;

use event_file::EventFile;
use hooks::Hooks;
use parent::Parent;
use rate_limit::RateLimit;

#[derive(Debug)]
pub(super) struct Announcer {
    pub(super) history: History,
    pub(super) hooks: Hooks,
    pub(super) parent: Parent,
    pub(super) rate_limit: RateLimit,
    event_file: EventFile,
}

impl Announcer {
    pub(super) fn new(parent: Parent) -> Announcer {
        Announcer {
            history: History::default(),
            hooks: Hooks::default(),
            parent,
            rate_limit: RateLimit::default(),
            event_file: EventFile::default(),
        }
    }

    /// Stores an event in the history.
    pub(super) fn remember(&mut self, announcement: &Announcement, now: Instant) {
        let history = &mut self.history;
        match *announcement {
            Announcement::Ready(id) | Announcement::ReadyAtOnce(id) => history.ready(id, now),
            Announcement::Stopping(id, _)
            | Announcement::StopCommand(id)
            | Announcement::Draining(id, _) => history.asked(id, now),
            Announcement::Exited(id, status) => history.ended(id, now, status),
            _ => {}
        }
    }

    /// Queues the line for the command and the file of `on-event`.
    pub(super) fn hand_out(&mut self, line: String, on_event: &OnEvent, learnt: &mut Learnt) {
        if on_event.file.is_some() {
            self.event_file.push(&line);
        }
        if !on_event.command.is_empty() {
            self.hooks.push(line, learnt);
        }
    }

    /// Whether children are to be started that report events.
    pub(super) fn is_due(&self) -> bool {
        self.hooks.are_due() || self.event_file.is_due()
    }

    /// Ends children over their time limit, and has queued events written.
    pub(super) fn run(
        &mut self,
        on_event: &OnEvent,
        children: &mut Children,
        now: Instant,
        learnt: &mut Learnt,
    ) {
        self.hooks.look_after(on_event.command.is_empty(), now);
        self.event_file.run(on_event.file.as_deref(), children, now, learnt);
    }

    /// The child that writes events was reaped.
    pub(super) fn written(&mut self, on_event: &OnEvent, status: ExitStatus, learnt: &mut Learnt) {
        let file = on_event.file.clone().unwrap_or_default();
        self.event_file.ended(&file, status, learnt);
    }

    /// Only the children of the file are left: events that are not written yet are written at the end.
    pub(super) fn pause(&mut self, now: Instant) {
        self.event_file.pause(now);
    }

    /// Everything is killed: no more commands are run.
    pub(super) fn give_up(&mut self, now: Instant, learnt: &mut Learnt) {
        self.hooks.give_up(learnt);
        self.event_file.pause(now);
    }

    /// How to write the last events, which arrived while everything was killed.
    pub(super) fn take_rest(
        &mut self,
        on_event: &OnEvent,
    ) -> Option<(PathBuf, impl Fn() -> io::Result<()> + use<>)> {
        let file = on_event.file.clone()?;
        let write = self.event_file.take_rest(&file)?;
        Some((file, write))
    }

    /// The result for the last events.
    pub(super) fn rest_was_written(
        &mut self,
        written: Option<(PathBuf, io::Error)>,
        learnt: &mut Learnt,
    ) {
        if let Some((file, error)) = written {
            self.event_file.are_lost(&file, &error, learnt);
        }
        self.event_file.tell_of_dropped(learnt);
    }

    fn parts(&self) -> [&dyn Scheduled; 4] {
        [&self.hooks, &self.event_file, &self.parent, &self.rate_limit]
    }
}

impl Scheduled for Announcer {
    fn deadline(&self) -> Option<Instant> {
        self.parts().into_iter().filter_map(Scheduled::deadline).min()
    }

    fn put_off(&mut self, gap: Duration, now: Instant) {
        self.hooks.put_off(gap, now);
        self.event_file.put_off(gap, now);
        self.parent.put_off(gap, now);
    }
}

/// Whether hooks get this event.
pub(super) fn is_wanted(on_event: &OnEvent, event: EventKind) -> bool {
    let is_named = on_event.events.is_empty() || on_event.events.contains(&event);
    is_named && (on_event.file.is_some() || !on_event.command.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::ServiceId;

    #[test]
    fn a_run_that_ended_at_once_was_ready_before() {
        let (mut announcer, id, now) =
            (Announcer::new(Parent::default()), ServiceId(0), Instant::now());
        announcer.history.started(id, now);
        announcer.remember(&Announcement::ReadyAtOnce(id), now);
        announcer.remember(&Announcement::Exited(id, ExitStatus::Code(0)), now);
        let run = announcer.history.past(id).unwrap().runs[0];
        assert_eq!((run.ready, run.ended), (Some(now), Some((now, ExitStatus::Code(0)))));
    }
}
