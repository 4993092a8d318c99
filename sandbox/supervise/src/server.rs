//! The agent's side: MCP over streamable HTTP.
//!
//! Without sessions, so that a restart of the server ends no conversation: what an agent has
//! proposed is in the queue, not in a connection.

mod answers;
mod connections;
mod parameters;
mod tools;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rustix::fs::Mode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::desk::Desk;
use crate::queue::Queue;
use crate::settings::Settings;
use crate::watcher::Watcher;
use connections::Bounds;
use tools::Tools;

/// Larger than any proposal, and small enough to be held many times over.
const MAX_BODY: usize = 128 * 1024;
/// How many of the decided are kept for those who ask.
const KEPT: usize = 256;
/// What a client gets to fetch its answers after TERM; well below the init's grace.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// Serves until TERM or INT.
pub async fn serve(settings: Settings) -> Result<(), String> {
    // The operator's side writes to the queue as well: root, who without CAP_DAC_OVERRIDE needs the
    // group's permission.
    rustix::process::umask(Mode::from_raw_mode(0o007));
    let queue = Queue::new(settings.queue.clone());
    queue.prepare()?;
    Audit::new(&settings.audit).check()?;
    queue.tidy(KEPT)?;
    for problem in queue.scan()?.problems {
        say(&format!("skipped: {problem}"));
    }
    let stopping = CancellationToken::new();
    let decisions = watch_decisions(&queue);
    let listener = TcpListener::bind(("0.0.0.0", settings.port))
        .await
        .map_err(|error| format!("port {}: {error}", settings.port))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let health_listener = match settings.health {
        Some(address) => Some(listen_for_health(address).await?),
        None => None,
    };
    let bounds = Bounds::for_agents(settings.wait);
    let desk = Desk::new(settings, queue, decisions, stopping.clone())?;
    stop_on_signals(stopping.clone())?;
    say(&format!("listening on {address}"));
    let agents = connections::serve(listener, router(&desk), bounds, &stopping, LAST_ANSWERS);
    match health_listener {
        Some(listener) => {
            let (router, bounds) = (health_router(&desk), Bounds::for_health());
            let probes = connections::serve(listener, router, bounds, &stopping, LAST_ANSWERS);
            tokio::join!(agents, probes);
        }
        None => agents.await,
    }
    say("stopped");
    Ok(())
}

/// Apart from the agents' port, of which they could take every connection: a server that only they
/// keep busy must not look dead to whoever ends the container then.
async fn listen_for_health(address: SocketAddr) -> Result<TcpListener, String> {
    let wrong = |error| format!("SUPERVISE_HEALTH_ADDRESS={address}: {error}");
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    say(&format!("health on {}", listener.local_addr().map_err(wrong)?));
    Ok(listener)
}

fn health_router(desk: &Arc<Desk>) -> Router {
    Router::new().route("/health", get(health)).with_state(desk.clone())
}

fn router(desk: &Arc<Desk>) -> Router {
    let tools = Tools::new(desk.clone());
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_allowed_hosts(desk.settings().hosts.clone())
        // Browsers have no business here, and only they send Origin.
        .enforce_origin_validation()
        .with_max_request_body_bytes(MAX_BODY);
    let mcp = StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    Router::new()
        .route("/", get(health).post_service(mcp.clone()).delete_service(mcp.clone()))
        .route("/health", get(health))
        .route_service("/mcp", mcp)
        .with_state(desk.clone())
}

/// Whether the queue can be read. A GET that wants events is a client's that would like to hear
/// from the server on its own account, which 405 declines (MCP, streamable HTTP).
async fn health(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accepts.is_some_and(|accepts| accepts.contains("text/event-stream")) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response();
    }
    match desk.queue().scan() {
        Ok(scan) => format!("ok, {} pending\n", scan.pending().count()).into_response(),
        Err(problem) => {
            say(&problem);
            (StatusCode::SERVICE_UNAVAILABLE, "the queue can't be read\n").into_response()
        }
    }
}

/// Archives what has been decided, and wakes those who wait for it.
fn watch_decisions(queue: &Queue) -> Option<watch::Receiver<u64>> {
    let mut watcher = match Watcher::new(&[queue.directory()]) {
        Ok(watcher) => watcher,
        Err(error) => {
            say(&format!("no inotify ({error}): decisions are looked for every second"));
            return None;
        }
    };
    let (sender, receiver) = watch::channel(0_u64);
    let queue = queue.clone();
    tokio::spawn(async move {
        while watcher.change().await.is_ok() {
            if let Err(problem) = queue.tidy(KEPT) {
                say(&problem);
            }
            sender.send_modify(|count| *count = count.wrapping_add(1));
        }
    });
    Some(receiver)
}

fn stop_on_signals(stopping: CancellationToken) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        stopping.cancel();
    });
    Ok(())
}

/// To stderr; nobody is told if that fails.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "supervise: {}", crate::text::one_line(text));
}
