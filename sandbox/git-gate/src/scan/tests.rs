//! The text as the real gitleaks takes it: what it reads at once, and so what it sees together.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::*;

#[path = "../../tests/harness/programs.rs"]
mod programs;

const AWS: &str = "aws-access-token";
const PEM: &str = "private-key";

/// What is found of this rule in a file with these contents: each secret, and its line.
fn found(rule: &str, contents: &str) -> Option<BTreeMap<String, usize>> {
    let gitleaks = programs::gitleaks()?;
    let options = ["stdin", "--no-banner", "--no-color", "--log-level=info", "--report-path=-"];
    let plan = Plan::new(gitleaks, Path::new("/"))
        .arguments(options)
        .arguments(["--report-format=json".to_owned(), format!("--exit-code={}", report::FOUND)]);
    let contents = contents.to_owned();
    let feed = move |gitleaks: Messages| {
        let mut text = Text::begin(|message: &[u8]| gitleaks.send(message));
        text.part(Origin::Object { index: 0, kind: Kind::Tag }, contents.as_bytes())?;
        text.end()
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    let (finished, delivered) = process::run_fed(&plan, feed, deadline).unwrap();
    let (bytes, map) = delivered.unwrap();
    let code = finished.status.code();
    let raw = report::findings(code, &finished.stdout, &finished.stderr, Some(bytes)).unwrap();
    let mut found = BTreeMap::new();
    for raw in raw.into_iter().filter(|raw| raw.rule == rule) {
        let (_, line) = map.find(raw.line).unwrap();
        let other = found.insert(raw.secret, line);
        assert!(other.is_none_or(|other| other == line), "two lines: {other:?} and {line}");
    }
    Some(found)
}

/// Letters of base32 that look like chance.
fn letters(seed: usize, count: usize) -> String {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::try_from(state >> 59).unwrap()])
    };
    (0..count).map(letter).collect()
}

fn aws(number: usize) -> String {
    ["AKIA", &letters(number, 16)].concat()
}

/// The form of a private key, with `between` behind its first line.
fn pem(kind: &str, number: usize, between: &str) -> String {
    let lines: String = (0..30).map(|line| letters(number * 30 + line, 64) + "\n").collect();
    format!("-----BEGIN {kind}-----\n{between}{lines}-----END {kind}-----")
}

/// Expects that all secrets are found that stand in a text, with `gap` between them, at whatever
/// place `gap` shifts them to.
fn expect_all(rule: &str, count: usize, gaps: &[String], secret: impl Fn(usize) -> String) {
    for gap in gaps {
        let mut text = String::new();
        let mut expected = BTreeMap::new();
        for secret in (0..count).map(&secret) {
            text.push_str(gap);
            expected.insert(secret.clone(), 1 + text.matches('\n').count());
            text.push_str(&secret);
        }
        text.push_str(gap);
        let Some(found) = found(rule, &text) else { return };
        let missed: Vec<_> =
            expected.iter().filter(|one| found.get(one.0) != Some(one.1)).collect();
        let said = missed.iter().take(3).collect::<Vec<_>>();
        assert!(missed.is_empty(), "{} of {count} missed, as {said:?}", missed.len());
        assert_eq!(found.len(), expected.len(), "there is more than that");
    }
}

/// From one of the texts to the next each secret moves by less than its length, so that all places
/// are tried where the text could be cut.
fn gaps(begin: &str, letter: &str, end: &str) -> Vec<String> {
    (0..10).map(|shift| [begin, &letter.repeat(180 + shift), end].concat()).collect()
}

#[test]
fn wherever_a_key_is_it_is_found() {
    expect_all(AWS, 1500, &gaps("\n", ".", "\n"), aws);
}

#[test]
fn in_one_long_line_too() {
    expect_all(AWS, 1500, &gaps(" ", ".", " "), aws);
    expect_all(AWS, 1500, &gaps("", ".", ""), aws);
}

#[test]
fn wherever_a_private_key_is_it_is_found() {
    let gaps = ["\n".to_owned(), format!("\n{}\n", ".".repeat(700))];
    expect_all(PEM, 150, &gaps, |number| pem("RSA PRIVATE KEY", number, ""));
}

/// gitleaks takes a blank line for a good place to cut; the headers of these end with one.
#[test]
fn with_a_blank_line_in_it_too() {
    let gaps = ["\n".to_owned(), format!("\n{}\n", "some words\n".repeat(500))];
    expect_all(PEM, 150, &gaps, |number| pem("PGP PRIVATE KEY BLOCK", number, "\n"));
}
