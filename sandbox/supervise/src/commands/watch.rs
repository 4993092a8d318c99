//! `supervise watch`: proposals, decisions and events of the init, as they come.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use supervise::event_file::Follower;
use supervise::init_event::{Filter, InitEvent};
use supervise::paint::Paint;
use supervise::proposal::{Entry, ProposalId};
use supervise::queue::Queue;
use supervise::settings::Settings;
use supervise::text::one_line;
use supervise::watcher::Watcher;

use super::list::line;
use super::{entry_json, fold_for_a_person, paint, say, say_json};

/// Of what happened before.
const FAILURES: usize = 5;

struct Watch {
    queue: Queue,
    follower: Follower,
    /// What was last said of each proposal.
    told: BTreeMap<ProposalId, &'static str>,
    json: bool,
    paint: Paint,
}

pub(crate) async fn run(settings: &Settings, json: bool) -> Result<(), String> {
    let queue = Queue::new(settings.queue.clone());
    let archive = queue.archive();
    let events = settings.events.parent().unwrap_or(Path::new("/"));
    // Before the first look, so that what comes after it is not missed.
    let mut watcher = Watcher::new(&[queue.directory(), &archive, events])
        .map_err(|error| format!("inotify: {error}"))?;
    let follower = Follower::new(&settings.events);
    let mut watch = Watch { queue, follower, told: BTreeMap::new(), json, paint: paint() };
    watch.look(true)?;
    loop {
        watcher.change().await.map_err(|error| format!("inotify: {error}"))?;
        watch.look(false)?;
    }
}

impl Watch {
    fn look(&mut self, is_first: bool) -> Result<(), String> {
        let scan = self.queue.scan()?;
        for entry in &scan.entries {
            self.tell(entry, is_first && entry.decision.is_some())?;
        }
        for entry in &self.queue.scan_archive()?.entries {
            self.tell(entry, is_first)?;
        }
        self.tell_events(is_first)
    }

    fn tell(&mut self, entry: &Entry, is_old: bool) -> Result<(), String> {
        let told = self.told.insert(entry.proposal.id.clone(), entry.status());
        if told == Some(entry.status()) || is_old {
            return Ok(());
        }
        if self.json {
            return say_json(&json!({"proposal": entry_json(entry)}));
        }
        say(&line(entry, self.paint))
    }

    fn tell_events(&mut self, is_first: bool) -> Result<(), String> {
        let text = self.follower.read().map_err(|error| format!("events: {error}"))?;
        let filter = match is_first {
            true => Filter { limit: FAILURES, ..Filter::default() },
            false => Filter { limit: usize::MAX, all: true, service: None },
        };
        for event in filter.select(&text) {
            self.tell_event(&event)?;
        }
        Ok(())
    }

    fn tell_event(&self, event: &InitEvent) -> Result<(), String> {
        if self.json {
            return say_json(&json!({"event": event.json()}));
        }
        let line = fold_for_a_person(&one_line(&event.to_string()), 0);
        let shown = if event.is_failure() { self.paint.red(&line) } else { line };
        say(&format!("{shown}\n"))
    }
}
