//! Controls a running init from a program that uses tokio: `drive SOCKET SERVICE` restarts the service,
//! prints the events meanwhile, and shuts the bundle down.

use std::error::Error;
use std::io::{Write, stdout};
use std::time::Duration;

use sidecar_init::client::{Client, Error as ClientError};
use sidecar_init::protocol::EventKind;
use sidecar_init::words::Words;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket), Some(service)) = (arguments.next(), arguments.next()) else {
        return Err("drive SOCKET SERVICE".into());
    };
    let client = Client::at(socket);

    // The client blocks, so each call uses a thread; a stream uses one until it ends.
    let (sender, mut events) = mpsc::channel(16);
    let mut stream = {
        let client = client.clone();
        spawn_blocking(move || client.events()).await??
    };
    let reader = spawn_blocking(move || -> Result<(), ClientError> {
        while let Some(event) = stream.next().transpose()? {
            if sender.blocking_send(event).is_err() {
                break;
            }
        }
        Ok(())
    });

    let mut restart = {
        let (client, name) = (client.clone(), service.clone());
        spawn_blocking(move || client.restart([name], Some(Duration::from_secs(30))))
    };
    let (mut restarted, mut is_ready) = (None, false);
    // If the restart was refused there are no events.
    while !matches!(restarted, Some(Err(_))) && (restarted.is_none() || !is_ready) {
        tokio::select! {
            done = &mut restart, if restarted.is_none() => restarted = Some(done?),
            Some(event) = events.recv() => {
                let who = event.service.as_deref().unwrap_or("the bundle");
                writeln!(stdout(), "{who}: {}", event.kind.word())?;
                is_ready |=
                    event.kind == EventKind::Ready && event.service.as_ref() == Some(&service);
            }
            else => break,
        }
    }

    let status = {
        let client = client.clone();
        spawn_blocking(move || client.status()).await??
    };
    for service in status.services {
        writeln!(stdout(), "{} is {}", service.name, service.state.word())?;
    }
    spawn_blocking(move || client.shutdown(7)).await??;
    while events.recv().await.is_some() {}
    reader.await??;
    restarted.unwrap_or(Ok(()))?;
    Ok(())
}
