//! What the init tells of the services: lines of JSON, read leniently, for another program writes
//! them and may learn new words.

use std::collections::{HashSet, VecDeque};
use std::fmt;

use serde_json::{Map, Value};

const MAX_DETAILS: usize = 8;
const MAX_TEXT: usize = 200;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct InitEvent {
    /// When, as it was written.
    pub time: String,
    /// What.
    pub event: String,
    /// To which service; none if it concerns the init itself.
    pub service: Option<String>,
    /// Whatever else the line says: `code`, `signal`, `seconds`, `cause`.
    pub details: Map<String, Value>,
}

impl InitEvent {
    /// From a line; none if it is no event.
    pub fn parse(line: &str) -> Option<Self> {
        let Value::Object(mut fields) = serde_json::from_str(line).ok()? else { return None };
        let mut text = |key: &str| match fields.remove(key) {
            Some(Value::String(text)) => Some(cut(text)),
            _ => None,
        };
        let (time, event, service) = (text("time"), text("event")?, text("service"));
        let details = fields.into_iter().filter_map(|(key, value)| match value {
            Value::Null | Value::Array(_) | Value::Object(_) => None,
            Value::String(text) => Some((cut(key), Value::String(cut(text)))),
            other => Some((cut(key), other)),
        });
        Some(InitEvent {
            time: time.unwrap_or_default(),
            event,
            service,
            details: details.take(MAX_DETAILS).collect(),
        })
    }

    /// Whether something went wrong.
    pub fn is_failure(&self) -> bool {
        match self.event.as_str() {
            "exited" => {
                let code = self.details.get("code").and_then(Value::as_i64);
                self.details.contains_key("signal") || code.is_some_and(|code| code != 0)
            }
            "backoff" | "given-up" | "unhealthy" | "not-ready-in-time" | "requirement-gone"
            | "overran" | "grace-over" => true,
            _ => false,
        }
    }

    /// As one JSON object.
    pub fn json(&self) -> Value {
        let mut object = self.details.clone();
        object.insert("time".to_owned(), Value::String(self.time.clone()));
        object.insert("event".to_owned(), Value::String(self.event.clone()));
        if let Some(service) = &self.service {
            object.insert("service".to_owned(), Value::String(service.clone()));
        }
        Value::Object(object)
    }
}

impl fmt::Display for InitEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = self.service.as_deref().unwrap_or("init");
        write!(formatter, "{} {service} {}", self.time, self.event)?;
        for (key, value) in &self.details {
            match value {
                Value::String(text) => write!(formatter, " {key}={text}")?,
                other => write!(formatter, " {key}={other}")?,
            }
        }
        Ok(())
    }
}

fn cut(text: String) -> String {
    if text.len() <= MAX_TEXT { text } else { text.chars().take(MAX_TEXT).collect() }
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this service only.
    pub service: Option<String>,
    /// Everything, not only what went wrong.
    pub all: bool,
    /// At most so many, the newest.
    pub limit: usize,
}

impl Filter {
    /// Whether it is wanted.
    pub fn takes(&self, event: &InitEvent) -> bool {
        (self.all || event.is_failure())
            && self.service.as_ref().is_none_or(|service| event.service.as_ref() == Some(service))
    }

    /// The newest of those wanted, the oldest first.
    pub fn select(&self, text: &str) -> Vec<InitEvent> {
        let mut asked_to_end = HashSet::new();
        let mut selected = VecDeque::new();
        for event in text.lines().filter_map(InitEvent::parse) {
            let was_asked = match event.event.as_str() {
                "stopping" => asked_to_end.insert(event.service.clone()),
                // That it ends by the signal it was sent is as it should be.
                "exited" => asked_to_end.remove(&event.service),
                _ => false,
            };
            if !self.takes(&event) || (was_asked && !self.all) {
                continue;
            }
            if selected.len() == self.limit {
                selected.pop_front();
            }
            selected.push_back(event);
        }
        selected.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = concat!(
        r#"{"time":"t1","event":"started","service":"egress","pid":7}"#,
        "\n{\"half\n",
        r#"{"time":"t2","event":"exited","service":"egress","code":1}"#,
        "\n",
        r#"{"time":"t3","event":"exited","service":"git-gate","code":0}"#,
        "\n",
        r#"{"time":"t4","event":"backoff","service":"egress","seconds":0.5}"#,
        "\n",
        r#"{"time":"t5","event":"exited","service":"pipelock","signal":"SIGKILL","code":null}"#,
        "\n",
    );

    fn times(filter: &Filter) -> Vec<String> {
        filter.select(LINES).into_iter().map(|event| event.time).collect()
    }

    #[test]
    fn the_newest_failures_are_selected() {
        assert_eq!(times(&Filter { limit: 10, ..Filter::default() }), ["t2", "t4", "t5"]);
        assert_eq!(times(&Filter { limit: 1, ..Filter::default() }), ["t5"]);
        assert_eq!(times(&Filter { limit: 10, all: true, service: None }).len(), 5);
        let egress = Filter { service: Some("egress".to_owned()), limit: 10, all: false };
        assert_eq!(times(&egress), ["t2", "t4"]);
    }

    #[test]
    fn what_was_asked_to_end_did_not_fail() {
        let exited = r#"{"event":"exited","service":"pipelock","signal":"SIGTERM"}"#;
        let stopping = r#"{"event":"stopping","service":"pipelock","signal":"SIGTERM"}"#;
        let failures = |text: &str| Filter { limit: 10, ..Filter::default() }.select(text).len();
        assert_eq!(failures(exited), 1);
        assert_eq!(failures(&format!("{stopping}\n{exited}\n")), 0);
        assert_eq!(failures(&format!("{stopping}\n{exited}\n{exited}\n")), 1);
    }

    #[test]
    fn an_event_is_told_on_one_line() {
        let event = &Filter { limit: 1, ..Filter::default() }.select(LINES)[0];
        assert_eq!(event.to_string(), "t5 pipelock exited signal=SIGKILL");
        assert_eq!(
            event.json().to_string(),
            r#"{"event":"exited","service":"pipelock","signal":"SIGKILL","time":"t5"}"#
        );
    }

    #[test]
    fn long_texts_are_cut() {
        let line = format!(r#"{{"event":"{}","x":[1]}}"#, "a".repeat(5000));
        let event = InitEvent::parse(&line).unwrap();
        assert_eq!(event.event.len(), MAX_TEXT);
        assert!(event.details.is_empty());
        assert_eq!(InitEvent::parse("[]"), None);
    }
}
