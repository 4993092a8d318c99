//! A session over git://: one `git daemon --inetd`, with us between it and the client.

use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::activity::{Activity, Watched};
use super::group::{Group, Pipes};
use super::{LAST_WORDS, PARTING, Shared};
use crate::{git, journal};

/// Serves one client to its end.
pub(super) async fn session(stream: TcpStream, shared: Arc<Shared>, slot: OwnedSemaphorePermit) {
    let times = shared.config.gate.times;
    let activity = Activity::begin(times.idle, times.session);
    // Health checks connect and say nothing; they need no git.
    let first = timeout(times.request, stream.peek(&mut [0])).await;
    if !matches!(first, Ok(Ok(1))) {
        return;
    }
    let access = shared.config.gate.hooks().join("access");
    let plan = git::daemon(&shared.config.gate, &shared.programs, &access)
        .environment(&shared.environment)
        .environment(&shared.filtered);
    let (group, pipes) = match Group::spawn(&plan, shared.groups.clone()) {
        Ok(spawned) => spawned,
        Err(error) => {
            journal::note("git-not-started", "", &json!({ "reason": error.to_string() }));
            return refuse(stream, slot).await;
        }
    };
    // Up to its first byte git daemon reads the request, and its hook asks upstream.
    activity.excuse(times.request + times.fetch + LAST_WORDS);
    let mut cut = shared.cut.clone();
    let reason = tokio::select! {
        () = relay(stream, pipes, &activity) => None,
        reason = activity.expired() => Some(reason),
        _ = cut.wait_for(|cut| *cut) => Some("the gate ends"),
    };
    if let Some(reason) = reason {
        journal::note("session-cut", "", &json!({ "protocol": "git", "reason": reason }));
    } else {
        let _ = timeout(LAST_WORDS, group.exited()).await;
    }
    group.end().await;
    drop(slot);
}

/// Carries bytes both ways until git has nothing more to say.
async fn relay(stream: TcpStream, pipes: Pipes, activity: &Arc<Activity>) {
    let Pipes { mut stdin, mut stdout, mut stderr } = pipes;
    let (mut from_client, mut to_client) = tokio::io::split(Watched::new(stream, activity.clone()));
    let up = async {
        let _ = tokio::io::copy(&mut from_client, &mut stdin).await;
        drop(stdin);
        // A client that sends no more may still read.
        std::future::pending::<()>().await;
    };
    let down = async {
        let mut first = vec![0; 1 << 16];
        let length = stdout.read(&mut first).await.unwrap_or_default();
        activity.end_excuse();
        if to_client.write_all(&first[..length]).await.is_ok() {
            let _ = tokio::io::copy(&mut stdout, &mut to_client).await;
        }
        let _ = to_client.shutdown().await;
    };
    let ignored = async {
        let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        std::future::pending::<()>().await;
    };
    tokio::select! { () = up => {} () = down => {} () = ignored => {} }
}

/// Says that there are too many sessions, as git's protocol has it (gitprotocol-pack(5)).
pub(super) async fn refuse(mut stream: TcpStream, _slot: OwnedSemaphorePermit) {
    let text = "ERR git-gate: refused: too many sessions; try again";
    let packet = format!("{:04x}{text}", text.len() + 4);
    if stream.write_all(packet.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        // Closing with unread input would reset the connection, and the text would be lost.
        let _ = timeout(PARTING, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
    }
}
