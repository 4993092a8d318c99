//! The tools.

use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use rmcp::handler::server::tool::Extension;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::{Json, ServerHandler, tool, tool_handler, tool_router};
use serde_json::Value;

use super::answers::{AllowedAnswer, EventsAnswer, ProposalAnswer};
use super::connections::ClientAddress;
use super::parameters::{Capability, EgressRoute, Events, GitleaksException, PipelockHost, Status};
use crate::change::{hosts, routes};
use crate::desk::Desk;
use crate::egress;
use crate::event_file::tail;
use crate::files::{MAX_CONFIG, read_bounded};
use crate::finding::approved;
use crate::init_event::Filter;
use crate::proposal::{ProposalId, Request};
use crate::route::RouteFields;

const INTROSPECTION_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_EVENTS: usize = 20;
const MAX_EVENTS: usize = 100;

#[derive(Clone, Debug)]
pub(super) struct Tools {
    desk: Arc<Desk>,
}

#[tool_router]
impl Tools {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Tools { desk }
    }

    #[tool(
        description = "What you are allowed now: the routes of the egress proxy, the hosts that \
                       pipelock lets through, and the gitleaks findings that the git gate takes \
                       for false. Look here before you propose anything.",
        annotations(read_only_hint = true)
    )]
    async fn list_allowed(&self) -> Result<Json<AllowedAnswer>, String> {
        let settings = self.desk.settings();
        let mut problems = Vec::new();
        let (egress_routes, source) =
            match egress::introspect(&settings.egress, INTROSPECTION_TIMEOUT).await {
                Ok(told) => (told.routes, "egress"),
                Err(problem) => {
                    problems.push(problem);
                    (read_list(&settings.routes, routes, &mut problems), "file")
                }
            };
        let pipelock_hosts = read_list(&settings.pipelock_config, hosts, &mut problems);
        let lines = |text: &str| {
            let told = |(name, finding)| format!("{name} {finding}");
            Ok(approved(text).into_iter().map(told).collect())
        };
        let gitleaks_exceptions = read_list(&settings.fingerprints, lines, &mut problems);
        Ok(Json(AllowedAnswer {
            egress_routes,
            egress_source: source.to_owned(),
            pipelock_hosts,
            gitleaks_exceptions,
            problems,
        }))
    }

    #[tool(description = "Ask the operator to let you reach a host through the egress proxy, \
                          after it refused you with status 403. Waits a while for the decision; \
                          `pending` means that the proposal stays and you can ask with \
                          proposal_status. Once approved, retry your request: pipelock, behind \
                          that proxy, then allows the host as well.")]
    async fn propose_egress_route(
        &self,
        Parameters(mut parameters): Parameters<EgressRoute>,
        Extension(parts): Extension<Parts>,
    ) -> Result<Json<ProposalAnswer>, String> {
        let wait = parameters.wait_seconds;
        let auth = parameters.auth.take().map(|auth| auth.check()).transpose()?;
        let EgressRoute { host, paths, methods, ports, justification: why, .. } = parameters;
        let route = self.desk.route(RouteFields { host, paths, methods, ports, auth })?;
        self.propose(Request::EgressRoute { route }, why, wait, &parts).await
    }

    #[tool(description = "Ask the operator to add a host to the list of pipelock, the scanner \
                          behind the egress proxy. Needed only where the egress proxy has a route \
                          already and pipelock refuses because the domain is not in its \
                          allowlist: an approved propose_egress_route does both. Waits like it.")]
    async fn propose_pipelock_host(
        &self,
        Parameters(parameters): Parameters<PipelockHost>,
        Extension(parts): Extension<Parts>,
    ) -> Result<Json<ProposalAnswer>, String> {
        let request = Request::PipelockHost { host: parameters.host.try_into()? };
        self.propose(request, parameters.justification, parameters.wait_seconds, &parts).await
    }

    #[tool(
        description = "Ask the operator for a change to the Dockerfile of your own image, such \
                          as a package you lack. Approved means that the operator will rebuild \
                          the image, not that it is there at once."
    )]
    async fn propose_capability(
        &self,
        Parameters(parameters): Parameters<Capability>,
        Extension(parts): Extension<Parts>,
    ) -> Result<Json<ProposalAnswer>, String> {
        let change =
            parameters.change.try_into().map_err(|problem| format!("change: it {problem}"))?;
        let (why, wait) = (parameters.justification, parameters.wait_seconds);
        self.propose(Request::Capability { change }, why, wait, &parts).await
    }

    #[tool(description = "Ask the operator to take one gitleaks finding for a false one, after \
                          the git gate refused your push and printed its fingerprint. Never ask \
                          this for a real secret: remove that from every commit instead. Waits \
                          like propose_egress_route; once approved, push again.")]
    async fn propose_gitleaks_exception(
        &self,
        Parameters(parameters): Parameters<GitleaksException>,
        Extension(parts): Extension<Parts>,
    ) -> Result<Json<ProposalAnswer>, String> {
        let request = Request::GitleaksException {
            repository: parameters.repository.try_into()?,
            fingerprint: parameters.fingerprint.try_into()?,
        };
        self.propose(request, parameters.justification, parameters.wait_seconds, &parts).await
    }

    #[tool(
        description = "What has become of a proposal: pending, approved or rejected, and what \
                       the operator says about it.",
        annotations(read_only_hint = true)
    )]
    async fn proposal_status(
        &self,
        Parameters(parameters): Parameters<Status>,
    ) -> Result<Json<ProposalAnswer>, String> {
        let id = ProposalId::try_from(parameters.id)?;
        let found = self.desk.queue().find(&id)?;
        let entry = found.ok_or_else(|| format!("there is no proposal {id}"))?;
        let wait = self.wait(Some(parameters.wait_seconds.unwrap_or(0)));
        Ok(Json(ProposalAnswer::new(&self.desk.wait(entry, wait).await?)))
    }

    #[tool(
        description = "What happened to the sidecars lately: which of egress, pipelock, git-gate \
                       and supervise died, was restarted or is failing. Look here when they do \
                       not answer.",
        annotations(read_only_hint = true)
    )]
    async fn sidecar_events(
        &self,
        Parameters(parameters): Parameters<Events>,
    ) -> Result<Json<EventsAnswer>, String> {
        let limit = parameters.limit.unwrap_or(DEFAULT_EVENTS).clamp(1, MAX_EVENTS);
        let filter = Filter { service: parameters.service, all: parameters.all, limit };
        let text = tail(&self.desk.settings().events)?;
        let objects = filter.select(&text).into_iter().filter_map(|event| match event.json() {
            Value::Object(object) => Some(object),
            _ => None,
        });
        Ok(Json(EventsAnswer { events: objects.collect() }))
    }

    async fn propose(
        &self,
        request: Request,
        justification: String,
        wait: Option<u64>,
        parts: &Parts,
    ) -> Result<Json<ProposalAnswer>, String> {
        let justification =
            justification.try_into().map_err(|problem| format!("justification: it {problem}"))?;
        let address = parts.extensions.get::<ClientAddress>();
        let from = address.map_or_else(|| "unknown".to_owned(), |from| from.0.ip().to_string());
        let entry = self.desk.propose(request, justification, from).await?;
        let entry = self.desk.wait(entry, self.wait(wait)).await?;
        Ok(Json(ProposalAnswer::new(&entry)))
    }

    fn wait(&self, seconds: Option<u64>) -> Duration {
        let most = self.desk.settings().wait;
        seconds.map_or(most, |seconds| most.min(Duration::from_secs(seconds)))
    }
}

/// A list from a file that may be missing.
fn read_list<T>(
    path: &std::path::Path,
    parse: impl Fn(&str) -> Result<Vec<T>, String>,
    problems: &mut Vec<String>,
) -> Vec<T> {
    let text = match read_bounded(path, MAX_CONFIG) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            problems.push(format!("{}: {error}", path.display()));
            return Vec::new();
        }
    };
    parse(&text).unwrap_or_else(|problem| {
        problems.push(format!("{}: {problem}", path.display()));
        Vec::new()
    })
}

#[tool_handler(
    name = "supervise",
    instructions = "You work in a sandbox whose proxies refuse everything that the operator has \
                    not allowed. Here you can see what is allowed, and ask the operator for more. \
                    Ask for no more than you need and say why; the operator reads every word. An \
                    answer of `pending` is no refusal: go on with other work and ask again."
)]
impl ServerHandler for Tools {}
