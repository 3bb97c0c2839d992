//! Finds the end of an expression and the paths in it. Knows just enough of the language for that: strings, brackets,
//! names and where a closure's parameters stand.

use super::{ExpressionError, MAX_EXPRESSION_BYTES};
use crate::scope::{Path, ROOTS, Root};
use crate::workflow::shorten;

/// The function that stands for a path in the code. Names that begin like it are refused in expressions.
pub(super) const FETCH: &str = "__path";
const RESERVED: &str = "__";
/// More values than these times the nesting cannot be alive at once, which bounds memory.
const MAX_ARGUMENTS: usize = 5;
const MAX_TEMPLATE_STRINGS: usize = 8;

/// Words that end no operand: after them a `|` begins a closure.
const OPERATOR_WORDS: [&str; 5] = ["in", "if", "else", "switch", "return"];
/// Ways to call a function by a computed name, which nothing here needs.
const REFUSED_WORDS: [&str; 4] = ["eval", "Fn", "curry", "this"];

/// An expression, cut out of its surroundings.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub source: String,
    pub code: String,
    pub paths: Vec<Path>,
    pub is_plain_path: bool,
}

/// Reads `text`, which begins right after `{{`, up to the `}}` that closes it. Gives the expression and what follows.
pub(crate) fn scan(text: &str) -> Result<(Scanned, &str), ExpressionError> {
    let mut scanner = Scanner { text, pos: 0, code: String::new(), paths: Vec::new(), nested: 0 };
    scanner.run(End::Braces)?;
    let source = text[..scanner.pos].trim().to_owned();
    let rest = &text[scanner.pos + 2..];
    if source.is_empty() {
        return Err(error("there is no expression between {{ and }}"));
    }
    let code = scanner.code.trim().to_owned();
    let is_plain_path = scanner.paths.len() == 1 && code == format!("{FETCH}(0)");
    Ok((Scanned { source, code, paths: scanner.paths, is_plain_path }, rest))
}

pub(super) fn error(message: impl Into<String>) -> ExpressionError {
    ExpressionError(message.into())
}

/// What ends a run of the scanner.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// `}}`, of the whole expression.
    Braces,
    /// `}`, of `${…}` in a template string.
    Brace,
}

pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) pos: usize,
    pub(super) code: String,
    pub(super) paths: Vec<Path>,
    nested: usize,
}

/// What the scanner remembers of the tokens before.
#[derive(Default)]
struct Before {
    /// The last token ends an operand.
    operand: bool,
    /// The last token is `.` or `?.`.
    dot: bool,
    /// The last token is `{` or `,`.
    separator: bool,
    /// Open brackets, with the commas seen in each.
    open: Vec<(u8, usize)>,
}

impl<'a> Scanner<'a> {
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.pos..]
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.pos + ahead).copied().unwrap_or(0)
    }

    fn copy(&mut self, bytes: usize) {
        self.code.push_str(&self.text[self.pos..self.pos + bytes]);
        self.pos += bytes;
    }

    /// Runs to the end marker, which stays unread.
    fn run(&mut self, end: End) -> Result<(), ExpressionError> {
        let mut before = Before::default();
        loop {
            if self.pos > MAX_EXPRESSION_BYTES {
                return Err(error(format!("an expression has at most {MAX_EXPRESSION_BYTES} bytes")));
            }
            let Some(first) = self.rest().chars().next() else {
                return Err(error(match end {
                    End::Braces => "the expression is not closed by }}",
                    End::Brace => "a ${ in a template string is not closed by }",
                }));
            };
            if first == '}' && before.open.is_empty() {
                if end == End::Brace || self.byte(1) == b'}' {
                    return Ok(());
                }
                return Err(error("a } stands here without its {"));
            }
            if first.is_whitespace() {
                self.copy(first.len_utf8());
            } else {
                self.token(first, &mut before)?;
            }
        }
    }

    fn token(&mut self, first: char, before: &mut Before) -> Result<(), ExpressionError> {
        let was_dot = std::mem::take(&mut before.dot);
        let was_separator = std::mem::take(&mut before.separator);
        match first {
            '"' | '\'' => {
                self.string(first as u8)?;
                before.operand = true;
            }
            '`' => {
                self.template_string()?;
                before.operand = true;
            }
            '0'..='9' => {
                self.number();
                before.operand = true;
            }
            'a'..='z' | 'A'..='Z' | '_' => self.name(was_dot, was_separator, before)?,
            '(' | '[' | '{' => {
                before.open.push((first as u8, 0));
                before.operand = false;
                before.separator = first == '{';
                self.copy(1);
            }
            ')' | ']' | '}' => {
                let opened = before.open.pop().map(|(bracket, _)| bracket);
                let expected = match first {
                    ')' => b'(',
                    ']' => b'[',
                    _ => b'{',
                };
                if opened != Some(expected) {
                    return Err(error(format!("a {first} stands here without its opening bracket")));
                }
                before.operand = true;
                self.copy(1);
            }
            ',' => {
                if let Some((bracket, commas)) = before.open.last_mut() {
                    *commas += 1;
                    if *bracket == b'(' && *commas >= MAX_ARGUMENTS {
                        return Err(error(format!("a function takes at most {MAX_ARGUMENTS} arguments")));
                    }
                }
                before.operand = false;
                before.separator = true;
                self.copy(1);
            }
            '.' => {
                let range = self.byte(1) == b'.';
                before.dot = !range;
                before.operand = false;
                self.copy(if range { 2 } else { 1 });
            }
            '?' => {
                before.dot = self.byte(1) == b'.';
                before.operand = false;
                self.copy(if self.byte(1) == b'.' { 2 } else { 1 });
            }
            '|' => self.bar(before)?,
            '#' if self.byte(1) == b'{' => {
                before.operand = false;
                self.copy(1);
            }
            '#' => return Err(error("a # stands only before {, for an object: #{a: 1}")),
            '/' if matches!(self.byte(1), b'/' | b'*') => {
                return Err(error("expressions have no comments"));
            }
            other => {
                before.operand = false;
                self.copy(other.len_utf8());
            }
        }
        Ok(())
    }

    fn string(&mut self, quote: u8) -> Result<(), ExpressionError> {
        let bytes = self.rest().as_bytes();
        let mut at = 1;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'\\' => at += 2,
                _ if byte == quote => {
                    self.copy(at + 1);
                    return Ok(());
                }
                _ => at += 1,
            }
        }
        Err(error("a text in the expression is not closed"))
    }

    fn template_string(&mut self) -> Result<(), ExpressionError> {
        self.nested += 1;
        if self.nested > MAX_TEMPLATE_STRINGS {
            return Err(error(format!(
                "an expression has at most {MAX_TEMPLATE_STRINGS} `template strings`"
            )));
        }
        self.copy(1);
        loop {
            match (self.byte(0), self.byte(1)) {
                (b'`', b'`') => self.copy(2),
                (b'`', _) => {
                    self.copy(1);
                    return Ok(());
                }
                (b'$', b'{') => {
                    self.copy(2);
                    self.run(End::Brace)?;
                    self.copy(1);
                }
                _ => match self.rest().chars().next() {
                    Some(other) => self.copy(other.len_utf8()),
                    None => return Err(error("a `template string` in the expression is not closed")),
                },
            }
        }
    }

    fn number(&mut self) {
        loop {
            let exponent_sign = matches!(self.byte(0), b'+' | b'-')
                && self.code.ends_with(['e', 'E'])
                && !self.code.contains("0x");
            let point = self.byte(0) == b'.' && self.byte(1).is_ascii_digit();
            if !(self.byte(0).is_ascii_alphanumeric() || self.byte(0) == b'_' || exponent_sign || point) {
                return;
            }
            self.copy(1);
        }
    }

    /// `||`, `|` or the parameters of a closure.
    fn bar(&mut self, before: &mut Before) -> Result<(), ExpressionError> {
        let double = self.byte(1) == b'|';
        if before.operand || double {
            self.copy(if double { 2 } else { 1 });
        } else {
            let Some(length) = self.rest()[1..].find('|') else {
                return Err(error("the parameters of a closure are not closed by |"));
            };
            for parameter in self.rest()[1..=length].split(',') {
                let name = parameter.trim();
                if ROOTS.contains(&name) || name.starts_with(RESERVED) || name.contains(['"', '`', '{', '\''])
                {
                    return Err(error(format!("`{}` cannot be a closure's parameter", shorten(name, 40))));
                }
            }
            self.copy(length + 2);
        }
        before.operand = false;
        Ok(())
    }

    fn name(
        &mut self,
        was_dot: bool,
        was_separator: bool,
        before: &mut Before,
    ) -> Result<(), ExpressionError> {
        let length = name_length(self.rest());
        let name = &self.rest()[..length];
        if name.starts_with(RESERVED) || (!was_dot && REFUSED_WORDS.contains(&name)) {
            return Err(error(format!("`{}` is not available in expressions", shorten(name, 40))));
        }
        let is_key = was_separator
            && matches!(before.open.last(), Some((b'{', _)))
            && self.rest()[length..].trim_start().starts_with(':');
        match Root::parse(name) {
            Some(root) if !was_dot && !is_key => {
                self.pos += length;
                self.path(root)?;
                before.operand = true;
            }
            _ => {
                before.operand = !OPERATOR_WORDS.contains(&name);
                self.copy(length);
            }
        }
        Ok(())
    }
}

pub(super) fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
}
