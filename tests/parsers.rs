//! Everything that reads what strangers write, on valid texts that were damaged: the bounded form
//! of the targets in `fuzz/`, with their promises and their seeds, and the same in every run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../fuzz/promises.rs"]
mod promises;

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// How many damaged texts each parser gets, besides those of `every_small_damage`.
const CASES: u32 = 3000;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    // The order of a directory is nobody's.
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One thing that is done to a text.
#[derive(Clone, Debug)]
enum Damage {
    Cut(Index, Index),
    Insert(Index, Vec<u8>),
    Replace(Index, u8),
    /// A part of it comes twice.
    Repeat(Index, Index, Index),
    /// A part of another text comes here.
    Splice(Index, Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    let token = proptest::sample::select(vec![
        "\"",
        "'",
        "\\",
        "\n",
        "\r\n",
        "[",
        "]",
        "{",
        "}",
        "=",
        ",",
        ".",
        "#",
        "\0",
        "é",
        "\u{7f}",
        "-1",
        "1e999",
        "18446744073709551616",
        "'''",
        "\"\"\"",
        "[[service]]\n",
        "HTTP/1.1 ",
        "READY=1",
        "null",
        "\\u0000",
        "\u{202e}",
    ]);
    let inserted = prop_oneof![
        token.prop_map(|token| token.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 1..5)
    ];
    prop_oneof![
        (place(), place()).prop_map(|(from, to)| Damage::Cut(from, to)),
        (place(), inserted).prop_map(|(at, what)| Damage::Insert(at, what)),
        (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (place(), place(), place()).prop_map(|(at, from, to)| Damage::Repeat(at, from, to)),
        (place(), place(), place()).prop_map(|(at, from, to)| Damage::Splice(at, from, to)),
    ]
}

/// At most this much is cut or repeated, so that most of the text stays what it was.
const LONGEST_PART: usize = 40;

fn part(text: &[u8], from: &Index, length: &Index) -> std::ops::Range<usize> {
    let start = from.index(text.len() + 1);
    start..(start + length.index(LONGEST_PART)).min(text.len())
}

fn apply(text: &mut Vec<u8>, damage: &Damage, other: &[u8]) {
    match damage {
        Damage::Cut(from, length) => drop(text.drain(part(text, from, length))),
        Damage::Insert(at, what) => insert(text, at, what),
        Damage::Replace(at, byte) => {
            if !text.is_empty() {
                let at = at.index(text.len());
                text[at] = *byte;
            }
        }
        Damage::Repeat(at, from, length) => {
            let repeated = text[part(text, from, length)].to_vec();
            insert(text, at, &repeated);
        }
        Damage::Splice(at, from, length) => insert(text, at, &other[part(other, from, length)]),
    }
}

fn insert(text: &mut Vec<u8>, at: &Index, what: &[u8]) {
    let at = at.index(text.len() + 1);
    text.splice(at..at, what.iter().copied());
}

fn holds_whatever_is_damaged(target: &str, promise: fn(&[u8])) {
    let seeds = seeds(target);
    every_small_damage(&seeds, promise);
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let same_always = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let damages = (any::<Index>(), any::<Index>(), proptest::collection::vec(damage(), 1..8));
    let result =
        TestRunner::new_with_rng(config, same_always).run(&damages, |(seed, other, damages)| {
            let mut text = seeds[seed.index(seeds.len())].clone();
            for damage in &damages {
                apply(&mut text, damage, &seeds[other.index(seeds.len())]);
            }
            promise(&text);
            Ok(())
        });
    result.unwrap_or_else(|error| panic!("{target}: {error}"));
}

/// Every beginning of each seed, and each seed without each of its bytes.
fn every_small_damage(seeds: &[Vec<u8>], promise: fn(&[u8])) {
    for seed in seeds {
        promise(seed);
        for place in 0..seed.len() {
            promise(&seed[..place]);
            promise(&[&seed[..place], &seed[place + 1..]].concat());
        }
    }
}

#[test]
fn bundles() {
    holds_whatever_is_damaged("bundle", promises::bundle);
}

#[test]
fn requests() {
    holds_whatever_is_damaged("control", promises::control);
}

#[test]
fn datagrams() {
    holds_whatever_is_damaged("notify", promises::notify);
}

#[test]
fn answers_to_probes() {
    holds_whatever_is_damaged("probe", promises::probe);
}

#[test]
fn the_seeds_of_bundles_and_requests_are_valid() {
    for seed in seeds("bundle") {
        let text = String::from_utf8(seed).unwrap();
        sidecar_init::bundle::toml::parse("seed.toml", &text).unwrap();
    }
    let every_key = String::from_utf8(seeds("bundle").pop().unwrap()).unwrap();
    for key in sidecar_init::bundle::toml::keys() {
        assert!(every_key.contains(&format!("{key} = ")), "no seed has `{key}`");
    }
    for seed in seeds("control") {
        sidecar_init::protocol::parse(&seed).unwrap();
    }
}
