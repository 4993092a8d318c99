//! What the tools answer.

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::proposal::{Entry, Request, Verdict};
use crate::route::ListedRoute;

/// What has become of a proposal.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "schemars")]
pub(super) struct ProposalAnswer {
    /// The proposal's id.
    pub(super) id: String,
    /// `pending`, `approved` or `rejected`.
    pub(super) status: String,
    /// What was proposed.
    pub(super) request: String,
    /// What to do now.
    pub(super) message: String,
    /// What the operator says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

impl ProposalAnswer {
    pub(super) fn new(entry: &Entry) -> Self {
        let proposal = &entry.proposal;
        let note = entry.decision.as_ref().and_then(|decision| decision.note.clone());
        ProposalAnswer {
            id: proposal.id.to_string(),
            status: entry.status().to_owned(),
            request: format!("{}: {}", proposal.request.kind(), proposal.request),
            message: message(entry).to_owned(),
            note: note.map(String::from),
        }
    }
}

fn message(entry: &Entry) -> &'static str {
    match (&entry.decision, &entry.proposal.request) {
        (None, _) => {
            "The operator has not decided yet; the proposal stays. Go on with other work, and ask \
             with proposal_status later."
        }
        (Some(decision), _) if decision.verdict == Verdict::Rejected => {
            "The operator does not want this. Do without it; do not propose the same again."
        }
        (Some(_), Request::Capability { .. }) => {
            "The operator agrees, and will rebuild your image. Until then it is not there."
        }
        (Some(_), _) => "It is in force now. Retry what was refused.",
    }
}

/// What is allowed now.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "schemars")]
pub(super) struct AllowedAnswer {
    /// The routes of the egress proxy: what is not listed is refused.
    pub(super) egress_routes: Vec<ListedRoute>,
    /// Where the routes come from: `egress` itself, or its `file` if it does not answer.
    pub(super) egress_source: String,
    /// The hosts that pipelock lets through.
    pub(super) pipelock_hosts: Vec<String>,
    /// The findings that the git gate has approved as false positives: repository and fingerprint.
    pub(super) gitleaks_exceptions: Vec<String>,
    /// What could not be found out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) problems: Vec<String>,
}

/// What happened to the sidecars.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "schemars")]
pub(super) struct EventsAnswer {
    /// The events, the oldest first, each with time, event, service and what else is known.
    pub(super) events: Vec<Map<String, Value>>,
}
