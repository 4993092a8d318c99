//! What a push costs through git-gate, which scans it, beside a push and a scan by hand.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::peers::Peers;
use crate::processes::{Folder, Guarded, until};
use crate::statistics::median;
use crate::table::Table;

const COMMITS: usize = 50;
const LINES: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// Each has an upstream of its own.
const CONTENDERS: [&str; 3] =
    ["git push", "gitleaks git, then git push", "git push through git-gate"];
/// What the others are compared with.
const BY_HAND: usize = 1;

pub fn push(_: &Peers, quick: bool) -> Table {
    let times = if quick { 3 } else { 11 };
    let title = format!("A push of {COMMITS} commits to an upstream on the same disk");
    let ratio = format!("ratio to {}", CONTENDERS[BY_HAND]);
    let mut table = Table::new(&title, &["push", "ms p50", &ratio]);
    let (gate, gitleaks) = match programs() {
        Ok(programs) => programs,
        Err(missing) => {
            table.row(&format!("not measured: {missing}"), &["".into(), "".into()]);
            return table;
        }
    };
    let folder = Folder::new();
    let client = folder.path().join("client");
    git(folder.path(), &["init", "-q", "-b", "main", "client"]);
    commit(&client, 0);
    for place in 0..CONTENDERS.len() {
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", &place.to_string()]);
        git(&client, &["push", "-q", &upstream(folder.path(), place), "main"]);
    }
    let (_gate, gate) = serve(&gate, &gitleaks, folder.path());
    // Its mirror is made before it serves; now it is fresh too.
    git(&client, &["ls-remote", "-q", &gate]);
    let mut values = [const { Vec::new() }; CONTENDERS.len()];
    for number in 1..=times {
        git(&client, &["tag", "-f", "before"]);
        commit(&client, number);
        for (place, values) in values.iter_mut().enumerate() {
            let direct = upstream(folder.path(), place);
            let begin = Instant::now();
            if place == BY_HAND {
                let range = ["git", "--no-banner", "--log-opts=before..main", "."];
                run(Command::new(&gitleaks).args(range).current_dir(&client));
            }
            let through_gate = place == CONTENDERS.len() - 1;
            let to = if through_gate { &gate } else { &direct };
            git(&client, &["push", "-q", to, "main"]);
            values.push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    let by_hand = median(&values[BY_HAND]);
    for (name, values) in CONTENDERS.iter().zip(&values) {
        let value = median(values);
        table.row(name, &[format!("{value:.0}"), format!("{:.2}", value / by_hand)]);
    }
    table
}

/// The gate and its scanner, or what is missing.
fn programs() -> Result<(PathBuf, PathBuf), &'static str> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let gate = root.join("target/release/git-gate");
    if !gate.exists() {
        return Err("there is no target/release/git-gate; run `cargo build --release -p git-gate`");
    }
    let gitleaks = std::env::var_os("GITLEAKS").ok_or("GITLEAKS does not name gitleaks")?;
    Ok((gate, gitleaks.into()))
}

fn upstream(folder: &Path, place: usize) -> String {
    format!("file://{}", folder.join(place.to_string()).display())
}

/// The gate before the last upstream, and its address.
fn serve(gate: &Path, gitleaks: &Path, folder: &Path) -> (Guarded, String) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.expect("a free port");
    let text = format!(
        "[gate]\nroot = \"{0}/mirrors\"\nlisten = \"{address}\"\nhttp-listen = \"off\"\n\
         health-listen = \"off\"\ngitleaks = \"{1}\"\n\
         approved-fingerprints = \"{0}/approved\"\nprotocols = [\"file\"]\n\
         [[upstream]]\nname = \"app\"\nurl = \"{2}\"\n",
        folder.display(),
        gitleaks.display(),
        upstream(folder, CONTENDERS.len() - 1),
    );
    let file = folder.join("upstreams.toml");
    fs::write(&file, text).expect("a configuration");
    let serving = Guarded::start(Command::new(gate).args(["serve", "-f"]).arg(file));
    let is_up = until(PATIENCE, || TcpStream::connect(address).is_ok());
    assert!(is_up, "git-gate does not serve; see what `git-gate check` says");
    (serving, format!("git://{address}/app.git"))
}

/// Commits to main of this repository, each of which rewrites one file in a dozen.
fn commit(repository: &Path, push: usize) {
    let mut stream = String::new();
    for number in 0..COMMITS {
        let mut text = String::new();
        for line in 0..LINES {
            let _ = writeln!(text, "line {line} as commit {number} of push {push} has it");
        }
        let time = 1_700_000_000 + push * COMMITS + number;
        let _ = write!(
            stream,
            "commit refs/heads/main\ncommitter Bench <bench@example.com> {time} +0000\n\
             data 8\na change\n"
        );
        if number == 0 && push > 0 {
            stream.push_str("from refs/heads/main^0\n");
        }
        let (name, length) = (number % 12, text.len());
        let _ = write!(stream, "M 100644 inline file-{name}\ndata {length}\n{text}\n");
    }
    let mut command = plain(repository, &["fast-import", "--quiet"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("git starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(stream.as_bytes()).expect("git reads");
    drop(stdin);
    assert!(child.wait().is_ok_and(|status| status.success()), "{command:?}");
}

fn git(folder: &Path, arguments: &[&str]) {
    run(&mut plain(folder, arguments));
}

/// git with nobody's configuration.
fn plain(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments);
    command.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")]);
    command
}

/// Runs it silently, and it has to succeed.
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
