//! Drives a running init through its control socket.
//!
//! ```no_run
//! use std::time::Duration;
//! use sidecar_init::client::Client;
//!
//! let client = Client::default_socket();
//! for service in client.status()?.services {
//!     println!("{}: {:?}", service.name, service.state);
//! }
//! client.restart(["web"], Some(Duration::from_secs(10)))?;
//! for event in client.events()? {
//!     let event = event?;
//!     println!("{} {:?} {:?}", event.time, event.kind, event.service);
//! }
//! # Ok::<(), sidecar_init::client::Error>(())
//! ```
//!
//! Every call blocks until there is an answer, but never for longer than the init may take: see
//! [`Client::answer_within`]. An asynchronous program makes the calls where it may block, such as
//! in tokio's `spawn_blocking`; a [`Client`] is cheap to clone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::protocol::{
    BundleEvent, Change, Goal, Graph, HealthReport, LogText, Logs, Metrics, Reloaded, Request,
    SOCKET_VARIABLE, SendSignal, Shutdown, Status, Timeline, Wait, accepted,
};
use crate::signal::Signal;

mod connection;
mod error;

use connection::Connection;
pub use error::{Error, ErrorKind};

/// How long the init may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// The same where it has files to read, or users to look up.
const RELOAD_TIME: Duration = Duration::from_secs(60);

/// Where an init listens. Each call makes a connection of its own, since the init sends away who
/// is silent.
#[derive(Clone, Debug)]
pub struct Client {
    /// `None`: at one of the usual places.
    place: Option<PathBuf>,
    limit: Option<Duration>,
}

impl Client {
    /// A client of the init that listens at this path.
    pub fn at(path: impl AsRef<Path>) -> Client {
        Client { place: Some(path.as_ref().to_owned()), limit: None }
    }

    /// A client of the init that listens where the variable `SIDECAR_INIT_SOCKET` says, or else of
    /// the PID 1 of this container, at one of the usual places.
    pub fn default_socket() -> Client {
        let place = std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty());
        Client { place: place.map(PathBuf::from), limit: None }
    }

    /// Gives the init so long for each answer, in place of 5 s (a reload: 60 s). Where services are
    /// waited for, the init is asked as often as that whether it still answers.
    #[must_use]
    pub fn answer_within(self, limit: Duration) -> Client {
        Client { limit: Some(limit), ..self }
    }

    /// How all services are.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn status(&self) -> Result<Status, Error> {
        self.ask(&Request::Status)
    }

    /// Whether every service is ready and live.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn health(&self) -> Result<HealthReport, Error> {
        self.ask(&Request::Health)
    }

    /// Who starts after whom.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn graph(&self) -> Result<Graph, Error> {
        self.ask(&Request::Graph)
    }

    /// When services were started, ready and gone.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn timeline(&self) -> Result<Timeline, Error> {
        self.ask(&Request::Timeline)
    }

    /// Figures of the services.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn metrics(&self) -> Result<Metrics, Error> {
        self.ask(&Request::Metrics)
    }

    /// Starts services, and those that they require. With `wait`, returns when they are up, and not
    /// later than that.
    ///
    /// # Errors
    /// If there is no such service, it does not come up, or there is no answer.
    pub fn start(
        &self,
        names: impl IntoIterator<Item: Into<String>>,
        wait: Option<Duration>,
    ) -> Result<(), Error> {
        self.change(Request::Start, names, wait)
    }

    /// Stops services, which stay down then. With `wait`, returns when they are gone, and not later
    /// than that.
    ///
    /// # Errors
    /// If there is no such service, it does not end, or there is no answer.
    pub fn stop(
        &self,
        names: impl IntoIterator<Item: Into<String>>,
        wait: Option<Duration>,
    ) -> Result<(), Error> {
        self.change(Request::Stop, names, wait)
    }

    /// Restarts services. With `wait`, returns when they are up again, and not later than that.
    ///
    /// # Errors
    /// If there is no such service, it does not come up, or there is no answer.
    pub fn restart(
        &self,
        names: impl IntoIterator<Item: Into<String>>,
        wait: Option<Duration>,
    ) -> Result<(), Error> {
        self.change(Request::Restart, names, wait)
    }

    /// Sends a signal to the main process of each of these, or to none if one does not run.
    ///
    /// # Errors
    /// If one does not run, or there is no answer.
    pub fn signal(
        &self,
        names: impl IntoIterator<Item: Into<String>>,
        signal: Signal,
    ) -> Result<(), Error> {
        self.tell(&Request::Signal(SendSignal { signal, services: collected(names) }), false)
    }

    /// Waits until the service is ready or has ended, for ever or for so long.
    ///
    /// # Errors
    /// If that can't be any more, it is not so in time, or there is no answer.
    pub fn wait(&self, name: &str, goal: Goal, timeout: Option<Duration>) -> Result<(), Error> {
        self.tell(&Request::Wait(Wait { goal, service: name.to_owned(), timeout }), true)
    }

    /// What the service has written of late.
    ///
    /// # Errors
    /// If there is no such service, its output goes past the init, or there is no answer.
    pub fn logs(&self, name: &str) -> Result<String, Error> {
        let logs = Logs { service: name.to_owned(), follow: false };
        self.ask(&Request::Logs(logs)).map(|log: LogText| log.text)
    }

    /// The same, and then what it writes from now on.
    ///
    /// # Errors
    /// If there is no such service, its output goes past the init, or there is no answer.
    pub fn follow(&self, name: &str) -> Result<Follow, Error> {
        let logs = Logs { service: name.to_owned(), follow: true };
        let (mut connection, first) = self.begin(&Request::Logs(logs), false)?;
        connection.take_time();
        Ok(Follow { first: Some(first), connection })
    }

    /// Everything that happens from now on.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn events(&self) -> Result<Events, Error> {
        let (mut connection, _) = self.begin(&Request::Events, false)?;
        connection.take_time();
        Ok(Events { connection })
    }

    /// Has the bundle's file read again, and goes by it.
    ///
    /// # Errors
    /// If something is wrong with it, or there is no answer; then all is as it was.
    pub fn reload(&self) -> Result<Reloaded, Error> {
        self.ask(&Request::Reload)
    }

    /// Ends the bundle, with this exit code. Returns when the shutdown has begun.
    ///
    /// # Errors
    /// If it is shutting down with another code, or there is no answer.
    pub fn shutdown(&self, code: u8) -> Result<(), Error> {
        self.tell(&Request::Shutdown(Shutdown { code }), false)
    }

    fn change(
        &self,
        request: impl Fn(Change) -> Request,
        names: impl IntoIterator<Item: Into<String>>,
        wait: Option<Duration>,
    ) -> Result<(), Error> {
        let change = request(Change { services: collected(names), wait });
        self.tell(&change, wait.is_some())
    }

    fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Error> {
        self.begin(request, false).and_then(|(_, answer)| decode(answer))
    }

    /// Has something done; `is_patient`: the answer comes when something has happened.
    fn tell(&self, request: &Request, is_patient: bool) -> Result<(), Error> {
        self.begin(request, is_patient).map(drop)
    }

    fn begin(&self, request: &Request, is_patient: bool) -> Result<(Connection, Value), Error> {
        let usual = if *request == Request::Reload { RELOAD_TIME } else { ANSWER_TIME };
        let mut connection =
            Connection::open(self.place.as_deref(), self.limit.unwrap_or(usual), is_patient)?;
        connection.send(request)?;
        let line = connection.receive()?.ok_or_else(|| {
            Error::new(ErrorKind::Closed, "sidecar-init closed the connection without an answer")
        })?;
        match accepted(read(&line)?) {
            Ok(answer) => Ok((connection, answer)),
            Err(refusal) => {
                let kind = if refusal.is_late { ErrorKind::TimedOut } else { ErrorKind::Refused };
                Err(Error::new(kind, refusal.error))
            }
        }
    }
}

/// What a service writes; an item may have several lines. It ends when the init does.
#[derive(Debug)]
pub struct Follow {
    first: Option<Value>,
    connection: Connection,
}

impl Iterator for Follow {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Result<String, Error>> {
        let log = match self.first.take() {
            Some(first) => Ok(first),
            None => self.connection.receive().transpose()?.and_then(|line| read(&line)),
        };
        Some(log.and_then(decode).map(|log: LogText| log.text))
    }
}

/// What happens, as it happens. It ends when the init does.
#[derive(Debug)]
pub struct Events {
    connection: Connection,
}

impl Events {
    /// Waits for events, but not for longer than this, and gives those that have come; `None`: the
    /// init is gone.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn batch(&mut self, at_the_most: Duration) -> Result<Option<Vec<BundleEvent>>, Error> {
        let mut lines = self.connection.lines();
        if lines.is_empty() {
            if !self.connection.fill(at_the_most)? {
                return Ok(None);
            }
            lines = self.connection.lines();
        }
        lines.iter().map(|line| decode(read(line)?)).collect::<Result<_, _>>().map(Some)
    }
}

impl Iterator for Events {
    type Item = Result<BundleEvent, Error>;

    fn next(&mut self) -> Option<Result<BundleEvent, Error>> {
        let line = self.connection.receive().transpose()?;
        Some(line.and_then(|line| decode(read(&line)?)))
    }
}

fn read(line: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(line).map_err(no_answer)
}

fn decode<T: DeserializeOwned>(answer: Value) -> Result<T, Error> {
    T::deserialize(answer).map_err(no_answer)
}

fn no_answer(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Lost, format!("an answer that can't be read: {error}"))
}

fn collected(names: impl IntoIterator<Item: Into<String>>) -> Vec<String> {
    names.into_iter().map(Into::into).collect()
}
