//! The schema takes what the parser takes, and refuses what it refuses wherever a schema can know.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use sidecar_init::bundle::toml::{parse, tables};
use test_support::notices::skip;

use crate::{generated, schema};

#[test]
fn generated_schema_is_up_to_date() {
    let text = schema::schema(include_str!("../../docs/bundle.md"));
    generated::holds("docs/bundle.schema.json", &text);
}

/// What the parser refuses and a schema can't: references, sums, other units, and what is no type of JSON.
const BEYOND: [&str; 13] = [
    "there is no service",
    "a cycle",
    "names are unique",
    "soft is above hard",
    "lies within the bundle's",
    "is in the list already",
    "are the sockets of `listen`",
    "is too long; it is at most",
    "a second route for",
    "the init does not see its lines",
    "without a NUL",
    "the path of a Unix socket has at most",
    "at least \"10ms\"",
];

/// What is wrong with each text by the schema; nothing, if this machine can't tell.
fn wrong(texts: &BTreeSet<String>) -> Option<Vec<Option<String>>> {
    let has_it = |python: &&str| {
        let tried = Command::new(python).args(["-c", "import jsonschema, tomllib"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    // Debian's has Debian's package, whatever stands before it in the path.
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_it) else {
        skip("needs python3-jsonschema");
        return None;
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bundle.schema.json");
    let schema: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut command = Command::new(python);
    command.args(["-c", include_str!("validate.py")]);
    let mut python = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let given = json!({"schema": schema, "texts": texts}).to_string();
    python.stdin.take().unwrap().write_all(given.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Holds parser and schema against each other.
fn agree(texts: &BTreeSet<String>) {
    let Some(verdicts) = wrong(texts) else { return };
    let mut faults = Vec::new();
    for (text, wrong) in texts.iter().zip(verdicts) {
        let parsed = parse("b.toml", text).err().map(|errors| errors.to_string());
        match (parsed, wrong) {
            (None, Some(wrong)) => faults.push(format!("the schema refuses: {wrong}\n{text}")),
            (Some(errors), None) => {
                let is_beyond = |error: &str| BEYOND.iter().any(|reason| error.contains(reason));
                if !errors.lines().all(is_beyond) {
                    faults.push(format!("the schema takes: {errors}\n{text}"));
                }
            }
            _ => {}
        }
    }
    let count = faults.len();
    faults.truncate(40);
    assert!(count == 0, "{count} faults:\n{}", faults.join("\n----\n"));
}

#[test]
fn every_key_takes_the_values_that_the_schema_says() {
    let mut texts = BTreeSet::new();
    for (table, keys) in tables() {
        for key in keys {
            for value in VALUES {
                texts.insert(with(table, key, value));
            }
        }
    }
    agree(&texts);
}

#[test]
fn keys_go_together_as_the_schema_says() {
    let mut texts = BTreeSet::new();
    for (table, keys) in tables() {
        let right = |key: &str, value: &&str| parse("b.toml", &with(table, key, value)).is_ok();
        let values: Vec<Vec<&str>> = keys
            .iter()
            .map(|key| VALUES.into_iter().filter(|value| right(key, value)).collect())
            .collect();
        for (number, (key, own)) in keys.iter().zip(&values).enumerate() {
            for (other, others) in keys.iter().zip(&values).skip(number + 1) {
                for value in [own.first(), own.last()].into_iter().flatten() {
                    for beside in [others.first(), others.last()].into_iter().flatten() {
                        texts.insert(with(table, key, &more(table, value, other, beside)));
                    }
                }
            }
        }
    }
    agree(&texts);
}

/// A value with a further key behind it.
fn more(table: &str, value: &str, key: &str, other: &str) -> String {
    match table {
        "bundle" | "service" => format!("{value}\n{key} = {other}"),
        _ => format!("{value}, {key} = {other}"),
    }
}

#[test]
fn every_bundle_of_the_repository_and_of_its_tests_is_as_the_schema_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let files = ["examples/demo.toml", "fuzz/seeds/bundle/demo.toml", "sandbox/image/bundle.toml"];
    let mut texts: BTreeSet<String> = files.into_iter().map(read).collect();
    texts.insert(read("fuzz/seeds/bundle/every-key.toml"));
    for document in ["README.md", "docs/bundle.md", "docs/control.md", "docs/sidecars.md"] {
        let text = read(document);
        let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        texts.extend(blocks.filter(|block| block.contains("[[service]]")).map(str::to_owned));
    }
    assert!(texts.len() > 5);
    assert!(texts.iter().all(|text| parse("b.toml", text).is_ok()));
    // Those of the tests that have run up to now, of which `tests/run` has the last.
    texts.extend(test_support::bundles::all());
    agree(&texts);
}

/// A file in which the table has this key, and what it can't do without.
fn with(table: &str, key: &str, value: &str) -> String {
    let service = "[[service]]\nname = \"a\"\ncommand = [\"x\"]\n";
    let also = match (table, key) {
        ("on-event", "events") => "file = \"/x\", ",
        ("ready" | "live", "status" | "period" | "timeout" | "failures") => "tcp = \":80\", ",
        ("signals", "as") => "to = [\"a\"], ",
        _ => "",
    };
    match table {
        "bundle" => format!("[bundle]\n{key} = {value}\n{service}"),
        "on-event" => format!("[bundle]\non-event = {{ {also}{key} = {value} }}\n{service}"),
        "service" if ["name", "command"].contains(&key) => {
            let others = if key == "name" { "command = [\"x\"]" } else { "name = \"a\"" };
            format!("[[service]]\n{others}\n{key} = {value}\n")
        }
        "service" if key == "watchdog" => {
            format!("{service}notify = \"systemd\"\n{key} = {value}\n")
        }
        "service" => format!("{service}{key} = {value}\n"),
        "signals" => format!("{service}[signals]\nHUP = {{ {also}{key} = {value} }}\n"),
        table => format!("{service}{table} = {{ {also}{key} = {value} }}\n"),
    }
}

/// Right for some keys, and wrong for the others.
const VALUES: [&str; 118] = [
    "\"\"",
    "\"x\"",
    "\"/x\"",
    "\"x y\"",
    "\"a=b\"",
    "\"a:b\"",
    "\"-x\"",
    "\"@\"",
    "\"8s\"",
    "\"8 s\"",
    "\"1h\"",
    "\"2h\"",
    "\"0\"",
    "\"8\"",
    "\"1m 30s\"",
    "\"1m30s\"",
    "\"1.5s\"",
    "\"1.s\"",
    "\"5 fortnights\"",
    "\"400days\"",
    "\"2wk\"",
    "\"1M\"",
    "\"5 usec\"",
    "\"-1s\"",
    "\" 5s \"",
    "0",
    "1",
    "-1",
    "-20",
    "-21",
    "19",
    "20",
    "99",
    "100",
    "255",
    "256",
    "599",
    "600",
    "1000",
    "1001",
    "-1000",
    "-1001",
    "4294967294",
    "4294967295",
    "4294967296",
    "0x10",
    "1.5",
    "1979-05-27",
    "true",
    "false",
    "[]",
    "[\"\"]",
    "[\"x\"]",
    "[\"a\"]",
    "[\"a\", \"a\"]",
    "[\"/x\", \"/y\"]",
    "[1]",
    "[0, 255]",
    "[256]",
    "[\"x\", 1]",
    "[\"started\"]",
    "[\"NET_RAW\", \"cap_chown\"]",
    "[\"ALL\"]",
    "[\"root\", 7]",
    "[\"a:b\"]",
    "{}",
    "{ a = \"b\" }",
    "{ a = 1 }",
    "{ \"a=b\" = \"c\" }",
    "{ nofile = 1 }",
    "{ nofile = \"unlimited\" }",
    "{ nofile = { soft = 1, hard = 2 } }",
    "{ nofile = { soft = 1 } }",
    "{ nosuch = 1 }",
    "{ tcp = \":80\" }",
    "{ tcp = \":80\", file = \"/x\" }",
    "{ log = \"x\" }",
    "{ policy = \"always\" }",
    "{ policy = \"x\" }",
    "{ file = \"/x\" }",
    "{ command = [\"x\"] }",
    "\"prefix\"",
    "\"drop\"",
    "\"shutdown\"",
    "\"ignore\"",
    "\"oneshot\"",
    "\"stop\"",
    "\"always\"",
    "\"none\"",
    "\"systemd\"",
    "\"fd:3\"",
    "\"fd:2\"",
    "\"fd:1023\"",
    "\"fd:1024\"",
    "\"main\"",
    "\"TERM\"",
    "\"sigterm\"",
    "\"9\"",
    "\"18\"",
    "\"STOP\"",
    "\"65\"",
    "\"RTMIN+3\"",
    "\"RTMIN+31\"",
    "\"SIG\"",
    "\"0027\"",
    "\"0888\"",
    "\"01777\"",
    "\"127.0.0.1:80\"",
    "\"127.0.0.256:80\"",
    "\"localhost:65536\"",
    "\"[::1]:80\"",
    "\"example.org:80\"",
    "\"http://127.0.0.1:80/x\"",
    "\"http://localhost\"",
    "\"http://example.org/\"",
    "[\"tcp:0.0.0.0:80\", \"unix:/x\"]",
    "[\"tcp:80\"]",
    "[\"unix:x\"]",
];
