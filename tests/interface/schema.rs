//! Writes the JSON schema of the bundle's file: the keys are those of the parser, their types and
//! descriptions those of `docs/bundle.md`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sidecar_init::bundle::toml::tables;
use sidecar_init::bundle::{capability, resource};
use sidecar_init::internal::duration;
use sidecar_init::protocol::EventKind;
use sidecar_init::signal::Signal;
use sidecar_init::words::Words;

use crate::manual::{cells, without_links};

const PORT: &str =
    "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})";
const IPV4: &str = "((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const IPV6: &str = "\\[[0-9a-fA-F:.]+\\]";

/// The parts of `docs/bundle.md` that describe the keys of a table.
const PARTS: [(&str, &[&str]); 6] = [
    ("## [bundle]", &["bundle"]),
    ("### Events", &["on-event"]),
    ("## [[service]]", &["service"]),
    ("### Ready and live", &["ready", "live"]),
    ("### Restart", &["restart"]),
    ("## [signals]", &["signals"]),
];

/// A row of the document.
struct Row<'a> {
    kind: &'a str,
    default: &'a str,
    meaning: &'a str,
}

pub fn schema(document: &str) -> String {
    let mut described = BTreeMap::new();
    for (title, tables) in PARTS {
        let (_, part) = document.split_once(&format!("\n{title}\n")).unwrap();
        let part = part.split("\n##").next().unwrap();
        let mut lines = part.lines().filter(|line| line.starts_with('|'));
        let titles = cells(lines.next().unwrap());
        for cells in lines.filter(|line| line.starts_with("| `")).map(cells) {
            let of = |title| titles.iter().position(|it| *it == title).map_or("", |at| cells[at]);
            let row = || Row { kind: of("type"), default: of("default"), meaning: of("meaning") };
            for table in tables {
                described.insert((*table, cells[0].trim_matches('`').to_owned()), row());
            }
        }
    }
    let mut definitions = Map::new();
    for (table, keys) in tables() {
        let properties: Map<String, Value> = keys
            .iter()
            .map(|key| {
                let row = &described[&(table, (*key).to_owned())];
                ((*key).to_owned(), property(table, key, row))
            })
            .collect();
        let closed =
            json!({"type": "object", "properties": properties, "additionalProperties": false});
        definitions.insert(table.to_owned(), with(closed, rules(table)));
    }
    definitions.insert("duration".to_owned(), span());
    definitions.insert("signal".to_owned(), signal());
    let name = any_case(&["TERM", "INT", "KILL", "STOP", "CHLD", "CLD"]);
    let unroutable = format!("^([Ss][Ii][Gg])?({name}|\\+?0*(2|9|15|17|19))$");
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "Made from the parser's keys and docs/bundle.md by `make generated`.",
        "title": "The file of a bundle of sidecar-init",
        "type": "object",
        "properties": {
            "bundle": reference("bundle"),
            "service": {"type": "array", "items": reference("service"), "minItems": 1},
            "signals": {
                "type": "object",
                "additionalProperties": reference("signals"),
                "propertyNames": {"allOf": [reference("signal"), {"not": {"pattern": unroutable}}]},
            },
        },
        "required": ["service"],
        "additionalProperties": false,
        "definitions": definitions,
    });
    format!("{schema:#}\n")
}

fn reference(definition: &str) -> Value {
    json!({"$ref": format!("#/definitions/{definition}")})
}

/// A schema that requires the other too.
fn with(mut schema: Value, more: Value) -> Value {
    if let (Some(schema), Value::Object(more)) = (schema.as_object_mut(), more) {
        schema.extend(more);
    }
    schema
}

/// What holds of several keys of a table.
fn rules(table: &str) -> Value {
    let one_of = |keys: &[&str]| -> Vec<Value> {
        keys.iter().map(|key| json!({"required": [key]})).collect()
    };
    match table {
        "on-event" => json!({"anyOf": one_of(&["command", "file"])}),
        "ready" => json!({"oneOf": one_of(&["tcp", "unix", "http", "exec", "file", "log"])}),
        "live" => json!({"oneOf": one_of(&["tcp", "unix", "http", "exec", "file"])}),
        "service" => json!({
            "required": ["name", "command"],
            "allOf": [
                {"not": {"required": ["ready", "notify"]}},
                {
                    "if": {"properties": {"type": {"const": "oneshot"}}, "required": ["type"]},
                    "then": {"not": {"anyOf": one_of(&["ready", "notify"])}},
                },
                {
                    "if": {"required": ["watchdog"]},
                    "then": {"properties": {"notify": {"const": "systemd"}}, "required": ["notify"]},
                },
            ],
        }),
        "signals" => {
            // A key that is false is as good as none.
            let off = json!({"const": false});
            json!({"anyOf": [
                {"required": ["restart"], "properties": {"to": false, "as": false, "reload": off, "drop": off}},
                {"required": ["reload"], "properties": {"reload": {"const": true}, "to": false, "as": false, "restart": false, "drop": off}},
                {"required": ["to"], "properties": {"restart": false, "reload": off, "drop": off}},
                {"required": ["as"], "properties": {"as": {"pattern": format!("^([Ss][Ii][Gg])?({}|\\+?0*(2|15))$", any_case(&["TERM", "INT"]))}, "to": false, "restart": false, "reload": off, "drop": off}},
                {"required": ["drop"], "properties": {"drop": {"const": true}, "to": false, "as": false, "restart": false, "reload": off}},
            ]})
        }
        _ => json!({}),
    }
}

fn property(table: &str, key: &str, row: &Row) -> Value {
    let meaning = without_links(row.meaning);
    let text = match row.default {
        "" | "required" => format!("{meaning}."),
        default => format!("{meaning}. Default: {default}."),
    };
    let mut schema = value(table, key, row.kind);
    // Beside a reference draft 7 ignores everything else.
    if schema.get("$ref").is_some() {
        schema = json!({"allOf": [schema]});
    }
    let schema = with(schema, json!({"description": text}));
    match serde_json::from_str::<Value>(row.default.trim_matches('`')) {
        Ok(default) => with(schema, json!({"default": default})),
        Err(_) => schema,
    }
}

/// The values that a key takes which the document describes like this.
fn value(table: &str, key: &str, kind: &str) -> Value {
    let strings = json!({"type": "array", "items": {"type": "string"}});
    let words: Vec<&str> =
        kind.split(", ").filter_map(|word| word.strip_prefix("`\"")?.strip_suffix("\"`")).collect();
    match (key, kind) {
        ("name", "text") if table == "service" => json!({
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            "not": {"const": "main"},
        }),
        ("version", one) => json!({"const": number(one)}),
        ("log", "text") => json!({"type": "string", "minLength": 1}),
        ("notify", _) => {
            let number = "([3-9]|[1-9][0-9]{1,2}|10[01][0-9]|102[0-3])";
            json!({"anyOf": [{"const": "systemd"}, pattern(&format!("^fd:\\+?0*{number}$"))]})
        }
        ("rlimits", "table") => limits(),
        ("on-event" | "ready" | "live", "table") => reference(key),
        ("restart", _) if table == "service" => {
            json!({"anyOf": [{"enum": words}, reference("restart")]})
        }
        ("events", "list of names") => {
            json!({"type": "array", "items": {"enum": EventKind::all_words()}})
        }
        ("drop-capabilities", "list of names") => json!({"type": "array", "items": capability()}),
        ("stop-signal", "signal") => {
            let names = any_case(&["STOP", "CONT", "CHLD", "CLD"]);
            let useless = pattern(&format!("^([Ss][Ii][Gg])?({names}|\\+?0*(17|18|19))$"));
            json!({"allOf": [reference("signal"), {"not": useless}]})
        }
        ("unix", "absolute path") => with(pattern("^/"), json!({"maxLength": 107})),
        (_, "text") => json!({"type": "string"}),
        (_, "absolute path") => pattern("^/"),
        (_, "absolute path, or `\"none\"`") => {
            with(pattern("^(/|none$)"), json!({"maxLength": 107}))
        }
        (_, "path, or list of paths") => json!({"anyOf": [{"type": "string"}, strings]}),
        (_, "table of texts") => json!({
            "type": "object",
            "additionalProperties": {"type": "string"},
            "propertyNames": {"pattern": "^[^=]+$"},
        }),
        (_, "list of texts") => json!({
            "type": "array",
            "items": [{"type": "string", "minLength": 1}],
            "additionalItems": {"type": "string"},
            "minItems": 1,
        }),
        (_, "list of patterns") => strings,
        (_, "list of services") if table == "service" => strings,
        (_, "list of services") => with(strings, json!({"minItems": 1, "uniqueItems": true})),
        (_, "name or number") => account(),
        (_, "list of names and numbers") => json!({"type": "array", "items": account()}),
        (_, "octal digits in quotes") => pattern("^\\+?0*[0-7]{1,3}$"),
        (_, "true or false" | "true") => json!({"type": "boolean"}),
        (_, "signal") => reference("signal"),
        (_, "list of 0 to 255") => json!({"type": "array", "items": range("0 to 255")}),
        (_, "number") => range("0 to 4294967295"),
        (_, "address") => pattern(&format!("^{}$", address())),
        (_, "list of sockets") => {
            let socket = pattern(&format!("^(tcp:{}|unix:/.*)$", address()));
            json!({"type": "array", "items": with(socket, json!({"maxLength": 112})), "uniqueItems": true})
        }
        (_, "URL") => {
            let host = format!("(localhost|{IPV4}|{IPV6})");
            pattern(&format!("^http://({host}(:{PORT})?|:{PORT})(/[!-~]*)?$"))
        }
        _ if kind.starts_with("duration") => reference("duration"),
        _ if !words.is_empty() => json!({"enum": words}),
        _ => range(kind),
    }
}

fn pattern(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

/// A range of the document, `-20 to 19`.
fn range(range: &str) -> Value {
    let ends = range.split_once(" to ").map(|(from, to)| Some((number(from)?, number(to)?)));
    let Some(Some((from, to))) = ends else { unreachable!("no schema for the type {range:?}") };
    json!({"type": "integer", "minimum": from, "maximum": to})
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn address() -> String {
    format!("((localhost)?:{PORT}|{IPV4}:{PORT}|{IPV6}:{PORT})")
}

/// As in a duration such as `1m 30s`, with the units that the parser has.
fn span() -> Value {
    let units = [
        "nanos", "nsec", "ns", "usec", "us", "\u{b5}s", "millis", "msec", "ms", "seconds",
        "second", "secs", "sec", "s", "minutes", "minute", "min", "mins", "m", "hours", "hour",
        "hrs", "hr", "h", "days", "day", "d", "weeks", "week", "wks", "wk", "w", "months", "month",
        "M", "years", "year", "yrs", "yr", "y",
    ];
    let known = |unit: &&str| duration::parse(&format!("1{unit}"), duration::LONGEST * 2).is_ok();
    let units: Vec<&str> = units.into_iter().filter(known).collect();
    let part = format!("\\s*[0-9][0-9\\s]*(\\.[0-9\\s]+)?({})", units.join("|"));
    with(
        pattern(&format!("^(0|({part})+\\s*)$")),
        json!({"description": "A duration such as \"8s\", \"500ms\" or \"1m 30s\"."}),
    )
}

fn signal() -> Value {
    let names: Vec<String> =
        Signal::all().map(|signal| signal.to_string()[3..].to_owned()).collect();
    let plain: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| name.starts_with(char::is_alphabetic))
        .collect();
    let standard: Vec<&str> =
        plain.iter().copied().filter(|name| !name.starts_with("RT")).collect();
    let aliases = ["IOT", "CLD", "POLL", "UNUSED"];
    let real_time = format!(
        "{}(\\+0*([0-9]|[12][0-9]|30))?|{}(-0*([0-9]|[12][0-9]|30))?",
        any_case(&["RTMIN"]),
        any_case(&["RTMAX"])
    );
    let any = format!(
        "^([Ss][Ii][Gg])?({}|{}|{real_time}|\\+?0*([1-9]|[1-5][0-9]|6[0-4]))$",
        any_case(&standard),
        any_case(&aliases)
    );
    // The first is what editors offer.
    json!({"anyOf": [{"enum": plain}, pattern(&any)]})
}

fn capability() -> Value {
    let names = [&["ALL"][..], &capability::names(!(1 << 63))[..]].concat();
    let any = format!("^([Cc][Aa][Pp]_)?({})$", any_case(&names));
    json!({"anyOf": [{"enum": names}, pattern(&any)]})
}

fn account() -> Value {
    json!({"anyOf": [
        {"type": "integer", "minimum": 0, "maximum": u32::MAX - 1},
        {"type": "string", "pattern": "^[^:\\n]+$"},
    ]})
}

fn limits() -> Value {
    let amount = json!({"anyOf": [{"type": "integer", "minimum": 0}, {"const": "unlimited"}]});
    let both = json!({
        "type": "object",
        "properties": {"soft": amount, "hard": amount},
        "required": ["soft", "hard"],
        "additionalProperties": false,
    });
    let names = resource::names();
    let properties: Map<String, Value> =
        names.split(", ").map(|name| (name.to_owned(), json!({"anyOf": [amount, both]}))).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

/// A pattern for any of these words, in upper or lower case: JSON schema has no flag for it.
fn any_case(words: &[&str]) -> String {
    let letters = |word: &&str| -> String {
        let letter = |letter: char| match letter.is_ascii_alphabetic() {
            true => format!("[{}{}]", letter.to_ascii_uppercase(), letter.to_ascii_lowercase()),
            false => letter.to_string(),
        };
        word.chars().map(letter).collect()
    };
    words.iter().map(letters).collect::<Vec<_>>().join("|")
}
