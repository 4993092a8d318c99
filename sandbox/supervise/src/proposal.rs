//! What an agent has proposed, and what the operator has decided. Data only, but data that is
//! checked whenever it is read: the operator's side runs as root on files of the server's user.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::finding::{Fingerprint, Repository};
use crate::host::{HostPattern, quoted};
use crate::route::Route;
use crate::text::{DockerfileChange, Justification};

/// One wish for more access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Its name, chosen by the server.
    pub id: ProposalId,
    /// When it came.
    pub time: Timestamp,
    /// The address it came from.
    pub from: String,
    /// What is wanted.
    pub request: Request,
    /// Why.
    pub justification: Justification,
}

/// What can be wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The egress proxy lets something through.
    EgressRoute {
        /// What.
        route: Route,
    },
    /// pipelock lets a host be reached.
    PipelockHost {
        /// Which.
        host: HostPattern,
    },
    /// The agent's image gets something new.
    Capability {
        /// The change to its Dockerfile.
        change: DockerfileChange,
    },
    /// The git gate takes one finding for a false one.
    GitleaksException {
        /// In which repository.
        repository: Repository,
        /// Which.
        fingerprint: Fingerprint,
    },
}

impl Request {
    /// The kind, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Request::EgressRoute { .. } => "egress route",
            Request::PipelockHost { .. } => "pipelock host",
            Request::Capability { .. } => "capability",
            Request::GitleaksException { .. } => "gitleaks exception",
        }
    }
}

impl fmt::Display for Request {
    /// On one line, yet with the agent's own characters: see `text::one_line`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::EgressRoute { route } => write!(formatter, "{route}"),
            Request::PipelockHost { host } => write!(formatter, "{host}"),
            Request::Capability { change } => {
                formatter.write_str(change.as_str().lines().next().unwrap_or_default())
            }
            Request::GitleaksException { repository, fingerprint } => {
                write!(formatter, "{} {}", repository.as_str(), fingerprint.as_str())
            }
        }
    }
}

/// What the operator decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// On which proposal.
    pub id: ProposalId,
    /// How.
    pub verdict: Verdict,
    /// When.
    pub time: Timestamp,
    /// Who.
    pub by: String,
    /// What the operator says to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Justification>,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It has been done.
    Approved,
    /// It will not be done.
    Rejected,
}

impl Verdict {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Approved => "approved",
            Verdict::Rejected => "rejected",
        }
    }
}

/// A proposal with what has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The proposal.
    pub proposal: Proposal,
    /// The decision, if there is one.
    pub decision: Option<Decision>,
}

impl Entry {
    /// The word for its state.
    pub fn status(&self) -> &'static str {
        self.decision.as_ref().map_or("pending", |decision| decision.verdict.as_str())
    }
}

/// The letters and digits of an id: those that nobody takes for one another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const ID_LENGTH: usize = 8;

/// The name of a proposal, which is also the name of its file: never an agent's text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProposalId(String);

impl ProposalId {
    /// From random bytes.
    pub fn from_random(bytes: [u8; ID_LENGTH]) -> Self {
        let letter = |byte: u8| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]);
        ProposalId(bytes.into_iter().map(letter).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProposalId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<ProposalId> for String {
    fn from(id: ProposalId) -> Self {
        id.0
    }
}

impl TryFrom<String> for ProposalId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == ID_LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte)) {
            return Ok(ProposalId(text));
        }
        Err(format!("{} is no id of a proposal, which has 8 letters and digits", quoted(&text)))
    }
}

/// A moment, as RFC 3339 writes it, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(pub std::time::SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(formatter)
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

impl TryFrom<String> for Timestamp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_rfc3339(&text)
            .map(Timestamp)
            .map_err(|error| format!("time {}: {error}", quoted(&text)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;

    fn proposal(request: Request) -> Proposal {
        Proposal {
            id: ProposalId::from_random([7; 8]),
            time: Timestamp(SystemTime::UNIX_EPOCH),
            from: "192.0.2.1".to_owned(),
            request,
            justification: "because".to_owned().try_into().unwrap(),
        }
    }

    #[test]
    fn a_file_of_a_proposal_is_checked_when_it_is_read() {
        let request =
            Request::PipelockHost { host: "a.example.com".to_owned().try_into().unwrap() };
        let text = serde_json::to_string(&proposal(request.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Proposal>(&text).unwrap(), proposal(request));
        for (from, to) in [
            ("a.example.com", "*.com"),
            ("\"host\"", "\"extra\":1,\"host\""),
            ("\"from\"", "\"extra\":1,\"from\""),
            ("hhhhhhhh", "../../xx"),
            ("because", " "),
            ("1970", "soon"),
        ] {
            assert!(text.contains(from), "{text}");
            let forged = text.replacen(from, to, 1);
            assert!(serde_json::from_str::<Proposal>(&forged).is_err(), "{forged}");
        }
    }

    #[test]
    fn requests_are_told_on_one_line() {
        let route =
            serde_json::from_str(r#"{"host":"a.example.com","paths":["/v1/"],"ports":[80,8443]}"#);
        let request = Request::EgressRoute { route: route.unwrap() };
        assert_eq!(request.to_string(), "every method a.example.com:80,8443 /v1/");
        let change = "RUN apt-get install jq\nRUN true".to_owned().try_into().unwrap();
        assert_eq!(Request::Capability { change }.to_string(), "RUN apt-get install jq");
    }

    proptest! {
        #[test]
        fn every_id_that_is_made_is_taken(bytes in any::<[u8; 8]>()) {
            let id = ProposalId::from_random(bytes);
            prop_assert_eq!(ProposalId::try_from(id.as_str().to_owned()), Ok(id));
        }
    }
}
