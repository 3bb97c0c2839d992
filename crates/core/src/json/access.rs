//! Parts of a JSON text as slices of it. For text that passed [`super::compact`], or white space added to such.

use std::borrow::Cow;
use std::collections::HashMap;

/// One step of a path into a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathSegment {
    Name(String),
    Index(usize),
}

/// The members of an object as they stand: raw name (with its quotes) and raw value, duplicates included.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    cursor: Cursor<'a>,
}

/// The members of `valid`, or `None` when it is no object.
pub fn entries(valid: &str) -> Option<Entries<'_>> {
    Cursor::inside(valid, b'{').map(|cursor| Entries { cursor })
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.peek() != Some(b'"') {
            return None;
        }
        let name = self.cursor.take_value()?;
        if self.cursor.peek() == Some(b':') {
            self.cursor.pos += 1;
        }
        let value = self.cursor.take_value()?;
        self.cursor.skip_comma();
        Some((name, value))
    }
}

/// The members of an object with decoded names, each name once, in order of first appearance; of duplicates the last
/// value stands. `None` when `valid` is no object.
pub fn members(valid: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let mut places: HashMap<Cow<str>, usize> = HashMap::new();
    let mut found: Vec<(Cow<str>, &str)> = Vec::new();
    for (raw_name, value) in entries(valid)? {
        let Some(name) = decode(raw_name) else { continue };
        // A map and not a search: a body may hold a hundred thousand names.
        match places.get(&name) {
            Some(&place) => found[place].1 = value,
            None => {
                places.insert(name.clone(), found.len());
                found.push((name, value));
            }
        }
    }
    Some(found)
}

/// The raw value at `path`, or `None` when there is nothing. Of duplicate names the last one counts.
pub fn lookup<'a>(valid: &'a str, path: &[PathSegment]) -> Option<&'a str> {
    path.iter().try_fold(valid.trim_matches(is_blank), |value, segment| match segment {
        PathSegment::Name(name) => {
            entries(value)?.filter(|(raw, _)| is_name(raw, name)).last().map(|(_, value)| value)
        }
        PathSegment::Index(index) => element(value, *index),
    })
}

/// An element of an array, raw; `None` beyond its end, and when `valid` is no array.
pub fn element(valid: &str, index: usize) -> Option<&str> {
    let mut cursor = Cursor::inside(valid, b'[')?;
    for _ in 0..index {
        cursor.take_value()?;
        cursor.skip_comma();
    }
    cursor.take_value()
}

/// The elements of an array as they stand.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    cursor: Cursor<'a>,
}

/// The elements of `valid`, or `None` when it is no array.
pub fn elements(valid: &str) -> Option<Elements<'_>> {
    Cursor::inside(valid, b'[').map(|cursor| Elements { cursor })
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let value = self.cursor.take_value()?;
        self.cursor.skip_comma();
        Some(value)
    }
}

fn is_name(raw: &str, name: &str) -> bool {
    decode(raw).is_some_and(|decoded| decoded == name)
}

/// The text that a raw JSON string stands for, or `None` when `raw` is no string.
pub fn decode(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).ok().map(Cow::Owned)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\n' | '\t' | '\r')
}

#[derive(Clone, Debug)]
struct Cursor<'a> {
    text: &'a str,
    pos: usize,
}

impl<'a> Cursor<'a> {
    /// Behind the opening bracket, if the text starts with it.
    fn inside(text: &'a str, bracket: u8) -> Option<Self> {
        let mut cursor = Cursor { text, pos: 0 };
        (cursor.peek() == Some(bracket)).then(|| {
            cursor.pos += 1;
            cursor
        })
    }

    /// The next byte that is not blank.
    fn peek(&mut self) -> Option<u8> {
        self.pos = skip_blank(self.text.as_bytes(), self.pos);
        self.text.as_bytes().get(self.pos).copied()
    }

    /// The value that starts here, or `None` at a closing bracket.
    fn take_value(&mut self) -> Option<&'a str> {
        self.peek()?;
        let end = value_end(self.text.as_bytes(), self.pos);
        let value = self.text.get(self.pos..end).filter(|value| !value.is_empty())?;
        self.pos = end;
        Some(value)
    }

    fn skip_comma(&mut self) {
        if self.peek() == Some(b',') {
            self.pos += 1;
        }
    }
}

pub(super) fn skip_blank(bytes: &[u8], from: usize) -> usize {
    let blanks = bytes[from..].iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r'));
    from + blanks.count()
}

/// Where the value that starts at `from` ends; `from` itself when there is none.
pub(super) fn value_end(bytes: &[u8], from: usize) -> usize {
    match bytes.get(from) {
        Some(b'"') => string_end(bytes, from),
        Some(b'{' | b'[') => container_end(bytes, from),
        _ => {
            let scalar = bytes[from..]
                .iter()
                .take_while(|byte| !matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\n' | b'\t' | b'\r'));
            from + scalar.count()
        }
    }
}

fn container_end(bytes: &[u8], from: usize) -> usize {
    let mut open = 0_usize;
    let mut pos = from;
    while let Some(byte) = bytes.get(pos) {
        match byte {
            b'"' => {
                pos = string_end(bytes, pos);
                continue;
            }
            b'{' | b'[' => open += 1,
            b'}' | b']' => open -= 1,
            _ => {}
        }
        pos += 1;
        if open == 0 {
            break;
        }
    }
    pos
}

/// Behind the closing quote of the string whose opening quote stands at `quote`.
pub(super) fn string_end(bytes: &[u8], quote: usize) -> usize {
    let mut pos = quote + 1;
    while let Some(byte) = bytes.get(pos) {
        match byte {
            b'"' => return pos + 1,
            b'\\' => pos += 2,
            _ => pos += 1,
        }
    }
    bytes.len()
}
