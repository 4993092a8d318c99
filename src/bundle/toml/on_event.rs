//! Parses `on-event` of `[bundle]`.

use strict_toml::{DeValue, Placed, Section, nearest};

use super::values;
use crate::bundle::OnEvent;
use crate::event_kind::EventKind;
use crate::words::Words;

pub(super) const KEYS: [&str; 3] = ["command", "file", "events"];

pub(super) fn on_event(section: &mut Section) -> OnEvent {
    let Some(value) = section.get("on-event") else { return OnEvent::default() };
    let DeValue::Table(table) = value.get_ref() else {
        let example = "a table, like { file = \"/run/events\" } or { command = [\"/app/tell\"] }";
        return section.wrong(value, "on-event", example).unwrap_or_default();
    };
    let section = &mut Section::new(table, "on-event", section.diagnostics);
    section.only(&KEYS, &[]);
    if section.get("command").is_none() && section.get("file").is_none() {
        section.report(value.span(), "`on-event` has a `command`, a `file`, or both");
    }
    let command = match section.get("command") {
        Some(_) => values::command(section, "command"),
        None => Vec::new(),
    };
    OnEvent { command, file: section.path("file"), events: events(section) }
}

fn events(section: &mut Section) -> Vec<EventKind> {
    let mut events = Vec::new();
    for Placed { value, span } in section.strings("events").unwrap_or_default() {
        match EventKind::from_word(value) {
            Some(kind) => events.push(kind),
            None => section.diagnostics.add_with(span, || {
                let known = EventKind::all_words();
                let fix = match nearest(value, &known) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("there are {}", known.join(", ")),
                };
                format!("there is no event \"{value}\"; {fix}")
            }),
        }
    }
    events
}
