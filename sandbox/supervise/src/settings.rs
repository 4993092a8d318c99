//! What the environment says. Every value is checked at once, and a wrong one names its variable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::limit::Limits;

/// All settings, with the places of the image as their defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The port of the server.
    pub port: u16,
    /// Where it tells its health beside that; none if nowhere.
    pub health: Option<SocketAddr>,
    /// The names by which clients may call it.
    pub hosts: Vec<String>,
    /// How long a call waits for the operator.
    pub wait: Duration,
    /// How much may be proposed.
    pub limits: Limits,
    /// The directory of the queue.
    pub queue: PathBuf,
    /// The audit log.
    pub audit: PathBuf,
    /// What one operator locks while the others wait.
    pub lock: PathBuf,
    /// Where the init writes its events.
    pub events: PathBuf,
    /// The routes of the egress proxy.
    pub routes: PathBuf,
    /// The configuration of pipelock.
    pub pipelock_config: PathBuf,
    /// The approved fingerprints of the git gate.
    pub fingerprints: PathBuf,
    /// The address of the egress proxy.
    pub egress: String,
    /// The address of pipelock.
    pub pipelock: String,
    /// The init, by which services are told to reload.
    pub init: PathBuf,
    /// How long a reload may take.
    pub reload_timeout: Duration,
}

impl Settings {
    /// Reads them; `lookup` gives the value of a variable.
    pub fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let text = |name: &str, default: &str| get(name).unwrap_or_else(|| default.to_owned());
        let path = |name: &str, default: &str| PathBuf::from(text(name, default));
        let port = number(&get, "SUPERVISE_PORT", 9100, 0..=65535)?;
        let per_hour = number(&get, "SUPERVISE_MAX_PER_HOUR", 30, 1..=10_000)?;
        let pending = number(&get, "SUPERVISE_MAX_PENDING", 20, 1..=1000)?;
        Ok(Settings {
            port: u16::try_from(port).unwrap_or(9100),
            health: health(&text("SUPERVISE_HEALTH_ADDRESS", "127.0.0.1:9101"))?,
            hosts: hosts(get("SUPERVISE_HOSTS"))?,
            wait: duration(&get, "SUPERVISE_WAIT", "30s")?,
            limits: Limits { per_hour, pending },
            queue: path("SUPERVISE_QUEUE_DIR", "/run/supervise/queue"),
            audit: path("SUPERVISE_AUDIT_FILE", "/run/supervise/audit.jsonl"),
            lock: path("SUPERVISE_LOCK_FILE", "/var/lib/supervise/lock"),
            events: path("SUPERVISE_EVENTS_FILE", "/run/sidecar-init/events.jsonl"),
            routes: path("SUPERVISE_ROUTES_FILE", "/etc/egress/routes.yaml"),
            pipelock_config: path("SUPERVISE_PIPELOCK_FILE", "/etc/pipelock/pipelock.yaml"),
            fingerprints: path(
                "SUPERVISE_FINGERPRINTS_FILE",
                "/etc/git-gate/approved-fingerprints",
            ),
            egress: address(&get, "SUPERVISE_EGRESS_ADDRESS", "127.0.0.1:9099")?,
            pipelock: address(&get, "SUPERVISE_PIPELOCK_ADDRESS", "127.0.0.1:8888")?,
            init: get("SIDECAR_INIT").map_or_else(|| find_init(lookup("PATH")), PathBuf::from),
            reload_timeout: duration(&get, "SUPERVISE_RELOAD_TIMEOUT", "10s")?,
        })
    }
}

type Get<'a> = dyn Fn(&str) -> Option<String> + 'a;

fn number(
    get: &Get<'_>,
    name: &str,
    default: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, String> {
    let Some(text) = get(name) else { return Ok(default) };
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        format!("{name}={text:?} is no number from {} to {}", range.start(), range.end())
    })
}

fn duration(get: &Get<'_>, name: &str, default: &str) -> Result<Duration, String> {
    let text = get(name).unwrap_or_else(|| default.to_owned());
    let seconds = text.parse::<u64>().map(Duration::from_secs).ok();
    let parsed = seconds.or_else(|| humantime::parse_duration(&text).ok());
    // An hour at most: a client's connection does not live longer.
    parsed
        .filter(|duration| *duration <= Duration::from_secs(3600))
        .ok_or_else(|| format!("{name}={text:?} is not a duration up to 1h; write one such as 30s"))
}

fn address(get: &Get<'_>, name: &str, default: &str) -> Result<String, String> {
    let text = get(name).unwrap_or_else(|| default.to_owned());
    let good = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    good.then(|| text.clone())
        .ok_or_else(|| format!("{name}={text:?} is no address; write one such as {default}"))
}

fn health(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        format!(
            "SUPERVISE_HEALTH_ADDRESS={text:?} is no address to listen on; write one such as \
             127.0.0.1:9101, or off"
        )
    })
}

fn hosts(list: Option<String>) -> Result<Vec<String>, String> {
    let list = list.unwrap_or_else(|| "supervise,localhost,127.0.0.1,::1".to_owned());
    let names: Vec<String> =
        list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    // To rmcp an empty list means that every name is allowed.
    if names.is_empty() || names.iter().any(|name| name.contains(['*', '/', ' '])) {
        return Err(format!(
            "SUPERVISE_HOSTS={list:?} is no list of names; write one such as \
             supervise,localhost:9100"
        ));
    }
    Ok(names)
}

/// Looked up here and not by execvp(3), so that the message can name the path.
fn find_init(path: Option<String>) -> PathBuf {
    let directories = path.unwrap_or_default();
    let candidates = std::env::split_paths(&directories).map(|directory| {
        if directory.is_absolute() { directory.join("sidecar-init") } else { PathBuf::new() }
    });
    candidates
        .into_iter()
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| PathBuf::from("/app/sidecar-init"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(&|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn defaults_are_those_of_the_image() {
        let settings = read(&[("SUPERVISE_PORT", "")]).unwrap();
        assert_eq!(settings.port, 9100);
        assert_eq!(settings.health, Some("127.0.0.1:9101".parse().unwrap()));
        assert_eq!(settings.wait, Duration::from_secs(30));
        assert_eq!(settings.hosts, ["supervise", "localhost", "127.0.0.1", "::1"]);
        assert_eq!(settings.init, PathBuf::from("/app/sidecar-init"));
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        for (name, value) in [
            ("SUPERVISE_PORT", "tcp://10.0.0.1:9100"),
            ("SUPERVISE_PORT", "65536"),
            ("SUPERVISE_HEALTH_ADDRESS", "9101"),
            ("SUPERVISE_HEALTH_ADDRESS", "localhost:9101"),
            ("SUPERVISE_WAIT", "soon"),
            ("SUPERVISE_WAIT", "2h"),
            ("SUPERVISE_HOSTS", " , "),
            ("SUPERVISE_HOSTS", "*"),
            ("SUPERVISE_MAX_PENDING", "0"),
            ("SUPERVISE_EGRESS_ADDRESS", "9099"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{name}={value:?} ")), "{error}");
        }
        assert_eq!(read(&[("SUPERVISE_HEALTH_ADDRESS", "off")]).unwrap().health, None);
        assert_eq!(read(&[("SUPERVISE_WAIT", "5")]).unwrap().wait, Duration::from_secs(5));
    }
}
