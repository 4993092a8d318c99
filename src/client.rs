//! Controls a running init through its control socket.
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
//! Every call blocks until there is an answer, but not longer than the timeout of
//! [`Client::answer_within`]. An asynchronous program calls it where it may block, such as in tokio's
//! `spawn_blocking`; a [`Client`] is cheap to clone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::protocol::{
    BundleEvent, Change, EventKind, Goal, Graph, HealthReport, LogText, Logs, Metrics, Refusal,
    Reloaded, Request, SOCKET_VARIABLE, SendSignal, Shutdown, Status, Timeline, VERSION, Wait,
    accepted,
};
use crate::signal::Signal;
use crate::words::Words;

mod connection;
mod error;

use connection::Connection;
pub use error::{Error, ErrorKind};

/// The timeout for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// The same for a reload, which reads files and looks up users.
const RELOAD_TIME: Duration = Duration::from_secs(60);

/// A client of an init. Each call opens a new connection, because the init closes idle ones.
#[derive(Clone, Debug)]
pub struct Client {
    /// `None`: one of the default paths.
    place: Option<PathBuf>,
    limit: Option<Duration>,
}

impl Client {
    /// A client of the init that listens at this path.
    pub fn at(path: impl AsRef<Path>) -> Client {
        Client { place: Some(path.as_ref().to_owned()), limit: None }
    }

    /// A client of the init whose path is in the variable `SIDECAR_INIT_SOCKET`, or else of this
    /// container's PID 1, at one of the default paths.
    pub fn default_socket() -> Client {
        let place = std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty());
        Client { place: place.map(PathBuf::from), limit: None }
    }

    /// Sets the timeout for each answer, in place of 5 s (a reload: 60 s). While a call waits for
    /// services, it checks at this interval that the init still answers.
    #[must_use]
    pub fn answer_within(self, limit: Duration) -> Client {
        Client { limit: Some(limit), ..self }
    }

    /// The state of all services.
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

    /// The dependencies between services.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn graph(&self) -> Result<Graph, Error> {
        self.ask(&Request::Graph)
    }

    /// When services were started, ready and ended.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn timeline(&self) -> Result<Timeline, Error> {
        self.ask(&Request::Timeline)
    }

    /// Metrics of the services.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn metrics(&self) -> Result<Metrics, Error> {
        self.ask(&Request::Metrics)
    }

    /// Starts services, and those that they require. With `wait`, returns when they are up, or after
    /// this time.
    ///
    /// # Errors
    /// If a service does not exist or does not come up, or there is no answer.
    pub fn start(
        &self,
        names: impl IntoIterator<Item: Into<String>>,
        wait: Option<Duration>,
    ) -> Result<(), Error> {
        self.change(Request::Start, names, wait)
    }

    /// Stops services, which then stay down. With `wait`, returns when they have ended, or after this
    /// time.
    ///
    /// # Errors
    /// If a service does not exist or does not end, or there is no answer.
    pub fn stop(
        &self,
        names: impl IntoIterator<Item: Into<String>>,
        wait: Option<Duration>,
    ) -> Result<(), Error> {
        self.change(Request::Stop, names, wait)
    }

    /// Restarts services. With `wait`, returns when they are up again, or after this time.
    ///
    /// # Errors
    /// If a service does not exist or does not come up, or there is no answer.
    pub fn restart(
        &self,
        names: impl IntoIterator<Item: Into<String>>,
        wait: Option<Duration>,
    ) -> Result<(), Error> {
        self.change(Request::Restart, names, wait)
    }

    /// Signals the main process of each of these services, or none if one does not run.
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

    /// Waits until the service is ready or has ended, without limit or for this time.
    ///
    /// # Errors
    /// If this can't happen any more, after the time, or if there is no answer.
    pub fn wait(&self, name: &str, goal: Goal, timeout: Option<Duration>) -> Result<(), Error> {
        self.tell(&Request::Wait(Wait { goal, service: name.to_owned(), timeout }), true)
    }

    /// The recent output of the service.
    ///
    /// # Errors
    /// If the service does not exist or has `log = "inherit"`, or there is no answer.
    pub fn logs(&self, name: &str) -> Result<String, Error> {
        let logs = Logs { service: name.to_owned(), follow: false };
        self.ask(&Request::Logs(logs)).map(|log: LogText| log.text)
    }

    /// The recent output of the service, and then new output.
    ///
    /// # Errors
    /// If the service does not exist or has `log = "inherit"`, or there is no answer.
    pub fn follow(&self, name: &str) -> Result<Follow, Error> {
        let logs = Logs { service: name.to_owned(), follow: true };
        let (mut connection, first) = self.begin(&Request::Logs(logs), false)?;
        connection.take_time();
        Ok(Follow { first: Some(first), connection })
    }

    /// All events from now on.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn events(&self) -> Result<Events, Error> {
        let (mut connection, _) = self.begin(&Request::Events, false)?;
        connection.take_time();
        Ok(Events { connection })
    }

    /// Reloads the bundle's file, and applies the changes.
    ///
    /// # Errors
    /// If the file has errors, or there is no answer; then nothing changes.
    pub fn reload(&self) -> Result<Reloaded, Error> {
        self.ask(&Request::Reload)
    }

    /// Shuts the bundle down, with this exit code. Returns when the shutdown has begun.
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

    /// Makes a request; `is_patient`: the answer is deferred.
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
        Ok((connection, accepted(of_our_version(read(&line)?)?).map_err(refused)?))
    }
}

/// The output of a service; an item may have several lines. It ends when the init does.
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
            None => self.connection.receive().transpose()?.and_then(|line| streamed(&line)),
        };
        Some(log.and_then(decode).map(|log: LogText| log.text))
    }
}

/// Events as they happen, without those of a later init that this library does not know. It ends when the
/// init does.
#[derive(Debug)]
pub struct Events {
    connection: Connection,
}

impl Events {
    /// Waits for events, at most this time, and returns those that have arrived; `None`: the init has
    /// ended.
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
        lines.iter().filter_map(|line| event(line).transpose()).collect::<Result<_, _>>().map(Some)
    }
}

impl Iterator for Events {
    type Item = Result<BundleEvent, Error>;

    fn next(&mut self) -> Option<Result<BundleEvent, Error>> {
        loop {
            let line = self.connection.receive().transpose()?;
            if let Some(event) = line.and_then(|line| event(&line)).transpose() {
                return Some(event);
            }
        }
    }
}

/// `None`: one of a later init, which this library does not know.
fn event(line: &[u8]) -> Result<Option<BundleEvent>, Error> {
    let event = streamed(line)?;
    match event["event"].as_str().map(EventKind::from_word) {
        Some(None) => Ok(None),
        _ => decode(event).map(Some),
    }
}

/// The answer, unless an init of another version gives it. One without a version is of version 1.
fn of_our_version(answer: Value) -> Result<Value, Error> {
    match answer.get("version") {
        Some(version) if *version != VERSION => Err(Error::new(
            ErrorKind::OtherVersion,
            format!(
                "the init speaks version {version} of the control protocol, this program \
                 {VERSION}: use the sidecar-init binary of that container"
            ),
        )),
        _ => Ok(answer),
    }
}

fn refused(Refusal { error, is_late }: Refusal) -> Error {
    Error::new(if is_late { ErrorKind::TimedOut } else { ErrorKind::Refused }, error)
}

/// An item of a stream, which the init may end with a refusal.
fn streamed(line: &[u8]) -> Result<Value, Error> {
    let item = read(line)?;
    if item["ok"] == false { accepted(item).map_err(refused) } else { Ok(item) }
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
