//! Scans a push, all refs of it at once: every object that upstream does not have, in every form
//! that can be read, and then the history as a diff, for the rules that ask for a file's name.
//!
//! A scan is whole, or it is an error.

mod before;
mod decode;
pub(crate) mod finding;
mod objects;
mod report;
mod text;

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, BufReader, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::config::{Gate, Limits, Upstream};
use crate::messages::Messages;
use crate::plan::Plan;
use crate::push::Update;
use crate::{git, memory, process};
use before::Before;
use decode::{Decoder, Stop};
use finding::{Finding, Secrets, printable};
use objects::{Kind, Listed};
use report::Raw;
use text::{Map, Origin, Text};

/// What is scanned, and with what.
pub(crate) struct Scan<'a> {
    pub(crate) gate: &'a Gate,
    pub(crate) upstream: &'a Upstream,
    /// With what receive-pack told of its quarantine.
    pub(crate) environment: &'a [(String, OsString)],
    pub(crate) updates: &'a [Update],
    pub(crate) deadline: Instant,
    /// How many objects are done; for the client's patience.
    pub(crate) done: Arc<AtomicUsize>,
}

/// What a scan found.
pub(crate) struct Scanned {
    pub(crate) findings: Vec<Finding>,
    /// Files of which a part could not be decoded.
    pub(crate) incomplete: usize,
}

/// How much there is to scan.
pub(crate) struct Extent {
    objects: Vec<Listed>,
    commits: usize,
}

impl Extent {
    pub(crate) fn objects(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn ids(&self) -> HashSet<&str> {
        self.objects.iter().map(|object| object.id.as_str()).collect()
    }

    pub(crate) fn commits(&self) -> usize {
        self.commits
    }
}

/// What the feeder has given gitleaks.
struct Delivered {
    bytes: u64,
    map: Map,
    incomplete: usize,
}

impl Scan<'_> {
    /// What the push brings that no ref of the mirror reaches. Its refs are those of upstream, so
    /// that is what upstream does not have.
    pub(crate) fn extent(&self) -> Result<Extent, String> {
        let objects = objects::listed(&self.git(&["rev-list", "--objects"], &["--not", "--all"])?)?;
        let count = self.git(&["rev-list", "--count"], &["--not", "--all"])?;
        let count = String::from_utf8_lossy(&count).trim().parse();
        Ok(Extent { objects, commits: count.map_err(|_| "git's count of commits is no number")? })
    }

    /// Scans all of it.
    pub(crate) fn run(&self, extent: &Extent) -> Result<Scanned, String> {
        let history = (extent.commits > 0).then(|| {
            let (plan, deadline) = (self.history(), self.deadline);
            thread::spawn(move || process::run(&plan, Vec::new(), deadline))
        });
        let feeder = self.feeder(extent);
        let feed = move |gitleaks| feeder.feed(gitleaks);
        let (finished, delivered) = process::run_fed(&self.gitleaks("stdin"), feed, self.deadline)?;
        let log = &finished.stderr;
        self.had_memory(log)?;
        let delivered = delivered.map_err(|error| format!("{error}{}", complaint(log)))?;
        let bytes = Some(delivered.bytes);
        let raw = report::findings(finished.status.code(), &finished.stdout, log, bytes)?;
        let mut of_history = Vec::new();
        if let Some(history) = history {
            let finished = history.join().map_err(|_| "the scan of the history broke off")??;
            self.had_memory(&finished.stderr)?;
            let code = finished.status.code();
            of_history = report::findings(code, &finished.stdout, &finished.stderr, None)?;
        }
        let secrets = Secrets::of(raw.iter().chain(&of_history));
        let mut before = Before::new(self);
        let mut findings = Vec::new();
        for raw in &raw {
            let (origin, line) = origin(raw, &delivered.map, &extent.objects)?;
            if !before.has(origin.path(), &raw.secret)? {
                findings.push(origin.finding(raw, line, &secrets));
            }
        }
        for raw in &of_history {
            if !before.has(raw.file.as_bytes(), &raw.secret)? {
                findings.push(in_history(raw, &secrets));
            }
        }
        let mut findings = finding::distinct(findings);
        for finding in findings.iter_mut().take(finding::MOST_LISTED) {
            if let Some(object) = finding.object.take() {
                finding.commit = self.commit_of(&object)?;
            }
        }
        Ok(Scanned { findings, incomplete: delivered.incomplete })
    }

    /// What gitleaks says of itself, and of the git that it runs.
    fn had_memory(&self, log: &str) -> Result<(), String> {
        if !memory::ran_out(log) {
            return Ok(());
        }
        let limit = self.gate.limits.memory;
        Err(format!("to scan it takes more than max-memory ({limit} bytes)"))
    }

    fn tips(&self) -> Vec<&str> {
        self.updates.iter().filter_map(|update| update.new.as_deref()).collect()
    }

    /// Runs git with these arguments around the pushed tips.
    fn git(&self, before: &[&str], after: &[&str]) -> Result<Vec<u8>, String> {
        let arguments = [before, &self.tips(), after].concat();
        let plan = git::command(self.gate, self.upstream, self.environment, &arguments);
        let finished = process::run(&plan, Vec::new(), self.deadline)?;
        if finished.status.success() {
            Ok(finished.stdout)
        } else {
            Err(format!("{} failed", plan.name()))
        }
    }

    /// `gitleaks` in `mode`, with nothing that the pushed files could say in it: no `gitleaks:allow`,
    /// no `.gitleaksignore`, and rules from our file or from gitleaks itself, since without either
    /// it looks for a `.gitleaks.toml`.
    fn gitleaks(&self, mode: &str) -> Plan {
        let fixed = ["--no-banner", "--no-color", "--log-level=info", "--ignore-gitleaks-allow"];
        let plan = Plan::new(&self.gate.gitleaks, &self.gate.mirror(self.upstream))
            .arguments([mode])
            .arguments(fixed)
            .arguments(["--gitleaks-ignore-path=/dev/null", "--report-format=json"])
            .arguments(["--report-path=-".to_owned(), format!("--exit-code={}", report::FOUND)])
            .environment(self.environment)
            .environment(&git::settings(&git::mirror_settings(self.gate, [self.upstream])));
        // Go collects its garbage in time if it knows of the limit.
        let memory = self.gate.limits.memory / 4 * 3;
        let plan = plan.variable("GOMEMLIMIT", format!("{memory}B"));
        match &self.gate.gitleaks_config {
            Some(file) => plan.variable("GITLEAKS_CONFIG", file),
            None => plan.variable("GITLEAKS_CONFIG_TOML", "[extend]\nuseDefault = true\n"),
        }
    }

    /// The diffs of all new commits, merges against each parent.
    fn history(&self) -> Plan {
        let options = "--text -m --full-history --no-ext-diff --no-textconv --no-color";
        let log = format!("--log-opts={options} {} --not --all", self.tips().join(" "));
        self.gitleaks("git").arguments(["--platform=none".to_owned(), log, ".".to_owned()])
    }

    fn feeder(&self, extent: &Extent) -> Feeder {
        let arguments = ["cat-file", "--batch", "--buffer"];
        Feeder {
            plan: git::command(self.gate, self.upstream, self.environment, &arguments),
            refs: self.updates.iter().map(|update| format!("{}\n", update.name)).collect(),
            objects: extent.objects.clone(),
            limits: self.gate.limits,
            done: Arc::clone(&self.done),
        }
    }

    /// A file as this commit has it, if it does.
    fn file(&self, commit: &str, path: &str) -> Result<Option<Vec<u8>>, String> {
        let name = format!("{commit}:{path}");
        let arguments = ["cat-file", "blob", &name];
        let plan = git::command(self.gate, self.upstream, self.environment, &arguments);
        let finished = process::run(&plan, Vec::new(), self.deadline)?;
        Ok(finished.status.success().then_some(finished.stdout))
    }

    /// The oldest new commit that brings this object; none if only a tag names it.
    fn commit_of(&self, id: &str) -> Result<Option<String>, String> {
        let find = format!("--find-object={id}");
        let before = ["log", "-m", "-t", "--full-history", "--format=%H", &find];
        let output = self.git(&before, &["--not", "--all"])?;
        let lines = String::from_utf8_lossy(&output);
        Ok(lines.lines().last().map(str::to_owned))
    }
}

/// What gitleaks said when it took no more.
fn complaint(log: &str) -> String {
    let said = log.lines().find(|line| line.contains("FTL") || line.contains("ERR"));
    said.map_or_else(String::new, |line| format!(" ({})", printable(line.as_bytes())))
}

/// What a line of gitleaks' text is a part of.
enum Found<'a> {
    Ref,
    Object(Kind, &'a Listed),
}

fn origin<'a>(raw: &Raw, map: &Map, objects: &'a [Listed]) -> Result<(Found<'a>, usize), String> {
    let lost = || "gitleaks found something in no part of the push".to_owned();
    let (origin, line) = map.find(raw.line).ok_or_else(lost)?;
    let found = match origin {
        Origin::Refs => Found::Ref,
        Origin::Object { index, kind } => {
            Found::Object(*kind, objects.get(*index).ok_or_else(lost)?)
        }
    };
    Ok((found, line))
}

impl Found<'_> {
    /// The path, if it is a file.
    fn path(&self) -> &[u8] {
        match self {
            Found::Object(Kind::Blob, object) => &object.path,
            _ => b"",
        }
    }

    fn finding(&self, raw: &Raw, line: usize, secrets: &Secrets) -> Finding {
        let place = match self {
            Found::Ref => "<ref name>".to_owned(),
            Found::Object(Kind::Commit, _) => "<commit message>".to_owned(),
            Found::Object(Kind::Tag, _) => "<tag message>".to_owned(),
            Found::Object(Kind::Tree, object) => {
                format!("<file name in {}/>", secrets.hidden_in(&object.path))
            }
            Found::Object(Kind::Blob, object) if object.path.is_empty() => {
                "<file without a name>".to_owned()
            }
            Found::Object(Kind::Blob, object) => secrets.hidden_in(&object.path),
        };
        let mut finding = Finding::new(&raw.rule, &place, line, &raw.secret);
        match self {
            Found::Object(Kind::Commit, object) => finding.commit = Some(object.id.clone()),
            Found::Object(Kind::Tree | Kind::Blob, object) => {
                finding.object = Some(object.id.clone());
            }
            Found::Ref | Found::Object(Kind::Tag, _) => {}
        }
        finding
    }
}

fn in_history(raw: &Raw, secrets: &Secrets) -> Finding {
    let place = secrets.hidden_in(raw.file.as_bytes());
    let mut finding = Finding::new(&raw.rule, &place, raw.line, &raw.secret);
    finding.commit = Some(raw.commit.clone());
    finding
}

/// Takes the objects out of git, and gives them to gitleaks.
struct Feeder {
    plan: Plan,
    refs: String,
    objects: Vec<Listed>,
    limits: Limits,
    done: Arc<AtomicUsize>,
}

impl Feeder {
    fn feed(self, gitleaks: Messages) -> Result<Delivered, String> {
        let mut command = self.plan.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let failed = |error: io::Error| format!("not everything could be scanned: {error}");
        let mut child = command.spawn().map_err(failed)?;
        let (Some(mut ids), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("git has no pipes".to_owned());
        };
        let list: String = self.objects.iter().map(|object| format!("{}\n", object.id)).collect();
        // Both directions at once, since neither pipe holds all of it.
        let asked = thread::spawn(move || ids.write_all(list.as_bytes()));
        let delivered = self.deliver(&gitleaks, &mut BufReader::with_capacity(1 << 16, stdout));
        if delivered.is_err() {
            child.kill().map_err(failed)?;
        }
        let status = child.wait().map_err(failed)?;
        let asked = asked.join().is_ok_and(|written| written.is_ok());
        let delivered = delivered?;
        if status.success() && asked {
            Ok(delivered)
        } else {
            Err("git did not give all objects".to_owned())
        }
    }

    fn deliver(
        &self,
        gitleaks: &Messages,
        git: &mut BufReader<impl io::Read>,
    ) -> Result<Delivered, String> {
        let failed = |error: io::Error| format!("not everything could be scanned: {error}");
        let mut text = Text::begin(|message: &[u8]| gitleaks.send(message));
        text.part(Origin::Refs, self.refs.as_bytes()).map_err(failed)?;
        let mut budget = self.limits.scan;
        let mut incomplete = 0;
        for (index, object) in self.objects.iter().enumerate() {
            let (kind, size) = objects::header(git, &object.id).map_err(failed)?;
            let path = printable(&object.path);
            if size > self.limits.file {
                let limit = self.limits.file;
                return Err(format!("\"{path}\" has {size} bytes; max-file-size is {limit}"));
            }
            budget = budget.checked_sub(size).ok_or_else(|| self.too_much())?;
            let contents = objects::contents(git, size).map_err(failed)?;
            let origin = || Origin::Object { index, kind };
            if kind == Kind::Tree {
                let names = objects::names(&contents, object.id.len() / 2);
                text.part(origin(), &names).map_err(failed)?;
            } else {
                text.part(origin(), &contents).map_err(failed)?;
                let mut give = |decoded: &[u8]| text.part(origin(), decoded);
                let room = self.limits.file;
                let mut decoder = Decoder { budget, room, give: &mut give, incomplete: false };
                decoder.decode(&contents).map_err(|stop| self.stopped(stop, &path))?;
                budget = decoder.budget;
                incomplete += usize::from(decoder.incomplete);
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        if io::copy(git, &mut io::sink()).map_err(failed)? > 0 {
            return Err("git gave more than it was asked for".to_owned());
        }
        let (bytes, map) = text.end().map_err(failed)?;
        Ok(Delivered { bytes, map, incomplete })
    }

    fn stopped(&self, stop: Stop, path: &str) -> String {
        let Limits { file, memory, .. } = self.limits;
        match stop {
            Stop::TooMuch => self.too_much(),
            Stop::TooBig => {
                format!("what is packed in \"{path}\" has more than max-file-size ({file} bytes)")
            }
            Stop::NoMemory => {
                format!("to unpack \"{path}\" takes more than max-memory ({memory} bytes)")
            }
            Stop::Lost(error) => format!("not everything could be scanned: {error}"),
        }
    }

    fn too_much(&self) -> String {
        let limit = self.limits.scan;
        format!("the push unpacks to more than max-scan-size ({limit} bytes); push it in parts")
    }
}

#[cfg(test)]
mod tests;
