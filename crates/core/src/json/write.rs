//! JSON text out: strings in quotes, and values with their members in order.

use std::borrow::Cow;
use std::ops::Range;

use super::access::{decode, skip_blank, string_end, value_end};

/// Deeper levels are copied as they are. More than [`super::MAX_DEPTH`], because outputs of that depth are put together
/// into one result; small, because sorting recurses.
const SORT_DEPTH: usize = 128;

/// `text` as a JSON string with its quotes.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// Appends `text` as a JSON string with its quotes.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    let mut run_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let short = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[run_from..at]);
        run_from = at + 1;
        if short.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        } else {
            out.push_str(short);
        }
    }
    out.push_str(&text[run_from..]);
    out.push('"');
}

/// The same value, compact, with the members of every object sorted by name (bytewise, decoded). Of duplicates the last
/// one stays. Numbers and strings stay verbatim. `valid` must have passed [`super::compact`].
pub fn sorted(valid: &str) -> String {
    let mut sorter = Sorter { text: valid, pos: 0, out: String::with_capacity(valid.len()) };
    sorter.value(0);
    sorter.out
}

struct Sorter<'a> {
    text: &'a str,
    pos: usize,
    out: String,
}

struct Member<'a> {
    name: Cow<'a, str>,
    /// Where name and value stand in `out`.
    at: Range<usize>,
}

impl<'a> Sorter<'a> {
    fn peek(&mut self) -> Option<u8> {
        self.pos = skip_blank(self.text.as_bytes(), self.pos);
        self.text.as_bytes().get(self.pos).copied()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.pos += usize::from(there);
        there
    }

    fn copy_until(&mut self, end: usize) -> &'a str {
        let part = self.text.get(self.pos..end).unwrap_or_default();
        self.out.push_str(part);
        self.pos = end;
        part
    }

    fn value(&mut self, depth: usize) {
        match self.peek() {
            Some(b'{') if depth < SORT_DEPTH => self.object(depth),
            Some(b'[') if depth < SORT_DEPTH => self.array(depth),
            _ => {
                let end = value_end(self.text.as_bytes(), self.pos);
                self.copy_until(end);
            }
        }
    }

    fn array(&mut self, depth: usize) {
        self.pos += 1;
        self.out.push('[');
        while !matches!(self.peek(), None | Some(b']')) {
            self.value(depth + 1);
            if !self.skip(b',') {
                break;
            }
            self.out.push(',');
        }
        self.skip(b']');
        self.out.push(']');
    }

    fn object(&mut self, depth: usize) {
        self.pos += 1;
        self.out.push('{');
        let body_from = self.out.len();
        let mut members: Vec<Member> = Vec::new();
        while self.peek() == Some(b'"') {
            let from = self.out.len();
            let raw_name = self.copy_until(string_end(self.text.as_bytes(), self.pos));
            self.skip(b':');
            self.out.push(':');
            self.value(depth + 1);
            members.push(Member { name: decode(raw_name).unwrap_or_default(), at: from..self.out.len() });
            if !self.skip(b',') {
                break;
            }
            self.out.push(',');
        }
        self.skip(b'}');
        if !members.is_sorted_by(|a, b| a.name < b.name) {
            self.reorder(body_from, members);
        }
        self.out.push('}');
    }

    /// Writes the members behind `body_from` again in order. They are already complete, so this copies and no more.
    fn reorder(&mut self, body_from: usize, mut members: Vec<Member>) {
        let unordered = self.out.split_off(body_from);
        members.sort_by(|a, b| a.name.cmp(&b.name));
        for (place, member) in members.iter().enumerate() {
            if members.get(place + 1).is_some_and(|next| next.name == member.name) {
                continue;
            }
            if self.out.len() > body_from {
                self.out.push(',');
            }
            self.out.push_str(&unordered[member.at.start - body_from..member.at.end - body_from]);
        }
    }
}
