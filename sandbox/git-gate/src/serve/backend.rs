//! One request that git answers: its body to git-http-backend(1), and the answer back as it comes.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::watch;
use tokio::time::timeout;

use super::group::{Group, Pipes};
use super::{LAST_WORDS, Shared, cgi};

/// A text of ours, or what git says.
pub(super) type Body = Either<Full<Bytes>, Channel<Bytes, io::Error>>;

/// Asks git; `gone` is closed when the client's connection is.
pub(super) async fn answer(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    gone: watch::Receiver<()>,
) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let plan = cgi::plan(shared, &parts);
    let (group, pipes) = Group::spawn(&plan, shared.groups.clone())?;
    let Pipes { stdin, mut stdout, mut stderr } = pipes;
    tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
    tokio::spawn(pass_body(body, stdin));
    let mut received = Vec::new();
    let (status, fields, length) = loop {
        let mut buffer = [0; 4096];
        let count = stdout.read(&mut buffer).await?;
        received.extend_from_slice(&buffer[..count]);
        match cgi::head(&received) {
            Some(head) => break head.map_err(io::Error::other)?,
            None if count == 0 => return Err(io::Error::other("it answered nothing")),
            None => {}
        }
    };
    let (sender, channel) = Channel::new(4);
    let first = received.split_off(length);
    tokio::spawn(finish(first, stdout, sender, group, gone));
    let mut response = Response::new(Either::Right(channel));
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    Ok(response)
}

async fn pass_body(mut body: Incoming, mut stdin: ChildStdin) {
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        if stdin.write_all(&data).await.is_err() {
            return;
        }
    }
}

/// Passes the answer on until it ends or the client is gone; then nothing of this git is left.
async fn finish(
    first: Vec<u8>,
    stdout: ChildStdout,
    sender: Sender<Bytes, io::Error>,
    group: Group,
    mut gone: watch::Receiver<()>,
) {
    tokio::select! {
        complete = pass_answer(first, stdout, sender) => if complete {
            let _ = timeout(LAST_WORDS, group.exited()).await;
        },
        _ = gone.changed() => {}
    }
    group.end().await;
}

/// Whether all of it was passed on.
async fn pass_answer(
    first: Vec<u8>,
    mut stdout: ChildStdout,
    mut sender: Sender<Bytes, io::Error>,
) -> bool {
    let mut open = first.is_empty() || sender.send_data(first.into()).await.is_ok();
    while open {
        let mut buffer = BytesMut::with_capacity(1 << 15);
        match stdout.read_buf(&mut buffer).await {
            Ok(0) => return true,
            Ok(_) => open = sender.send_data(buffer.freeze()).await.is_ok(),
            Err(error) => {
                sender.abort(error);
                return false;
            }
        }
    }
    false
}
