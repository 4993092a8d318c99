//! What the tools take. These texts become the JSON schemas that an agent reads.
//!
//! A `justification` that is missing is an empty one, which is refused in our words; to the schema
//! it has no default.

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;

use crate::route::{Auth, Scheme, TokenVariable};

/// A route through the egress proxy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub(super) struct EgressRoute {
    /// The host to reach: an exact name such as `api.example.com`, or `*.example.com` for any name
    /// below a domain. Without scheme, port and path. No IP addresses.
    pub(super) host: String,
    /// Prefixes of the paths to allow, such as `/v1/`. Ask for no more than you need. Left out:
    /// every path.
    #[serde(default)]
    pub(super) paths: Vec<String>,
    /// HTTP methods to allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS. Left out: every method.
    #[serde(default)]
    pub(super) methods: Vec<String>,
    /// Ports to allow. Left out: 80 and 443.
    #[serde(default)]
    pub(super) ports: Vec<u16>,
    /// The credential that the proxy adds to each request, if the host needs one; then the
    /// host has to be exact. You never see it. Left out: none.
    #[serde(default)]
    pub(super) auth: Option<Credential>,
    /// Why you need this. The operator reads it and decides.
    #[serde(default)]
    #[schemars(!default)]
    pub(super) justification: String,
    /// How many seconds to wait for the decision; never more than the server's limit, which is
    /// also the default. 0 returns at once.
    #[serde(default)]
    pub(super) wait_seconds: Option<u64>,
}

/// A credential of the egress proxy, by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub(super) struct Credential {
    /// How it is sent in the Authorization header: `bearer`, `basic` or `token`.
    pub(super) scheme: String,
    /// The proxy's variable that holds it: a name that begins with `EGRESS_TOKEN_`.
    pub(super) token_env: String,
}

impl Credential {
    pub(super) fn check(self) -> Result<Auth, String> {
        let scheme = self.scheme.parse::<Scheme>()?;
        Ok(Auth { scheme, token_env: TokenVariable::try_from(self.token_env)? })
    }
}

/// A host for pipelock.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub(super) struct PipelockHost {
    /// The host to reach: an exact name, or `*.example.com` for any name below a domain.
    pub(super) host: String,
    /// Why you need this. The operator reads it and decides.
    #[serde(default)]
    #[schemars(!default)]
    pub(super) justification: String,
    /// How many seconds to wait for the decision; never more than the server's limit, which is
    /// also the default. 0 returns at once.
    #[serde(default)]
    pub(super) wait_seconds: Option<u64>,
}

/// Something new in your image.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub(super) struct Capability {
    /// The change to your Dockerfile as text: the lines to add, or a diff.
    pub(super) change: String,
    /// Why you need this. The operator reads it and decides.
    #[serde(default)]
    #[schemars(!default)]
    pub(super) justification: String,
    /// How many seconds to wait for the decision; never more than the server's limit, which is
    /// also the default. 0 returns at once.
    #[serde(default)]
    pub(super) wait_seconds: Option<u64>,
}

/// A false finding of gitleaks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub(super) struct GitleaksException {
    /// The repository's name at the git gate: NAME in `git://git-gate/NAME.git`.
    pub(super) repository: String,
    /// The finding's fingerprint, exactly as the refused push printed it: `RULE:PATH:HASH`.
    pub(super) fingerprint: String,
    /// Why this is no secret. The operator reads it and decides.
    #[serde(default)]
    #[schemars(!default)]
    pub(super) justification: String,
    /// How many seconds to wait for the decision; never more than the server's limit, which is
    /// also the default. 0 returns at once.
    #[serde(default)]
    pub(super) wait_seconds: Option<u64>,
}

/// A proposal that was made before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub(super) struct Status {
    /// The proposal's id, which the propose tool returned.
    pub(super) id: String,
    /// How many seconds to wait for the decision; never more than the server's limit. Left out: 0.
    #[serde(default)]
    pub(super) wait_seconds: Option<u64>,
}

/// Which events to tell.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub(super) struct Events {
    /// Only those of this sidecar: egress, pipelock, git-gate or supervise.
    #[serde(default)]
    pub(super) service: Option<String>,
    /// Every event, not only failures.
    #[serde(default)]
    pub(super) all: bool,
    /// At most so many, the newest: 1 to 100. Left out: 20.
    #[serde(default)]
    pub(super) limit: Option<usize>,
}
