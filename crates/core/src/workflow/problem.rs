//! What is wrong with a definition: every finding with its place, collected instead of stopping at the first.

use std::fmt;

use serde::Serialize;

use super::node::{Node, Place};

/// How many problems one answer names.
pub const MAX_PROBLEMS: usize = 20;

/// How many expressions a definition may hold: each is kept compiled.
pub const MAX_EXPRESSIONS: usize = 2000;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A JSON pointer into the definition, such as `/steps/1/http/url`.
    pub path: String,
    /// What is wrong, and what is allowed.
    pub message: String,
    /// Counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// In characters, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "line {line} column {column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Collects problems while a definition is read.
pub struct Problems<'a> {
    root: &'a Node,
    found: Vec<Problem>,
    expressions: usize,
}

impl<'a> Problems<'a> {
    pub fn new(root: &'a Node) -> Self {
        Problems { root, found: Vec::new(), expressions: 0 }
    }

    /// Something is wrong with the value at `path`.
    pub fn add(&mut self, path: &str, message: impl Into<String>) {
        let place = self.root.place_of(path);
        self.push(path.to_owned(), message.into(), place);
    }

    /// Something is wrong with the member `key` of the object at `path`: the place is the key's.
    pub fn add_key(&mut self, path: &str, key: &str, message: impl Into<String>) {
        let place = self.root.find(path).and_then(|node| node.key_place(key));
        let full = join(path, key);
        let place = place.unwrap_or_else(|| self.root.place_of(&full));
        self.push(full, message.into(), place);
    }

    fn push(&mut self, path: String, message: String, place: Place) {
        if self.found.len() < MAX_PROBLEMS {
            self.found.push(Problem { path, message, line: Some(place.line), column: Some(place.column) });
        }
    }

    /// Whether the definition may hold one more expression, the one at `path`. Says so once when it may not.
    pub fn count_expression(&mut self, path: &str) -> bool {
        self.expressions += 1;
        if self.expressions == MAX_EXPRESSIONS + 1 {
            self.add(path, format!("a definition holds at most {MAX_EXPRESSIONS} expressions"));
        }
        self.expressions <= MAX_EXPRESSIONS
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn into_vec(self) -> Vec<Problem> {
        self.found
    }
}

/// `path` with one more segment, escaped as JSON pointers are.
pub fn join(path: &str, segment: &str) -> String {
    format!("{path}/{}", segment.replace('~', "~0").replace('/', "~1"))
}

/// Text of a caller inside a message: short, on one line.
pub fn shorten(text: &str, max_chars: usize) -> String {
    let mut short: String =
        text.chars().take(max_chars).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(max_chars).is_some() {
        short.push('…');
    }
    short
}
