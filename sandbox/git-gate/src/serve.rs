//! `git-gate serve`: accepts connections, gives each to a git of its own, and bounds them: in
//! number, in idle time and in length. git daemon itself does not bound a push.

mod activity;
mod backend;
mod cgi;
mod git;
mod group;
mod health;
mod http;
mod route;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::{TcpListener, TcpStream, UnixDatagram};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::Config;
use crate::mirrors::START_TIMEOUT;
use crate::{filter, git as commands, journal, mirrors, process};

/// What sessions have to end by themselves when the gate is asked to end.
const GRACE: Duration = Duration::from_secs(4);
/// What their processes have after SIGTERM, beyond which they are killed.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What a refused client has to read why.
const PARTING: Duration = Duration::from_secs(1);
/// Clients that are only told that there are too many.
const MOST_REFUSALS: usize = 64;
/// After an error of accept(2), most often a want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What every session needs.
struct Shared {
    config: Config,
    /// The environment of git and its hooks.
    environment: Vec<(String, std::ffi::OsString)>,
    program: PathBuf,
    /// Where git daemon and git-http-backend are.
    programs: PathBuf,
    /// By which those two find our filter when they look for git.
    filtered: Vec<(String, std::ffi::OsString)>,
    sessions: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    /// Becomes true when sessions have to end at once.
    cut: watch::Receiver<bool>,
    /// As many copies as there are process groups, and this one.
    groups: Arc<()>,
}

/// Serves until TERM or INT; then exits with 0.
///
/// # Errors
/// If it could not begin.
pub(crate) fn serve(config: Config, file: PathBuf) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(config, file))
}

async fn run(config: Config, file: PathBuf) -> io::Result<()> {
    let (cut, is_cut) = watch::channel(false);
    let log = log_socket(&config)?;
    let shared = Arc::new(shared(config, &file, is_cut)?);
    let gate = &shared.config.gate;
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let mut acceptors = vec![tokio::spawn(hear(log))];
    let mut addresses = serde_json::Map::new();
    if let Some(address) = gate.listen {
        let listener = bind(address, "listen").await?;
        addresses.insert("git".to_owned(), listener.local_addr()?.to_string().into());
        let session = |stream, shared, slot| tokio::spawn(git::session(stream, shared, slot));
        acceptors.push(tokio::spawn(accept(listener, shared.clone(), session, git::refuse)));
    }
    if let Some(address) = gate.http_listen {
        let listener = bind(address, "http-listen").await?;
        addresses.insert("http".to_owned(), listener.local_addr()?.to_string().into());
        let session = |stream, shared, slot| tokio::spawn(http::session(stream, shared, slot));
        acceptors.push(tokio::spawn(accept(listener, shared.clone(), session, http::refuse)));
    }
    if let Some(address) = gate.health_listen {
        let listener = bind(address, "health-listen").await?;
        addresses.insert("health".to_owned(), listener.local_addr()?.to_string().into());
        acceptors.push(tokio::spawn(health::serve(listener)));
    }
    let names: Vec<&str> = shared.config.upstreams.iter().map(|one| one.name.as_str()).collect();
    let mut serving = json!({ "repositories": names, "listen": addresses });
    if names.is_empty() {
        let file = file.display();
        serving["note"] = format!("{file} has no [[upstream]]: everything is refused").into();
    }
    journal::note("serving", "", &serving);
    tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
    journal::note("ending", "", &json!({}));
    for acceptor in acceptors.drain(1..) {
        acceptor.abort();
    }
    tokio::select! {
        () = until(|| shared.sessions.available_permits() == gate.limits.sessions, GRACE) => {}
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    let _ = cut.send(true);
    until(|| Arc::strong_count(&shared.groups) == 1, LAST_WORDS * 2).await;
    Ok(())
}

fn shared(config: Config, file: &Path, cut: watch::Receiver<bool>) -> io::Result<Shared> {
    let mut environment = commands::environment(std::env::var_os("PATH"));
    let usual = environment.iter().find(|(name, _)| name == "PATH");
    let usual = usual.map(|(_, path)| path.clone()).unwrap_or_default();
    let filtered = filter::environment(&config.gate.programs(), &usual);
    let plan = commands::ask_programs().environment(&environment);
    let asked = process::run(&plan, Vec::new(), Instant::now() + START_TIMEOUT);
    let programs = asked.map_err(io::Error::other)?.text();
    let pairs = commands::mirror_settings(&config.gate, &config.upstreams);
    environment.extend(commands::settings(&pairs));
    environment.push((crate::config::FILE_VARIABLE.to_owned(), std::path::absolute(file)?.into()));
    let log = journal::socket(&config.gate.own());
    environment.push((journal::VARIABLE.to_owned(), log.into()));
    Ok(Shared {
        environment,
        filtered,
        programs: PathBuf::from(programs.trim_end()),
        program: std::env::current_exe()?,
        sessions: Arc::new(Semaphore::new(config.gate.limits.sessions)),
        refusals: Arc::new(Semaphore::new(MOST_REFUSALS)),
        cut,
        groups: Arc::new(()),
        config,
    })
}

async fn bind(address: std::net::SocketAddr, key: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("`{key}` {address}: {error}")))
}

/// Accepts for ever. A connection beyond the limit is told so, and closed.
async fn accept<S, R>(
    listener: TcpListener,
    shared: Arc<Shared>,
    session: S,
    refuse: fn(TcpStream, OwnedSemaphorePermit) -> R,
) where
    S: Fn(TcpStream, Arc<Shared>, OwnedSemaphorePermit) -> tokio::task::JoinHandle<()>,
    R: Future<Output = ()> + Send + 'static,
{
    loop {
        let stream = next(&listener).await;
        if let Ok(slot) = shared.sessions.clone().try_acquire_owned() {
            session(stream, shared.clone(), slot);
        } else if let Ok(slot) = shared.refusals.clone().try_acquire_owned() {
            journal::note("session-refused", "", &json!({ "reason": "too many sessions" }));
            tokio::spawn(refuse(stream, slot));
        }
    }
}

/// The next connection.
async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                journal::note("accept-failed", "", &json!({ "reason": error.to_string() }));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn log_socket(config: &Config) -> io::Result<UnixDatagram> {
    let path = journal::socket(&config.gate.own());
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => UnixDatagram::bind(&path),
    }
}

/// Writes what the hooks send.
async fn hear(socket: UnixDatagram) {
    let mut buffer = vec![0; 1 << 18];
    while let Ok(length) = socket.recv(&mut buffer).await {
        journal::write(&String::from_utf8_lossy(&buffer[..length]));
    }
}

/// Waits until this is so, but not for longer than that.
async fn until(is_so: impl Fn() -> bool, longest: Duration) {
    let end = Instant::now() + longest;
    while !is_so() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Prepares the mirrors and begins to serve; what is wrong, if that fails.
///
/// # Errors
/// Each problem, in words.
pub(crate) fn start(config: Config, file: PathBuf) -> Result<(), Vec<String>> {
    mirrors::prepare(&config)?;
    serve(config, file).map_err(|error| vec![error.to_string()])
}
