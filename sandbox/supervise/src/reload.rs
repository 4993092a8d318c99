//! Tells a proxy to read its file again, and makes sure that it did.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::egress;
use crate::host::HostPattern;
use crate::proposal::Request;
use crate::proxy_client::ask;
use crate::route::Route;
use crate::settings::Settings;
use crate::text::one_line;

/// Between two questions to a proxy that reloads.
const PAUSE: Duration = Duration::from_millis(50);
const MAX_SAID: usize = 500;

/// Has the proxy that the request is about reload, and waits until it grants what is wanted.
pub async fn reload(settings: &Settings, request: &Request) -> Result<(), String> {
    tell(settings, request).await?;
    match request {
        Request::EgressRoute { route } => wait_for_route(settings, route).await,
        Request::PipelockHost { host } => wait_for_host(settings, host).await,
        Request::GitleaksException { .. } | Request::Capability { .. } => Ok(()),
    }
}

/// Has it reload, and waits for nothing.
pub async fn tell(settings: &Settings, request: &Request) -> Result<(), String> {
    match request {
        Request::EgressRoute { .. } => signal(settings, "egress").await,
        Request::PipelockHost { .. } => signal(settings, "pipelock").await,
        // The git gate reads its file at every push.
        Request::GitleaksException { .. } | Request::Capability { .. } => Ok(()),
    }
}

/// `sidecar-init signal SERVICE HUP`.
async fn signal(settings: &Settings, service: &str) -> Result<(), String> {
    let (init, timeout) = (&settings.init, settings.reload_timeout);
    let command = format!("{} signal {service} HUP", init.display());
    let child = Command::new(init)
        .args(["signal", service, "HUP"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{command}: {error}; SIDECAR_INIT says where the init is"))?;
    let output = match tokio::time::timeout(timeout, child.wait_with_output()).await {
        Ok(output) => output.map_err(|error| format!("{command}: {error}"))?,
        Err(_) => return Err(format!("{command}: it did not end within {timeout:?}")),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = one_line(said.trim()).chars().take(MAX_SAID).collect();
    Err(format!("{command}: {}: {said}", output.status))
}

async fn wait_for_route(settings: &Settings, route: &Route) -> Result<(), String> {
    let wanted = route.listed();
    until(settings.reload_timeout, async |left| {
        match egress::introspect(&settings.egress, left).await {
            Ok(told) if told.routes.iter().any(|listed| listed.is_same(&wanted)) => Ok(()),
            Ok(told) => {
                let why = told.reload_error.unwrap_or_else(|| "its log says why".to_owned());
                let why: String = one_line(why.trim()).chars().take(MAX_SAID).collect();
                Err(format!("egress does not list the new route: {why}"))
            }
            Err(problem) => Err(format!("egress: {problem}")),
        }
    })
    .await
}

/// pipelock tells nobody which hosts it allows, but its answer to a CONNECT does: 403 and
/// "allowlist" while the host is not on its list. A wildcard is tried with a name below it; whether
/// there is one of that name does not matter, as the list is looked at first.
async fn wait_for_host(settings: &Settings, host: &HostPattern) -> Result<(), String> {
    let below = if host.is_wildcard() { "supervise-asks." } else { "" };
    let tunnel = format!("{below}{}:443", host.name());
    until(settings.reload_timeout, async |left| {
        match ask(&settings.pipelock, "CONNECT", &tunnel, left).await {
            Ok(answer) if answer.status == 403 && answer.body.contains("allowlist") => {
                Err(format!("pipelock still refuses: {}", one_line(answer.body.trim())))
            }
            Ok(_) => Ok(()),
            Err(problem) => Err(format!("pipelock: {problem}")),
        }
    })
    .await
}

/// Tries until it succeeds or the time is over; then the last problem is the answer.
async fn until(
    timeout: Duration,
    attempt: impl AsyncFn(Duration) -> Result<(), String>,
) -> Result<(), String> {
    let end = Instant::now() + timeout;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let problem = match attempt(left.max(PAUSE)).await {
            Ok(()) => return Ok(()),
            Err(problem) => problem,
        };
        if Instant::now() + PAUSE >= end {
            return Err(format!("the reload was not seen within {timeout:?}: {problem}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
