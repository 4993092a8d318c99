//! The closing record: the one line that says why the init ended.

use std::time::Duration;

use serde_json::{Value, json};

use crate::exit::ExitStatus;
use crate::supervisor::{Cause, Outcome, ServiceId};

/// How many names a record lists, and how many characters of a text it repeats: the line must be
/// shorter than 16 KiB, so that log drivers do not split it.
const MOST_NAMES: usize = 100;
const LONGEST_TEXT: usize = 500;

/// The version of the record as JSON. `docs/bundle.md` says what needs a new one.
const VERSION: u64 = 1;

/// How a bundle ended, for people and for programs.
#[derive(Clone, Debug)]
pub struct Record {
    /// The outcome according to the core.
    pub outcome: Outcome,
    /// The bundle's name; `None` for one command.
    pub bundle: Option<String>,
    /// The services' names, in the order of their ids.
    pub names: Vec<String>,
    /// Whether it was one command, which has no service name.
    pub is_one_command: bool,
    /// How long the init ran.
    pub ran: Duration,
    /// How long the service that ended the bundle ran.
    pub service_ran: Option<Duration>,
    /// Why the service that ended the bundle could not be started.
    pub reason: Option<String>,
    /// How many processes the kernel has killed for lack of memory, as the control group counts.
    pub out_of_memory_kills: u64,
    /// The exit code of the init.
    pub code: u8,
}

impl Record {
    /// One line of text.
    pub fn text(&self) -> String {
        let mut text = format!("ended: {}; exit code {}", self.cause(), self.code);
        if self.code != self.outcome.code {
            text.push_str(&format!(" (remapped from {})", self.outcome.code));
        }
        if let Some(signal) = self.outcome.forced {
            text.push_str(&format!("; a second request, {signal}, ended the grace early"));
        }
        let overran = self.overran();
        if !overran.is_empty() {
            text.push_str(&format!("; overran the grace: {}", overran.join(", ")));
        }
        match self.out_of_memory_kills {
            0 => {}
            1 => text.push_str("; out-of-memory kill seen in the cgroup"),
            kills => text.push_str(&format!("; {kills} out-of-memory kills seen in the cgroup")),
        }
        text
    }

    /// One JSON object.
    pub fn json(&self, time: &str) -> String {
        let (cause, service, status) = match self.outcome.cause {
            Cause::Requested(_) => ("requested", None, None),
            Cause::Exited(id, status) => ("exited", Some(id), Some(status)),
            Cause::SpawnFailed(id, _) => ("not-started", Some(id), None),
            Cause::Unready(id) => ("not-ready", Some(id), None),
            Cause::Unhealthy(id) => ("unhealthy", Some(id), None),
            Cause::Commanded(_) => ("commanded", None, None),
            Cause::AllExited(None) => ("all-exited", None, None),
            Cause::AllExited(Some((id, status))) => ("all-exited", Some(id), Some(status)),
        };
        let signal = match (self.outcome.cause, status) {
            (Cause::Requested(signal), _) | (_, Some(ExitStatus::Signal(signal))) => {
                Some(signal.to_string())
            }
            _ => None,
        };
        let code = match status {
            Some(ExitStatus::Code(code)) => Some(code),
            Some(ExitStatus::Signal(_)) | None => None,
        };
        let record: Value = json!({
            "time": time,
            "event": "ended",
            "version": VERSION,
            "bundle": self.bundle.as_deref().map(shortened),
            "cause": cause,
            "service": service.map(|id| self.name(id)),
            "service_code": code,
            "signal": signal,
            "reason": self.reason(),
            "service_ran_seconds": self.service_ran.map(|ran| ran.as_secs_f64()),
            "ran_seconds": self.ran.as_secs_f64(),
            "overran": self.overran(),
            "forced_by": self.outcome.forced.map(|signal| signal.to_string()),
            "out_of_memory_kills": self.out_of_memory_kills,
            "exit_code": self.code,
        });
        record.to_string()
    }

    /// Whether to print it: nothing is printed when one command ends by itself with success.
    pub fn is_worth_a_line(&self) -> bool {
        let quiet = self.outcome.code == 0 && matches!(self.outcome.cause, Cause::Exited(..));
        let remarkable = self.outcome.rest_overran || self.outcome.forced.is_some();
        !(self.is_one_command && quiet && !remarkable)
    }

    fn cause(&self) -> String {
        match self.outcome.cause {
            Cause::Requested(signal) => format!("{signal} received after {}", span(self.ran)),
            Cause::Exited(id, status) => {
                let ran = self.service_ran.map(|ran| format!(" after {}", span(ran)));
                format!("{} {status}{}", self.subject(id), ran.unwrap_or_default())
            }
            Cause::SpawnFailed(id, _) => {
                let reason = self.reason().map(|reason| format!(": {reason}"));
                let reason = reason.unwrap_or_default();
                format!("{} could not be started{reason}", self.subject(id))
            }
            Cause::Unready(id) => format!("{} did not become ready in time", self.subject(id)),
            Cause::Unhealthy(id) => format!("{} failed its liveness check", self.subject(id)),
            Cause::Commanded(_) => format!("requested by an operator after {}", span(self.ran)),
            Cause::AllExited(None) => "every service has exited".to_owned(),
            Cause::AllExited(Some((id, status))) => {
                format!(
                    "every service has exited; the first to fail: {} {status}",
                    self.subject(id)
                )
            }
        }
    }

    fn subject(&self, id: ServiceId) -> String {
        let kind = if self.is_one_command { "command" } else { "service" };
        format!("{kind} \"{}\"", self.name(id))
    }

    fn name(&self, id: ServiceId) -> &str {
        self.names.get(id.0).map_or("?", String::as_str)
    }

    fn overran(&self) -> Vec<String> {
        let all = &self.outcome.overran;
        let services = all.iter().take(MOST_NAMES).map(|id| self.name(*id).to_owned());
        let more = all.len().checked_sub(MOST_NAMES + 1);
        let more = more.map(|more| format!("and {} more", more + 1));
        let rest = self.outcome.rest_overran.then(|| "processes left behind".to_owned());
        services.chain(more).chain(rest).collect()
    }

    fn reason(&self) -> Option<String> {
        self.reason.as_deref().map(shortened)
    }
}

/// A text of others, at most as long as one line of a log may be.
pub(crate) fn shortened(text: &str) -> String {
    let cut: String = text.chars().take(LONGEST_TEXT).collect();
    if cut.len() < text.len() { cut + " ..." } else { cut }
}

/// A duration for people: to the millisecond below a minute, to the second above.
fn span(span: Duration) -> String {
    let rounded = if span < Duration::from_secs(60) {
        Duration::from_millis(span.as_millis().try_into().unwrap_or(u64::MAX))
    } else {
        Duration::from_secs(span.as_secs())
    };
    humantime::format_duration(rounded).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;

    fn record(cause: Cause, code: u8) -> Record {
        Record {
            outcome: Outcome {
                cause,
                code,
                overran: Vec::new(),
                rest_overran: false,
                forced: None,
            },
            bundle: Some("shop".to_owned()),
            names: vec!["web".to_owned(), "redis".to_owned()],
            is_one_command: false,
            ran: Duration::from_millis(12_345),
            service_ran: Some(Duration::from_millis(192_900)),
            reason: None,
            out_of_memory_kills: 0,
            code,
        }
    }

    #[test]
    fn names_the_culprit() {
        let killed = Cause::Exited(ServiceId(1), ExitStatus::Signal(Signal::KILL));
        assert_eq!(
            record(killed, 137).text(),
            "ended: service \"redis\" was killed by SIGKILL (signal 9) after 3m 12s; exit code 137"
        );
        let mut failed = record(Cause::SpawnFailed(ServiceId(0), 127), 127);
        let text = "ended: service \"web\" could not be started; exit code 127";
        assert_eq!(failed.text(), text);
        failed.reason = Some("command /x not found".to_owned());
        assert_eq!(failed.text(), text.replace("started;", "started: command /x not found;"));
    }

    #[test]
    fn says_who_asked_and_who_was_late() {
        let mut record = record(Cause::Requested(Signal::TERM), 0);
        record.outcome.overran = vec![ServiceId(1), ServiceId(0)];
        record.outcome.rest_overran = true;
        record.out_of_memory_kills = 1;
        assert_eq!(
            record.text(),
            "ended: SIGTERM received after 12s 345ms; exit code 0; overran the grace: redis, \
             web, processes left behind; out-of-memory kill seen in the cgroup"
        );
    }

    #[test]
    fn says_what_was_remapped() {
        let mut record = record(Cause::Exited(ServiceId(0), ExitStatus::Code(143)), 143);
        record.code = 0;
        assert!(record.text().ends_with("; exit code 0 (remapped from 143)"), "{}", record.text());
    }

    #[test]
    fn it_is_never_too_long_for_one_line() {
        let mut record = record(Cause::SpawnFailed(ServiceId(0), 127), 127);
        record.names = vec!["n".repeat(64); 5000];
        record.outcome.overran = (0..5000).map(ServiceId).collect();
        record.bundle = Some("\u{1b}".repeat(100_000));
        record.reason = Some("\u{1b}".repeat(100_000));
        for line in [record.text(), record.json("2026-01-01T00:00:00.000000Z")] {
            assert!(line.len() < 16_000, "{} bytes", line.len());
            assert!(line.contains("and 4900 more"));
        }
    }

    #[test]
    fn json_has_the_same_facts() {
        let killed = Cause::Exited(ServiceId(1), ExitStatus::Signal(Signal::KILL));
        let value: Value = serde_json::from_str(&record(killed, 137).json("now")).unwrap();
        assert_eq!(value["event"], "ended");
        assert_eq!(value["bundle"], "shop");
        assert_eq!(value["service"], "redis");
        assert_eq!(value["signal"], "SIGKILL");
        assert_eq!(value["exit_code"], 137);
    }

    #[test]
    fn one_command_that_ended_well_says_nothing() {
        let mut record = record(Cause::Exited(ServiceId(0), ExitStatus::Code(0)), 0);
        assert!(record.is_worth_a_line());
        record.is_one_command = true;
        assert!(!record.is_worth_a_line());
        record.outcome.rest_overran = true;
        assert!(record.is_worth_a_line());
    }
}
