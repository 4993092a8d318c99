//! What a push brings beside what its refs reach. Nobody scans that, but receive-pack would keep
//! it, and upload-pack give it to whoever asks for its id.

use std::collections::HashSet;
use std::ffi::OsString;
use std::time::Instant;

use crate::config::{Gate, Upstream};
use crate::{git, process};

const OBJECTS: &str = "GIT_OBJECT_DIRECTORY";
const ALTERNATES: &str = "GIT_ALTERNATE_OBJECT_DIRECTORIES";

/// Refuses a push with such objects. `reached` are those that its refs reach and upstream does not
/// have; `environment` is that of the quarantine.
///
/// What the mirror has already may come again: git adds the bases of deltas, and clients send more
/// than is needed.
pub(crate) fn check(
    gate: &Gate,
    upstream: &Upstream,
    environment: &[(String, OsString)],
    reached: &HashSet<&str>,
    deadline: Instant,
) -> Result<(), String> {
    let run = |objects: Option<OsString>, arguments: &[&str], input: String| {
        // Of this one folder only.
        let mut environment = environment.to_vec();
        environment.retain(|(name, _)| name != ALTERNATES);
        if let Some(objects) = objects {
            environment.retain(|(name, _)| name != OBJECTS);
            environment.push((OBJECTS.to_owned(), objects));
        }
        let plan = git::command(gate, upstream, &environment, arguments);
        let finished = process::run(&plan, input.into_bytes(), deadline)?;
        if finished.status.success() {
            Ok(finished.text())
        } else {
            Err(format!("{} failed", plan.name()))
        }
    };
    let list = ["cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objectname)"];
    let brought = run(None, &list, String::new())?;
    let rest: String =
        brought.lines().filter(|id| !reached.contains(id)).map(|id| format!("{id}\n")).collect();
    if rest.is_empty() {
        return Ok(());
    }
    let objects = gate.mirror(upstream).join("objects");
    let ask = ["cat-file", "--buffer", "--batch-check=%(objectname)"];
    let answers = run(Some(objects.into()), &ask, rest)?;
    verdict(&answers)
}

/// `git cat-file --batch-check` says `ID missing` of what is not there.
fn verdict(answers: &str) -> Result<(), String> {
    let new: Vec<&str> = answers.lines().filter_map(|line| line.strip_suffix(" missing")).collect();
    match new.first() {
        None => Ok(()),
        Some(id) => Err(format!(
            "it brings {} objects that none of its refs reaches, {id} for one; git push sends no \
             such objects",
            new.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_refused() {
        assert_eq!(verdict("aa\nbb\n"), Ok(()));
        let error = verdict("aa\nbb missing\ncc missing\n").unwrap_err();
        assert!(error.starts_with("it brings 2 objects that none of its refs reaches, bb"));
    }
}
