//! Connections to the server: so many at most, and none that only holds its place.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::say;

/// What a request may take beyond waiting for the operator, its body included.
const SLACK: Duration = Duration::from_secs(20);
/// Within the 5 s that the image's bundle gives to a probe.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(4);
/// After an error of accept(2) that will not pass at once, such as EMFILE.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What the clients of one listener are held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at a time.
    connections: usize,
    /// Those among them that one address may have, so that no other client is kept out.
    of_one_client: usize,
    /// For the head of a request, and between two requests.
    head: Duration,
    /// For a request, its body and what it waits for included.
    request: Duration,
    /// Whether a connection may bring more than one request.
    keep_alive: bool,
}

impl Bounds {
    /// Where agents ask, and wait so long for the operator.
    pub(super) fn for_agents(wait: Duration) -> Self {
        let head = Duration::from_secs(30);
        let request = wait + SLACK;
        Bounds { connections: 256, of_one_client: 64, head, request, keep_alive: true }
    }

    /// Where only whoever looks after the container asks.
    pub(super) fn for_health() -> Self {
        let (head, request) = (HEALTH_TIMEOUT, HEALTH_TIMEOUT);
        Bounds { connections: 16, of_one_client: 16, head, request, keep_alive: false }
    }
}

/// The address a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub(super) SocketAddr);

/// Serves until it is told to stop; then what is being answered gets a little more time.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    stopping: &CancellationToken,
    last_answers: Duration,
) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    // Each connection holds a reference to its client's entry.
    let mut clients: HashMap<IpAddr, Arc<()>> = HashMap::new();
    let connections = TaskTracker::new();
    loop {
        let next = async {
            // Never closed, so there always is a next place.
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = stopping.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                clients.retain(|_, client| Arc::strong_count(client) > 1);
                let client = clients.entry(address.ip()).or_default();
                if Arc::strong_count(client) > bounds.of_one_client {
                    // Closed unheard.
                    continue;
                }
                let held = (place, client.clone());
                let served = connection(stream, address, router.clone(), bounds, stopping.clone());
                connections.spawn(async move {
                    served.await;
                    drop(held);
                });
            }
            Err(error) => {
                say(&format!("accept: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    let _ = tokio::time::timeout(last_answers, connections.wait()).await;
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    router: Router,
    bounds: Bounds,
    stopping: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ClientAddress(address));
            let answer = tokio::time::timeout(bounds.request, router.call(request)).await;
            answer.unwrap_or_else(|_| Ok(StatusCode::REQUEST_TIMEOUT.into_response()))
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head)
            .keep_alive(bounds.keep_alive)
            .serve_connection(TokioIo::new(stream), service)
    );
    // What goes wrong here is the client's own trouble.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
