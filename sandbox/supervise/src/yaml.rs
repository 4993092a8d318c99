//! YAML as plain values, and one way to change it: an item at the end of a list.
//!
//! The item is put into the text, so that comments and everything else stay as the operator wrote
//! them. Then the new text is read back: it has to say what the old one said, and the item.

mod append;

pub use append::{Item, append_item};

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Number, Value};

/// Reads a file of one document; an empty one is an empty mapping.
fn parse(text: &str) -> Result<Value, String> {
    match document(text)? {
        Some(root) => value(&root),
        None => Ok(Value::Object(Map::new())),
    }
}

/// The items of the list that the top-level key holds, each with its line; none without the key.
pub fn list(text: &str, key: &str) -> Result<Vec<(usize, Value)>, String> {
    let Some(root) = document(text)? else { return Ok(Vec::new()) };
    let YamlData::Mapping(entries) = &root.data else {
        return Err(format!("its top level is no mapping; begin the list with `{key}:`"));
    };
    let found = entries.iter().find(|(name, _)| name.data.as_str() == Some(key));
    match found.map(|(_, content)| (content, &content.data)) {
        None | Some((_, YamlData::Value(Scalar::Null))) => Ok(Vec::new()),
        Some((_, YamlData::Sequence(items))) => {
            items.iter().map(|item| Ok((item.span.start.line(), value(item)?))).collect()
        }
        Some((other, _)) => {
            let line = other.span.start.line();
            Err(format!("line {line}: `{key}` is no list; write one item a line, each behind `- `"))
        }
    }
}

/// What a key holds, and where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Its line; of a key that is missing, the line of the mapping that lacks it. None at the top.
    pub line: Option<usize>,
    /// What it holds; none if it is missing.
    pub value: Option<Value>,
}

/// What is at the end of these keys, each within the mapping of the one before.
pub fn find(text: &str, path: &[&str]) -> Result<Found, String> {
    let Some(root) = document(text)? else { return Ok(Found::default()) };
    if !matches!(root.data, YamlData::Mapping(_)) {
        return Err("its top level is no mapping".to_owned());
    }
    let (mut node, mut line) = (&root, None);
    for key in path {
        let YamlData::Mapping(entries) = &node.data else { return Ok(Found { line, value: None }) };
        let entry =
            |wanted: &str| entries.iter().find(|(name, _)| name.data.as_str() == Some(wanted));
        // To some readers it brings in the keys of another mapping, to others it is a key.
        if let Some((merge, _)) = entry("<<") {
            return Err(format!("line {}: `<<` can't be handled", merge.span.start.line()));
        }
        let Some((name, content)) = entry(key) else { return Ok(Found { line, value: None }) };
        (node, line) = (content, Some(name.span.start.line()));
    }
    Ok(Found { line, value: Some(value(node)?) })
}

/// The document with its places; none in a file without content.
fn document(text: &str) -> Result<Option<MarkedYaml<'_>>, String> {
    let mut documents = MarkedYaml::load_from_str(text).map_err(|error| {
        let place = error.marker();
        format!("line {}, column {}: {}", place.line(), place.col() + 1, error.info())
    })?;
    match documents.len() {
        0 => Ok(None),
        1 => Ok(documents.pop()),
        _ => Err("it has more than one document".to_owned()),
    }
}

fn value(node: &MarkedYaml<'_>) -> Result<Value, String> {
    let wrong = |what: &str| {
        let place = node.span.start;
        Err(format!("line {}, column {}: {what}", place.line(), place.col() + 1))
    };
    Ok(match &node.data {
        YamlData::Value(Scalar::Null) => Value::Null,
        YamlData::Value(Scalar::Boolean(truth)) => Value::Bool(*truth),
        YamlData::Value(Scalar::Integer(number)) => Value::Number((*number).into()),
        YamlData::Value(Scalar::FloatingPoint(number)) => {
            match Number::from_f64((*number).into_inner()) {
                Some(number) => Value::Number(number),
                None => return wrong("not a number that can be handled"),
            }
        }
        YamlData::Value(Scalar::String(text)) => Value::String(text.to_string()),
        YamlData::Sequence(items) => {
            Value::Array(items.iter().map(value).collect::<Result<_, _>>()?)
        }
        YamlData::Mapping(entries) => {
            let mut map = Map::new();
            for (key, content) in entries {
                let Value::String(name) = value(key)? else { return wrong("a key is no text") };
                map.insert(name, value(content)?);
            }
            Value::Object(map)
        }
        _ => return wrong("tags and aliases can't be handled"),
    })
}
