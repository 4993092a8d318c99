//! Says that the gate is there, at an address of its own: whoever watches the gate must not take its
//! clients' silence for its illness. Clients can take every session, but none of the places here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::http::{text, well};

/// Connections at a time; further ones wait until one of these is over.
const MOST: usize = 16;
/// What one has from its begin to its end, so that none waits for long.
const LONGEST: Duration = Duration::from_secs(1);

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MOST));
    // It is never closed, so there always is a next place.
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = super::next(&listener).await;
        tokio::spawn(async move {
            let _ = timeout(LONGEST, answer(stream)).await;
            drop(place);
        });
    }
}

/// Answers one request, and closes.
async fn answer(stream: TcpStream) -> hyper::Result<()> {
    let service = service_fn(async |request: Request<_>| {
        let is_health = request.method() == Method::GET && request.uri().path() == "/health";
        let nothing = || text(StatusCode::NOT_FOUND, "git-gate: only /health is here\n".to_owned());
        Ok::<_, Infallible>(if is_health { well() } else { nothing() })
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    connection.await
}
