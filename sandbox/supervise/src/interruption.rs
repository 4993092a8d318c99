//! The signals by which an operator, or the end of the terminal, interrupts a command.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// While this is there they end nothing by themselves.
#[derive(Debug)]
pub struct Interruption {
    int: Signal,
    term: Signal,
    hup: Signal,
}

impl Interruption {
    /// Begins to listen.
    pub fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
        Ok(Interruption {
            int: listen(SignalKind::interrupt())?,
            term: listen(SignalKind::terminate())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them.
    pub async fn comes(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
            _ = self.hup.recv() => {}
        }
    }
}
