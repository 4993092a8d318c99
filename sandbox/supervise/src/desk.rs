//! Where proposals come in: checked against what is there, against the limits, and written down;
//! then waited for.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, Note};
use crate::change::objection;
use crate::files::{MAX_CONFIG, read_bounded};
use crate::proposal::{Entry, Proposal, ProposalId, Request, Timestamp};
use crate::queue::Queue;
use crate::route::{Route, RouteFields};
use crate::settings::Settings;
use crate::text::Justification;

/// More calls than these do not wait.
const MAX_WAITING: usize = 64;
/// How often a decision is looked for where the kernel tells of none.
const POLL: Duration = Duration::from_secs(1);

/// The desk.
#[derive(Debug)]
pub struct Desk {
    settings: Settings,
    queue: Queue,
    /// When proposals came; also keeps two from being taken at a time.
    times: Mutex<Vec<SystemTime>>,
    waiting: Semaphore,
    /// Changes with each decision; none if decisions can't be watched for.
    decisions: Option<watch::Receiver<u64>>,
    stopping: CancellationToken,
}

impl Desk {
    /// Opens it. Old proposals count for the limits, so that a restart does not lift them.
    pub fn new(
        settings: Settings,
        queue: Queue,
        decisions: Option<watch::Receiver<u64>>,
        stopping: CancellationToken,
    ) -> Result<Arc<Self>, String> {
        let (scan, archive) = (queue.scan()?, queue.scan_archive()?);
        let entries = scan.entries.iter().chain(&archive.entries);
        let times = entries.map(|entry| entry.proposal.time.0).collect();
        Ok(Arc::new(Desk {
            settings,
            queue,
            times: Mutex::new(times),
            waiting: Semaphore::new(MAX_WAITING),
            decisions,
            stopping,
        }))
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Takes a proposal, or finds the same one waiting.
    pub async fn propose(
        &self,
        request: Request,
        justification: Justification,
        from: String,
    ) -> Result<Entry, String> {
        let mut times = self.times.lock().await;
        let scan = self.queue.scan()?;
        if let Some(same) = scan.pending().find(|entry| entry.proposal.request == request) {
            return Ok(same.clone());
        }
        if let Some(objection) = self.objection(&request) {
            return Err(objection);
        }
        let now = SystemTime::now();
        self.settings.limits.check(now, &times, scan.pending().count())?;
        let id = new_id()?;
        let proposal = Proposal { id, time: Timestamp(now), from, request, justification };
        Audit::new(&self.settings.audit).add(&Note::Proposed(&proposal))?;
        self.queue.add(&proposal)?;
        times.retain(|time| now.duration_since(*time).map_or(true, |age| age < crate::limit::HOUR));
        times.push(now);
        Ok(Entry { proposal, decision: None })
    }

    /// Reads a route. What is refused for its spelling is allowed already if it is so in the plain one.
    pub fn route(&self, fields: RouteFields) -> Result<Route, String> {
        let plain = Route::try_from(fields.plain());
        Route::try_from(fields).map_err(|problem| {
            let request = plain.ok().map(|route| Request::EgressRoute { route });
            let objection = request.and_then(|request| self.objection(&request));
            objection.unwrap_or(problem)
        })
    }

    fn objection(&self, request: &Request) -> Option<String> {
        let path: &Path = match request {
            Request::EgressRoute { .. } => &self.settings.routes,
            Request::PipelockHost { .. } => &self.settings.pipelock_config,
            Request::GitleaksException { .. } => &self.settings.fingerprints,
            Request::Capability { .. } => return None,
        };
        // Where the server may not read the file, the operator's side still finds it.
        objection(request, &read_bounded(path, MAX_CONFIG).ok()?)
    }

    /// Waits for the decision, for so long at most.
    pub async fn wait(&self, mut entry: Entry, wait: Duration) -> Result<Entry, String> {
        let Ok(_place) = self.waiting.try_acquire() else { return Ok(entry) };
        let end = Instant::now() + wait;
        let mut decisions = self.decisions.clone();
        loop {
            // Before the look, so that what comes after it is not missed.
            if let Some(decisions) = &mut decisions {
                decisions.mark_unchanged();
            }
            entry.decision = self.queue.decision(&entry.proposal.id)?;
            if entry.decision.is_some() || Instant::now() >= end {
                return Ok(entry);
            }
            tokio::select! {
                () = tokio::time::sleep_until(end) => {}
                () = change(&mut decisions) => {}
                () = self.stopping.cancelled() => return Ok(entry),
            }
        }
    }
}

async fn change(decisions: &mut Option<watch::Receiver<u64>>) {
    if let Some(receiver) = decisions {
        if receiver.changed().await.is_ok() {
            return;
        }
        // The watcher has ended.
        *decisions = None;
    }
    tokio::time::sleep(POLL).await;
}

fn new_id() -> Result<ProposalId, String> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| format!("no random bytes: {error}"))?;
    Ok(ProposalId::from_random(bytes))
}
