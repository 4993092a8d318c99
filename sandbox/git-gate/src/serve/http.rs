//! Smart HTTP: hyper speaks HTTP, and each request that git has to answer goes to a
//! git-http-backend(1) of its own.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::activity::{Activity, Watched};
use super::backend::{self, Body};
use super::group::{Group, Pipes};
use super::route::{Route, route};
use super::{LAST_WORDS, PARTING, Shared};
use crate::journal;
use crate::plan::Plan;

/// A fetch consists of several requests; the first one has made the mirror up to date, and for
/// this many seconds the others need not do it again.
const SAME_FETCH: &str = "60";

/// Serves one client to its end.
pub(super) async fn session(stream: TcpStream, shared: Arc<Shared>, slot: OwnedSemaphorePermit) {
    let times = shared.config.gate.times;
    let activity = Activity::begin(times.idle, times.session);
    // Dropped at the end of this, by which the gits of its requests know that it is over.
    let (_here, gone) = watch::channel(());
    let io = TokioIo::new(Watched::new(stream, activity.clone()));
    let service =
        service_fn(|request| answer(request, shared.clone(), activity.clone(), gone.clone()));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(times.request)
        .serve_connection(io, service);
    let mut cut = shared.cut.clone();
    let reason = tokio::select! {
        _ = connection => None,
        reason = activity.expired() => Some(reason),
        _ = cut.wait_for(|cut| *cut) => Some("the gate ends"),
    };
    if let Some(reason) = reason {
        journal::note("session-cut", "", &json!({ "protocol": "http", "reason": reason }));
    }
    drop(slot);
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    gone: watch::Receiver<()>,
) -> Result<Response<Body>, Infallible> {
    let uri = request.uri().clone();
    let route = route(&shared.config, request.method().as_str(), uri.path(), uri.query());
    let refreshed = match route {
        Route::Health => return Ok(well()),
        Route::Nothing => {
            let message = "git-gate: there is no such repository\n".to_owned();
            return Ok(text(StatusCode::NOT_FOUND, message));
        }
        Route::Refs(name) => refresh(&shared, &activity, &[name]).await,
        Route::Fetch(name) => refresh(&shared, &activity, &[name, SAME_FETCH]).await,
        // Whether upstream has moved is for upstream to say, when it gets the push.
        Route::Push(_) => Ok(()),
    };
    // git shows the client a text/plain body of an error.
    Ok(match refreshed {
        Ok(()) => backend::answer(request, &shared, gone).await.unwrap_or_else(|error| {
            journal::note("git-not-started", "", &json!({ "reason": error.to_string() }));
            text(StatusCode::INTERNAL_SERVER_ERROR, "git-gate: git failed\n".to_owned())
        }),
        Err(message) => text(StatusCode::SERVICE_UNAVAILABLE, message),
    })
}

/// Runs `git-gate refresh`; its words, if it fails.
async fn refresh(shared: &Shared, activity: &Activity, what: &[&str]) -> Result<(), String> {
    let times = shared.config.gate.times;
    let longest = times.fetch + LAST_WORDS;
    activity.excuse(longest + LAST_WORDS);
    let plan = Plan::new(&shared.program, std::path::Path::new("/"))
        .arguments(["refresh"])
        .arguments(what)
        .environment(&shared.environment);
    let failed = || "git-gate: refused: the mirror can't be made up to date\n".to_owned();
    let (group, pipes) = Group::spawn(&plan, shared.groups.clone()).map_err(|_| failed())?;
    let Pipes { stdin: _stdin, mut stdout, stderr: _stderr } = pipes;
    let mut message = String::new();
    let read = timeout(longest, stdout.read_to_string(&mut message)).await;
    if matches!(read, Ok(Ok(_))) {
        let _ = timeout(LAST_WORDS, group.exited()).await;
    }
    let code = group.end().await;
    activity.end_excuse();
    match code {
        Some(0) => Ok(()),
        _ if message.is_empty() => Err(failed()),
        _ => Err(message),
    }
}

/// What those read who ask whether the gate is there.
pub(super) fn well() -> Response<Body> {
    text(StatusCode::OK, "well\n".to_owned())
}

pub(super) fn text(status: StatusCode, message: String) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(message.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Says that there are too many sessions.
pub(super) async fn refuse(mut stream: TcpStream, _slot: OwnedSemaphorePermit) {
    let message = "git-gate: refused: too many sessions; try again\n";
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{message}",
        message.len()
    );
    if stream.write_all(answer.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        let _ = timeout(PARTING, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
    }
}
