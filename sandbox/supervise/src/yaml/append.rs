//! Where an item goes in the text of a YAML file, and how it is written.

use saphyr::{MarkedYaml, YamlData};
use serde_json::Value;

use super::{document, parse};

/// What is appended.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'a> {
    /// A text.
    Text(&'a str),
    /// A mapping, in this order.
    Fields(Vec<(&'a str, Value)>),
}

impl Item<'_> {
    fn value(&self) -> Value {
        match self {
            Item::Text(text) => Value::String((*text).to_owned()),
            Item::Fields(fields) => {
                let owned = |(key, value): &(&str, Value)| ((*key).to_owned(), value.clone());
                Value::Object(fields.iter().map(owned).collect())
            }
        }
    }

    /// In block style, one key a line.
    pub fn block(&self, indent: usize) -> String {
        let Item::Fields(fields) = self else {
            return format!("{:indent$}- {}\n", "", self.flow());
        };
        let mut lines = String::new();
        for (place, (key, value)) in fields.iter().enumerate() {
            let lead = if place == 0 { "- " } else { "  " };
            lines.push_str(&format!("{:indent$}{lead}{key}: {}\n", "", flow(value)));
        }
        lines
    }

    fn flow(&self) -> String {
        match self {
            Item::Text(_) => flow(&self.value()),
            Item::Fields(fields) => mapping(fields.iter().map(|(key, value)| (*key, value))),
        }
    }
}

/// Appends the item to the list that the top-level key holds; makes the list if there is none.
pub fn append_item(text: &str, key: &str, item: &Item<'_>) -> Result<String, String> {
    let before = parse(text)?;
    let after = insert(text, key, item)?;
    let expected = expected(before, key, item)?;
    match parse(&after) {
        Ok(value) if value == expected => Ok(after),
        _ => Err(by_hand(key)),
    }
}

fn by_hand(key: &str) -> String {
    format!(
        "its list `{key}` is written in a way that can't be changed safely; write it as a plain \
         list with one item a line, or add the item by hand"
    )
}

fn expected(before: Value, key: &str, item: &Item<'_>) -> Result<Value, String> {
    let Value::Object(mut root) = before else {
        return Err("its top level is no mapping".to_owned());
    };
    let list = match root.remove(key) {
        None | Some(Value::Null) => vec![item.value()],
        Some(Value::Array(mut list)) => {
            list.push(item.value());
            list
        }
        Some(_) => return Err(format!("`{key}` is no list")),
    };
    root.insert(key.to_owned(), Value::Array(list));
    Ok(Value::Object(root))
}

fn insert(text: &str, key: &str, item: &Item<'_>) -> Result<String, String> {
    let root = document(text)?;
    let entries = match root.as_ref().map(|root| &root.data) {
        Some(YamlData::Mapping(entries)) => entries,
        _ => return Ok(append_list(text, key, item)),
    };
    let is_key = |node: &MarkedYaml<'_>| node.data.as_str() == Some(key);
    let Some((name, list)) = entries.iter().find(|(name, _)| is_key(name)) else {
        return Ok(append_list(text, key, item));
    };
    let start = byte(text, list.span.start.index());
    match &list.data {
        YamlData::Sequence(items) if text[start..].starts_with('[') => {
            insert_flow(text, start, list, items.is_empty(), item).ok_or_else(|| by_hand(key))
        }
        YamlData::Sequence(items) => {
            insert_block(text, items, list.span.start.line(), item).ok_or_else(|| by_hand(key))
        }
        // `routes:` without a value.
        _ => Ok(insert_line(text, name.span.end.line(), &item.block(2))),
    }
}

fn append_list(text: &str, key: &str, item: &Item<'_>) -> String {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{end}{key}:\n{}", item.block(2))
}

/// `[a, b]` becomes `[a, b, item]`; an empty list becomes one with an item a line.
fn insert_flow(
    text: &str,
    start: usize,
    list: &MarkedYaml<'_>,
    is_empty: bool,
    item: &Item<'_>,
) -> Option<String> {
    let end = byte(text, list.span.end.index());
    let end = end + text.get(end..)?.find(']')?;
    if is_empty {
        let without = format!("{}{}", text[..start].trim_end_matches(' '), text.get(end + 1..)?);
        return Some(insert_line(&without, list.span.start.line(), &item.block(2)));
    }
    let items = text[..end].trim_end();
    let comma = if items.ends_with(',') { " " } else { ", " };
    Some(format!("{items}{comma}{}{}", item.flow(), &text[items.len()..]))
}

fn insert_block(
    text: &str,
    items: &[MarkedYaml<'_>],
    first_line: usize,
    item: &Item<'_>,
) -> Option<String> {
    let line = text.lines().nth(first_line.checked_sub(1)?)?;
    let indent = line.len() - line.trim_start_matches(' ').len();
    if !line[indent..].starts_with('-') {
        return None;
    }
    Some(insert_line(text, last_line(items.last()?), &item.block(indent)))
}

/// The line on which a node ends. A collection in block style reaches up to the next token, so
/// its last part is asked instead.
fn last_line(node: &MarkedYaml<'_>) -> usize {
    let own = match node.span.end {
        end if end.col() == 0 && end.line() > node.span.start.line() => end.line() - 1,
        end => end.line(),
    };
    let inner = match &node.data {
        YamlData::Sequence(items) => items.last().map(last_line),
        YamlData::Mapping(entries) => entries.iter().next_back().map(|(_, last)| last_line(last)),
        _ => None,
    };
    match inner {
        // In flow style the bracket may stand on a line of its own, below the last part.
        Some(inner) if node.span.end.col() == 0 => inner,
        Some(inner) => inner.max(own.min(inner + 1)),
        None => own,
    }
}

/// Puts whole lines behind the line of this number, counted from 1.
fn insert_line(text: &str, line: usize, lines: &str) -> String {
    let at: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let end = if text[..at].ends_with('\n') || at == 0 { "" } else { "\n" };
    format!("{}{end}{lines}{}", &text[..at], &text[at..])
}

fn byte(text: &str, character: usize) -> usize {
    text.char_indices().nth(character).map_or(text.len(), |(index, _)| index)
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => mapping(map.iter().map(|(key, value)| (key.as_str(), value))),
        other => other.to_string(),
    }
}

fn mapping<'a>(fields: impl Iterator<Item = (&'a str, &'a Value)>) -> String {
    let entries: Vec<String> =
        fields.map(|(key, value)| format!("{key}: {}", flow(value))).collect();
    format!("{{{}}}", entries.join(", "))
}

/// Whether the text needs no quotes, neither by YAML 1.2 nor by 1.1, which Python's reader
/// follows and where `no` and `on` are truth values.
fn is_plain(text: &str) -> bool {
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let reserved = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && is_word
        && !reserved.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn appended(text: &str) -> String {
        append_item(text, "list", &Item::Text("new.example.com")).unwrap()
    }

    #[test]
    fn a_list_is_made_where_there_is_none() {
        let item = "  - new.example.com\n";
        assert_eq!(appended(""), format!("list:\n{item}"));
        assert_eq!(appended("# only words\n"), format!("# only words\nlist:\n{item}"));
        assert_eq!(appended("a: 1"), format!("a: 1\nlist:\n{item}"));
        assert_eq!(appended("list: # none\na: 1\n"), format!("list: # none\n{item}a: 1\n"));
        assert_eq!(appended("list:"), format!("list:\n{item}"));
        assert_eq!(appended("list: [] # none\na: 1\n"), format!("list: # none\n{item}a: 1\n"));
    }

    #[test]
    fn comments_and_style_stay() {
        assert_eq!(
            appended("# é\nlist: # hosts\n- a # first\n- 'b' # last\n# end\nother: 1\n"),
            "# é\nlist: # hosts\n- a # first\n- 'b' # last\n- new.example.com\n# end\nother: 1\n"
        );
        assert_eq!(appended("list: [\"a\", 'b' ] # x\n"), {
            "list: [\"a\", 'b', new.example.com ] # x\n"
        });
        assert_eq!(appended("list: [a,]\n"), "list: [a, new.example.com]\n");
    }

    #[test]
    fn routes_are_written_one_key_a_line() {
        let item = Item::Fields(vec![
            ("host", json!("*.example.com")),
            ("paths", json!(["/v1/"])),
            ("methods", json!(["GET", "POST"])),
            ("auth", json!({"scheme": "bearer", "token_env": "EGRESS_TOKEN_1"})),
        ]);
        let text =
            "routes:\n  - host: a.example.com\n    paths: [\"/a\",\n      \"/b\"] # two\n\n# end\n";
        assert_eq!(
            append_item(text, "routes", &item).unwrap(),
            "routes:\n  - host: a.example.com\n    paths: [\"/a\",\n      \"/b\"] # two\n  \
             - host: \"*.example.com\"\n    paths: [\"/v1/\"]\n    methods: [GET, POST]\n    \
             auth: {scheme: bearer, token_env: EGRESS_TOKEN_1}\n\n# end\n"
        );
    }

    #[test]
    fn what_can_not_be_done_safely_is_refused() {
        for (text, expected) in [
            ("list: {a: 1}\n", "is no list"),
            ("list: 5\n", "is no list"),
            ("- a\n", "no mapping"),
            ("{list: [a]}\nx", "line 2"),
            ("list: null\n", "can't be changed safely"),
            ("list: [a, # c\n]\n", "can't be changed safely"),
            ("list: &x [a]\n", "can't be changed safely"),
            ("a: 1\n...\n", "can't be changed safely"),
            ("a: 1\n---\nb: 1\n", "more than one document"),
            ("list: [a]\nlist: [b]\n", "duplicated key"),
            ("list: !x [a]\n", "tags"),
            ("list: [a\n", "line "),
        ] {
            let error = append_item(text, "list", &Item::Text("new.example.com")).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn words_of_yaml_are_quoted() {
        assert_eq!(
            flow(&json!(["no", "1e3", "a b", "GET", "x\n"])),
            r#"["no", "1e3", "a b", GET, "x\n"]"#
        );
    }

    /// Lists as operators write them.
    fn list() -> impl Strategy<Value = String> {
        let item = prop_oneof![
            Just("a.example.com".to_owned()),
            Just("\"*.b.example.com\" # why".to_owned()),
            Just("{host: c, paths: [\"/x\", /y]}".to_owned()),
            Just("host: d\n    methods:\n      - GET\n      - POST".to_owned()),
            Just("host: e\n    # inner\n    paths:\n    - /e".to_owned()),
            Just("|\n    text\n    more".to_owned()),
        ];
        (proptest::collection::vec(item, 0..5), any::<bool>(), any::<bool>()).prop_map(
            |(items, comments, tail)| {
                let mut text = String::from("# head\nversion: 1\nlist:\n");
                for item in items {
                    text.push_str(&format!("  - {item}\n"));
                    if comments {
                        text.push_str("  # between\n\n");
                    }
                }
                text + if tail { "tail: {é: [1, 2.5, true]} # end\n" } else { "" }
            },
        )
    }

    proptest! {
        #[test]
        fn nothing_else_changes(text in list(), route in any::<bool>()) {
            let fields = vec![("host", json!("n")), ("paths", json!(["/"]))];
            let item = if route { Item::Fields(fields) } else { Item::Text("n") };
            let after = append_item(&text, "list", &item).unwrap();
            // Every old line is still there, in its order.
            let mut rest = after.lines();
            for line in text.lines() {
                prop_assert!(rest.any(|kept| kept == line), "{line:?} in {after:?}");
            }
            let twice = append_item(&after, "list", &item).unwrap();
            prop_assert_eq!(twice.lines().count() - after.lines().count(),
                after.lines().count() - text.lines().count());
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-z:\\[\\]{}#\\-, \n'\"|&*!é]{0,40}") {
            let _ = append_item(&text, "list", &Item::Text("n"));
            let _ = append_item(&format!("list:{text}"), "list", &Item::Text("n"));
        }
    }
}
