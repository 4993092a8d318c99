//! Says what has happened: to people in the log, and to clients of the control socket.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Init;
use super::repeats::Topic;
use crate::exit::ExitStatus;
use crate::supervisor::{Announcement, Cause, ServiceId};

impl Init {
    pub(super) fn publish_exit(&mut self, id: ServiceId, status: ExitStatus) {
        let more = match status {
            ExitStatus::Code(code) => json!({"code": code}),
            ExitStatus::Signal(signal) => json!({"signal": signal.to_string()}),
        };
        self.publish("exited", Some(id), more);
    }

    /// Something that the core finds worth saying.
    pub(super) fn note(&mut self, note: Announcement) {
        self.publish_note(note);
        match note {
            Announcement::ShutdownBegins(cause) => {
                let cause = self.cause(cause);
                self.tell(&format!("shutting down: {cause}"));
            }
            Announcement::Stopping(id, signal) => {
                self.tell(&format!(
                    "service \"{}\" is asked to end ({signal})",
                    self.plan.name(id)
                ));
            }
            Announcement::Ready(id) => {
                self.tell(&format!("service \"{}\" is ready", self.plan.name(id)));
            }
            Announcement::ReadyAtOnce(_) => {}
            Announcement::Exited(id, status) => {
                self.tell(&format!("service \"{}\" {status}", self.plan.name(id)));
            }
            Announcement::Unready(id) => {
                let process = self.processes.get(id);
                let reason =
                    match process.is_none_or(|process| self.starts.is_under_way(process.pid)) {
                        true => ": its command has not begun to run".to_owned(),
                        false => self.complaint(id),
                    };
                self.say_of(id, &format!("did not become ready in time{reason}"));
            }
            Announcement::Unhealthy(id) => {
                let reason = self.complaint(id);
                self.say_of(id, &format!("has failed its liveness check{reason}"));
            }
            Announcement::RequirementGone(id) => {
                self.say_of(id, "is not started: a service that it requires has ended");
            }
            Announcement::Restarting(id, delay) => {
                let delay = humantime::format_duration(Duration::from_millis(
                    delay.as_millis().try_into().unwrap_or(u64::MAX),
                ));
                self.say_of(id, &format!("starts again in {delay}"));
            }
            Announcement::GivenUp(id) => {
                self.say_of(id, "has ended more often than its `restart` allows: giving it up");
            }
            Announcement::FailedAlone(id) => {
                self.say_of(id, "did not come up as it was asked to; the others go on");
            }
            Announcement::Draining(id, drain) => {
                let drain = humantime::format_duration(drain);
                self.tell(&format!("service \"{}\" drains for {drain}", self.plan.name(id)));
            }
            Announcement::StopCommand(id) => {
                let name = self.plan.name(id);
                self.tell(&format!("service \"{name}\" is asked to end (stop-command)"));
            }
            Announcement::Overran(id) => {
                let name = self.plan.name(id);
                self.say(&format!("service \"{name}\" overran its grace and is killed"));
            }
            Announcement::GraceOver => self.say("the grace is over: killing all that is left"),
            Announcement::Forced(signal) => {
                self.say(&format!("second request to end ({signal}): killing all that is left"));
            }
            Announcement::Unrouted(signal) => {
                let text = format!(
                    "{signal} received and dropped: the bundle has no route for it under [signals]"
                );
                self.say_in_turn(Topic::SignalDropped, text);
            }
        }
    }

    pub(super) fn say_of(&mut self, id: ServiceId, text: &str) {
        self.say(&format!("service \"{}\" {text}", self.plan.name(id)));
    }

    fn publish_note(&mut self, note: Announcement) {
        let nothing = json!({});
        let seconds = |span: Duration| json!({"seconds": span.as_secs_f64()});
        let now = Instant::now();
        match note {
            Announcement::ShutdownBegins(cause) => {
                let cause = self.cause(cause);
                self.publish("shutdown", None, json!({"cause": cause}));
            }
            Announcement::Ready(id) | Announcement::ReadyAtOnce(id) => {
                self.history.ready(id, now);
                self.publish("ready", Some(id), nothing);
            }
            Announcement::Exited(id, status) => self.publish_exit(id, status),
            Announcement::FailedAlone(_) => {}
            Announcement::Stopping(id, signal) => {
                self.history.asked(id, now);
                self.publish("stopping", Some(id), json!({"signal": signal.to_string()}));
            }
            Announcement::StopCommand(id) => {
                self.history.asked(id, now);
                self.publish("stopping", Some(id), nothing);
            }
            Announcement::Draining(id, span) => {
                self.history.asked(id, now);
                self.publish("draining", Some(id), seconds(span));
            }
            Announcement::Restarting(id, span) => self.publish("backoff", Some(id), seconds(span)),
            Announcement::Unready(id) => self.publish("not-ready-in-time", Some(id), nothing),
            Announcement::Unhealthy(id) => self.publish("unhealthy", Some(id), nothing),
            Announcement::RequirementGone(id) => {
                self.publish("requirement-gone", Some(id), nothing)
            }
            Announcement::GivenUp(id) => self.publish("given-up", Some(id), nothing),
            Announcement::Overran(id) => self.publish("overran", Some(id), nothing),
            Announcement::GraceOver => self.publish("grace-over", None, nothing),
            Announcement::Forced(signal) => {
                self.publish("forced", None, json!({"signal": signal.to_string()}));
            }
            Announcement::Unrouted(signal) => {
                self.publish("signal-dropped", None, json!({"signal": signal.to_string()}));
            }
        }
    }

    pub(super) fn cause(&self, cause: Cause) -> String {
        let exited =
            |id, status: ExitStatus| format!("service \"{}\" {status}", self.plan.name(id));
        match cause {
            Cause::Requested(signal) => format!("{signal} received"),
            Cause::Exited(id, status) => exited(id, status),
            Cause::SpawnFailed(id, _) => {
                format!("service \"{}\" could not be started", self.plan.name(id))
            }
            Cause::Unready(id) => {
                format!("service \"{}\" did not become ready in time", self.plan.name(id))
            }
            Cause::Unhealthy(id) => {
                format!("service \"{}\" failed its liveness check", self.plan.name(id))
            }
            Cause::Commanded(_) => "an operator asked for it".to_owned(),
            Cause::AllExited(_) => "every service has exited".to_owned(),
        }
    }
}
