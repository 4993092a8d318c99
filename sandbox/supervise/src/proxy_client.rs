//! One question to a proxy beside us: a GET through it, or a CONNECT. Bounded in time and size.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const MAX_BODY: usize = 1024 * 1024;

/// What it said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Asks the proxy at this address. The target is a whole URL, or for CONNECT a host and port.
pub async fn ask(
    address: &str,
    method: &str,
    target: &str,
    timeout: Duration,
) -> Result<Answer, String> {
    match tokio::time::timeout(timeout, exchange(address, method, target)).await {
        Ok(answer) => answer.map_err(|error| format!("{address}: {error}")),
        Err(_) => Err(format!("{address}: no answer within {timeout:?}")),
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(address: &str, method: &str, target: &str) -> Result<Answer, AnyError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let host = target.strip_prefix("http://").unwrap_or(target);
    let host = host.split('/').next().unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", host)
        .body(Empty::<Bytes>::new())?;
    let question = async {
        let response = sender.send_request(request).await?;
        read(response, method == "CONNECT").await
    };
    tokio::pin!(question);
    tokio::select! {
        answer = &mut question => answer,
        // The connection may end when it has handed over everything.
        ended = connection.with_upgrades() => {
            ended?;
            question.await
        }
    }
}

async fn read(response: Response<Incoming>, is_tunnel: bool) -> Result<Answer, AnyError> {
    let status = response.status();
    // What follows a CONNECT that succeeded is no body.
    if is_tunnel && status.is_success() {
        return Ok(Answer { status: status.as_u16(), body: String::new() });
    }
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await?.to_bytes();
    Ok(Answer { status: status.as_u16(), body: String::from_utf8_lossy(&body).into_owned() })
}
