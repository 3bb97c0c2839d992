//! A definition's text as a tree whose every node knows its line and column. YAML and JSON (which is YAML) come in by the
//! same parser, so both have places.
//!
//! Hostile text: the size is bounded before parsing; the parser has budgets for depth, nodes and aliases, and an alias
//! may not stand inside what another alias repeats, so the tree cannot grow beyond a small multiple of the text.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::AliasLimits;
use serde_saphyr::{Error, Location, Options, Spanned};

use super::problem::{Problem, shorten};
use crate::json;

/// The longest definition that is read.
pub const MAX_SOURCE_BYTES: usize = 256 * 1024;
/// How deep lists and objects may be nested.
const MAX_NESTING: usize = 48;
const MAX_NODES: usize = 50_000;
const MAX_ALIASES: usize = 64;

/// A line and a column, both counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
        Place { line: small(location.line()), column: small(location.column()) }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// As JSON writes it.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub node: Node,
}

impl Node {
    /// The tree of a text.
    pub fn parse(text: &str) -> Result<Node, Problem> {
        if text.len() > MAX_SOURCE_BYTES {
            let message =
                format!("the definition has {} bytes; at most {MAX_SOURCE_BYTES} are allowed", text.len());
            return Err(Problem { path: String::new(), message, line: None, column: None });
        }
        serde_saphyr::from_str_with_options::<Located>(text, options()).map(|root| root.0).map_err(problem)
    }

    /// The node that a JSON pointer names.
    pub fn find(&self, pointer: &str) -> Option<&Node> {
        let mut node = self;
        for segment in pointer.split('/').skip(1) {
            node = node.child(segment)?;
        }
        Some(node)
    }

    /// The place of what a pointer names, or of the nearest thing around it that exists.
    pub fn place_of(&self, pointer: &str) -> Place {
        let mut node = self;
        for segment in pointer.split('/').skip(1) {
            match node.child(segment) {
                Some(child) => node = child,
                None => break,
            }
        }
        node.place
    }

    fn child(&self, segment: &str) -> Option<&Node> {
        match &self.value {
            Value::List(items) => items.get(segment.parse::<usize>().ok()?),
            Value::Map(_) => self.get(&segment.replace("~1", "/").replace("~0", "~")),
            _ => None,
        }
    }

    /// The member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The members of an object; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn key_place(&self, key: &str) -> Option<Place> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| entry.key_place)
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
        }
    }

    /// Compact JSON.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.push_json(&mut out);
        out
    }

    fn push_json(&self, out: &mut String) {
        match &self.value {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Number(number) => out.push_str(number),
            Value::Text(text) => json::push_quoted(out, text),
            Value::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.push_json(out);
                }
                out.push(']');
            }
            Value::Map(entries) => {
                out.push('{');
                for (index, entry) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    json::push_quoted(out, &entry.key);
                    out.push(':');
                    entry.node.push_json(out);
                }
                out.push('}');
            }
        }
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        // `yes` and `on` are texts, as in YAML 1.2.
        strict_booleans: true,
        emit_comments: false,
        budget: serde_saphyr::budget! {
            max_depth: MAX_NESTING,
            flow_nesting_limit: MAX_NESTING,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_merge_keys: MAX_ALIASES,
            simple_key_max_lookahead: 4096,
        },
        alias_limits: alias_limits(),
    }
}

fn alias_limits() -> AliasLimits {
    serde_saphyr::alias_limits! {
        max_total_replayed_events: MAX_NODES,
        max_replay_stack_depth: 1,
    }
}

/// The parser's error in our words: some of its texts speak to programmers about its options.
fn problem(error: Error) -> Problem {
    let error = error.without_snippet();
    let place = error.location().map(Place::from);
    let message = match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the member `{}` stands here twice", shorten(key, 80))
        }
        Error::DuplicateMappingKey { .. } => "a member stands here twice".to_owned(),
        Error::MultipleDocuments { .. } => {
            "a second document starts here; a definition is one document".to_owned()
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => format!(
            "too much: at most {MAX_NESTING} levels, {MAX_NODES} values and {MAX_ALIASES} aliases, none inside of another's target"
        ),
        Error::Eof { .. } => "the definition is empty".to_owned(),
        other => {
            let text = other.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            format!("this is not the YAML or JSON of a definition: {}", shorten(text, 200))
        }
    };
    Problem { path: String::new(), message, line: place.map(|p| p.line), column: place.map(|p| p.column) }
}

/// Reads a node through the parser's span wrapper.
struct Located(Node);

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Located(Node { place: spanned.referenced.into(), value: spanned.value }))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value that JSON knows")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        match serde_json::Number::from_f64(value) {
            Some(number) => Ok(Value::Number(number.to_string())),
            None => Err(E::custom("a number must be finite")),
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Located(node)) = list.next_element()? {
            items.push(node);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, Located(node))) = map.next_entry::<Spanned<String>, Located>()? {
            if key.value.contains('\0') {
                return Err(A::Error::custom("a member's name holds a NUL character"));
            }
            entries.push(Entry { key: key.value, key_place: key.referenced.into(), node });
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn yaml_and_json_become_the_same_tree_of_values() {
        let yaml = "a: 1\nb: [x, 1.5, true, null, ~]\nc: {d: \"é 😀\", e: yes, f: 1e3}\n";
        let json =
            r#"{"a":1,"b":["x",1.5,true,null,null],"c":{"d":"\u00e9 \ud83d\ude00","e":"yes","f":1e3}}"#;

        let expected = r#"{"a":1,"b":["x",1.5,true,null,null],"c":{"d":"é 😀","e":"yes","f":1000.0}}"#;
        assert_eq!(Node::parse(yaml).unwrap().to_json(), expected);
        assert_eq!(Node::parse(json).unwrap().to_json(), expected);
    }

    #[test]
    fn every_node_and_key_knows_its_place() {
        let root = Node::parse("a: 1\nb:\n  - x: é\n    longer: \"z\"\n").unwrap();

        assert_eq!(root.place_of("/b/0/longer"), Place { line: 4, column: 13 });
        assert_eq!(root.find("/b/0").unwrap().key_place("longer"), Some(Place { line: 4, column: 5 }));
        assert_eq!(root.place_of("/b/0/none/deeper"), root.place_of("/b/0"));
    }

    #[test]
    fn what_is_no_definition_is_refused_with_its_place() {
        for (text, line, column, words) in [
            ("a: 1\na: 2", 2, 1, "`a` stands here twice"),
            ("{\"a\":1,\n \"a\":2}", 2, 2, "`a` stands here twice"),
            ("a: [1, 2", 1, 4, "unclosed"),
            ("a: .nan", 1, 4, "non-finite"),
            ("a: 1e999", 1, 4, "non-finite"),
            ("a: 1\n---\nb: 2", 3, 1, "second document"),
            ("a: \"\\ud800\"", 1, 4, "surrogate"),
        ] {
            let problem = Node::parse(text).unwrap_err();
            assert_eq!((problem.line, problem.column), (Some(line), Some(column)), "{text}: {problem}");
            assert!(problem.message.contains(words), "{text}: {problem}");
        }
    }

    #[test]
    fn alias_bombs_are_refused_before_they_grow() {
        let mut nested = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..10 {
            let before = format!("*a{},", level - 1).repeat(10);
            let _ = writeln!(nested, "a{level}: &a{level} [{}]", before.trim_end_matches(','));
        }
        let wide = format!("s: &s \"{}\"\nl: [{}]\n", "x".repeat(200_000), "*s,".repeat(10_000));
        let twice = format!(
            "s: &s \"{}\"\nl: &l [{}]\nm: [{}]",
            "x".repeat(200_000),
            "*s,".repeat(40),
            "*l,".repeat(20)
        );

        for bomb in [nested, wide, twice] {
            assert!(Node::parse(&bomb).is_err());
        }
        let fine = Node::parse("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n").unwrap();
        assert_eq!(fine.to_json(), r#"{"a":{"x":1},"b":{"x":1},"c":{"y":2,"x":1}}"#);
    }

    #[test]
    fn size_depth_and_odd_text_are_bounded() {
        let long = format!("a: \"{}\"", "x".repeat(10 << 20));
        assert!(Node::parse(&long).unwrap_err().message.contains("262144"));

        for deep in ["[".repeat(100_000), "{\"a\":".repeat(50_000), "- ".repeat(100_000), "? ".repeat(50_000)]
        {
            assert!(Node::parse(&deep).is_err());
        }
        let nested = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        assert_eq!(Node::parse(&nested).unwrap().to_json(), nested);
        assert!(Node::parse(&format!("[{}]", "1,".repeat(100_000))).is_err());
    }
}
