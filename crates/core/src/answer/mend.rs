//! Mending what models do to JSON: words and fences around it, commas at ends, quotes of other kinds, bare names, raw line
//! breaks, words of Python, comments, and brackets that were forgotten.
//!
//! One pass over each candidate, and a bounded number of candidates: linear time whatever a model says. Nothing is made up:
//! every value of the result stood in the text.

use crate::json;

/// How many beginnings are tried.
const MAX_BEGINNINGS: usize = 12;

/// The values that can be read in `text`, in order, as compact JSON.
pub fn candidates(text: &str, is_whole: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    for _ in 0..MAX_BEGINNINGS {
        let Some(start) = text[at..].find(['{', '[']).map(|start| at + start) else { break };
        let mut mender =
            Mender { text: &text[start..], bytes: &text.as_bytes()[start..], at: 0, out: String::new() };
        let json = mender.value(is_whole).and_then(|()| json::compact(&mender.out).ok());
        at = match json {
            Some(json) => {
                found.push(json);
                start + mender.at
            }
            None => start + 1,
        };
    }
    found
}

struct Mender<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    out: String,
}

/// What comes next inside a container.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Name,
    Colon,
    Value,
    Comma,
}

impl Mender<'_> {
    /// Writes the container that begins here. `None`: this is no JSON with a few slips.
    fn value(&mut self, is_whole: bool) -> Option<()> {
        let mut open: Vec<u8> = Vec::new();
        let mut next = Next::Value;
        loop {
            self.skip_blank();
            let Some(byte) = self.bytes.get(self.at).copied() else {
                return if is_whole && !open.is_empty() { self.close(&mut open, next) } else { None };
            };
            match byte {
                b'}' | b']' => {
                    let matching = open.pop()?;
                    let is_done =
                        matches!(next, Next::Comma | Next::Name) || matching == b']' && next == Next::Value;
                    if matching != byte || !is_done {
                        return None;
                    }
                    self.drop_comma();
                    self.out.push(byte as char);
                    self.at += 1;
                    next = Next::Comma;
                    if open.is_empty() {
                        return Some(());
                    }
                }
                b',' if next == Next::Comma => {
                    self.out.push(',');
                    self.at += 1;
                    next = if open.last() == Some(&b'}') { Next::Name } else { Next::Value };
                }
                b':' if next == Next::Colon => {
                    self.out.push(':');
                    self.at += 1;
                    next = Next::Value;
                }
                b'{' | b'[' if next == Next::Value => {
                    if open.len() >= json::MAX_DEPTH {
                        return None;
                    }
                    let closing = if byte == b'{' { b'}' } else { b']' };
                    open.push(closing);
                    self.out.push(byte as char);
                    self.at += 1;
                    next = if byte == b'{' { Next::Name } else { Next::Value };
                }
                _ if matches!(next, Next::Name | Next::Value) => {
                    self.scalar(next, is_whole)?;
                    next = if next == Next::Name { Next::Colon } else { Next::Comma };
                }
                _ => return None,
            }
        }
    }

    /// The text is over and the model had come to its end: what is open is closed.
    fn close(&mut self, open: &mut Vec<u8>, next: Next) -> Option<()> {
        // A name without its value is no slip.
        let is_list = open.last() == Some(&b']');
        if next == Next::Colon || next == Next::Value && !is_list {
            return None;
        }
        self.drop_comma();
        while let Some(closing) = open.pop() {
            self.out.push(closing as char);
        }
        Some(())
    }

    fn drop_comma(&mut self) {
        if self.out.ends_with(',') {
            self.out.pop();
        }
    }

    /// Blanks and comments.
    fn skip_blank(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let skipped = rest.len() - rest.trim_start().len();
            self.at += skipped;
            let rest = &rest[skipped..];
            let comment = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else {
                return;
            };
            self.at += comment;
        }
    }

    fn scalar(&mut self, next: Next, is_whole: bool) -> Option<()> {
        let quote = self.text[self.at..].chars().next()?;
        let closing: &[char] = match quote {
            '"' => &['"'],
            '\'' => &['\''],
            '\u{201c}' | '\u{201d}' => &['\u{201c}', '\u{201d}'],
            '\u{2018}' | '\u{2019}' => &['\u{2018}', '\u{2019}'],
            _ => return self.bare(next),
        };
        self.quoted(quote, closing, next, is_whole)
    }

    /// A text in quotes of any kind. A quote that nothing of JSON follows stands inside the text.
    fn quoted(&mut self, quote: char, closing: &[char], next: Next, is_whole: bool) -> Option<()> {
        self.at += quote.len_utf8();
        self.out.push('"');
        while let Some(c) = self.text[self.at..].chars().next() {
            self.at += c.len_utf8();
            match c {
                '\\' => self.escape()?,
                c if closing.contains(&c) => {
                    if self.ends_text(next) {
                        self.out.push('"');
                        return Some(());
                    }
                    self.push_plain(c);
                }
                c => self.push_plain(c),
            }
        }
        // The end of all: only a value that came to its end may be closed here.
        if !is_whole || next == Next::Name {
            return None;
        }
        self.out.push('"');
        Some(())
    }

    fn push_plain(&mut self, c: char) {
        match c {
            '"' => self.out.push_str("\\\""),
            '\n' => self.out.push_str("\\n"),
            '\r' => self.out.push_str("\\r"),
            '\t' => self.out.push_str("\\t"),
            c if c.is_control() && (c as u32) < 0x20 => self.out.push_str(&format!("\\u{:04x}", c as u32)),
            c => self.out.push(c),
        }
    }

    /// Behind a backslash. What JSON does not know is taken as the character itself.
    fn escape(&mut self) -> Option<()> {
        let c = self.text[self.at..].chars().next()?;
        self.at += c.len_utf8();
        match c {
            '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => {
                self.out.push('\\');
                self.out.push(c);
            }
            'u' => {
                let digits = self.text.get(self.at..self.at + 4)?;
                if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return None;
                }
                self.out.push_str("\\u");
                self.out.push_str(digits);
                self.at += 4;
            }
            c => self.push_plain(c),
        }
        Some(())
    }

    /// Whether what follows is what stands behind a text of JSON. Each run of blanks is looked over once for the quote
    /// before it, so that this stays linear.
    fn ends_text(&self, next: Next) -> bool {
        match self.text[self.at..].trim_start().chars().next() {
            None => true,
            Some(c) if next == Next::Name => c == ':',
            Some(c) => matches!(c, ',' | '}' | ']'),
        }
    }

    /// A number, a word, or a name without quotes.
    fn bare(&mut self, next: Next) -> Option<()> {
        let rest = &self.text[self.at..];
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '+' | '.' | '$');
        let length = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        let word = &rest[..length];
        if word.is_empty() {
            return None;
        }
        self.at += length;
        if next == Next::Name {
            json::push_quoted(&mut self.out, word);
            return Some(());
        }
        let value = match word {
            "true" | "True" | "TRUE" => "true",
            "false" | "False" | "FALSE" => "false",
            "null" | "None" | "NULL" => "null",
            number if json::compact(number).is_ok() => number,
            _ => return None,
        };
        self.out.push_str(value);
        Some(())
    }
}
