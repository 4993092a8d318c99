//! Reads the bundle again, and goes on by it.

use std::time::Instant;

use serde_json::{Value, json};

use super::Init;
use crate::file::Files;
use crate::nearest::listed;
use crate::supervisor::{Changes, End, ServiceId, State};

impl Init {
    /// What became of it, for whoever asked; the log says it, too. What is wrong with the new
    /// bundle leaves everything as it was.
    pub(super) fn reload(&mut self) -> Result<Value, String> {
        let reloaded = self.try_reload();
        match &reloaded {
            Ok(changes) => {
                let text = self.describe(changes);
                self.tell(&format!("bundle reloaded: {text}"));
            }
            Err(reason) => self.say(&format!("bundle not reloaded: {reason}")),
        }
        let changes = reloaded?;
        let names = |ids: &[ServiceId]| -> Vec<String> {
            ids.iter().map(|id| self.plan.name(*id)).collect()
        };
        let more = json!({
            "started": names(&changes.started),
            "restarted": names(&changes.restarted),
            "stopped": names(&changes.stopped),
        });
        self.publish("reloaded", None, more.clone());
        Ok(more)
    }

    fn try_reload(&mut self) -> Result<Changes, String> {
        if self.supervisor.shutdown_deadline().is_some() {
            return Err("the bundle is shutting down".to_owned());
        }
        let source = self.options.source.as_ref().ok_or("it did not come from a file")?;
        let mut warnings = Vec::new();
        let plan =
            source.plan(&mut Files::default(), &mut warnings).map_err(|refusal| refusal.reason);
        warnings.iter().for_each(|warning| self.say(warning));
        // What was learnt in this turn is told to the core before, so that it and we mean the
        // same by each id.
        let (processes, supervisor) = (&self.processes, &self.supervisor);
        let is_alive = |id| processes.get(id).is_some();
        let is_gone =
            |id| matches!(supervisor.state(id), State::Gone(End::Stopped)) && !is_alive(id);
        let plan = plan?;
        self.sockets.open(&plan)?;
        let changes = self.plan.reload(plan, is_alive, is_gone);
        self.sockets.close_others(&self.plan);
        for id in changes.started.iter().filter(|id| self.processes.get(**id).is_none()) {
            self.history.forget(*id);
            self.logs.forget(*id);
        }
        let names = self.plan.names();
        self.remnants.keep(|name| names.iter().any(|known| known == name));
        if self.control.is_some() {
            self.logs.keep(self.plan.bundle.services.len());
        }
        self.supervisor.reload(self.plan.policy.clone(), &changes, Instant::now());
        Ok(changes)
    }

    fn describe(&self, changes: &Changes) -> String {
        let Changes { started, restarted, stopped } = changes;
        let parts: Vec<String> = [("new", started), ("changed", restarted), ("gone", stopped)]
            .into_iter()
            .filter(|(_, ids)| !ids.is_empty())
            .map(|(word, ids)| {
                let names: Vec<String> = ids.iter().map(|id| self.plan.name(*id)).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                format!("{word}: {}", listed(&names, ", "))
            })
            .collect();
        if parts.is_empty() { "nothing has changed".to_owned() } else { parts.join("; ") }
    }
}
