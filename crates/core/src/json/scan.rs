//! The one pass that validates: a loop over tokens with one bit of memory per open level, no recursion, no tree.

use super::{JsonError, MAX_DEPTH};

/// Validates `text` as one JSON value and gives it back without white space. Numbers and strings stay verbatim.
///
/// Refused beyond RFC 8259: more than [`MAX_DEPTH`] levels, numbers without a finite `f64`, escapes of lone surrogates.
pub fn compact(text: &str) -> Result<String, JsonError> {
    let mut scanner = Scanner { text, bytes: text.as_bytes(), pos: 0, depth: 0, objects: 0 };
    let mut out = String::with_capacity(text.len());
    // White space is what is left out, so what stands between two blanks is copied in one go.
    let mut run_from = 0;
    let mut expect = Expect::Value;
    loop {
        let blank_from = scanner.pos;
        scanner.skip_blank();
        if scanner.pos > blank_from {
            out.push_str(&text[run_from..blank_from]);
            run_from = scanner.pos;
        }
        let Some(byte) = scanner.peek() else { break };
        expect = scanner.token(expect, byte).map_err(|problem| located(text, scanner.pos, problem))?;
    }
    if expect != Expect::Nothing {
        let problem = if text.is_empty() { "the text is empty" } else { "the text ends too early" };
        return Err(located(text, scanner.pos, problem));
    }
    out.push_str(&text[run_from..]);
    Ok(out)
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    /// The value is complete.
    Nothing,
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pos: usize,
    depth: usize,
    /// One bit per open level, the innermost lowest: set for an object. Invariant: `depth` is at most 64.
    objects: u64,
}

const _: () = assert!(MAX_DEPTH <= u64::BITS as usize);

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    fn skip_blank(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.pos += 1;
        }
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// Consumes one token that starts with `byte`; on an error `pos` is where it is.
    fn token(&mut self, expect: Expect, byte: u8) -> Result<Expect, &'static str> {
        match (expect, byte) {
            (Expect::KeyOrEnd, b'}') => self.close(),
            (Expect::Key | Expect::KeyOrEnd, b'"') => {
                self.string()?;
                Ok(Expect::Colon)
            }
            (Expect::Colon, b':') => {
                self.pos += 1;
                Ok(Expect::Value)
            }
            (Expect::CommaOrEnd, b',') => {
                self.pos += 1;
                Ok(if self.in_object() { Expect::Key } else { Expect::Value })
            }
            (Expect::CommaOrEnd, b'}') if self.in_object() => self.close(),
            (Expect::CommaOrEnd, b']') if !self.in_object() => self.close(),
            (Expect::ValueOrEnd, b']') => self.close(),
            (Expect::Value | Expect::ValueOrEnd, byte) => self.value(byte),
            (Expect::Key | Expect::KeyOrEnd, _) => Err("expected a member name in double quotes"),
            (Expect::Colon, _) => Err("expected ':'"),
            (Expect::CommaOrEnd, _) if self.in_object() => Err("expected ',' or '}'"),
            (Expect::CommaOrEnd, _) => Err("expected ',' or ']'"),
            (Expect::Nothing, _) => Err("expected the end, there is more after the value"),
        }
    }

    fn value(&mut self, byte: u8) -> Result<Expect, &'static str> {
        match byte {
            b'{' => return self.open(true),
            b'[' => return self.open(false),
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            b'N' | b'I' => return Err("NaN and Infinity are not JSON"),
            _ => return Err("expected a value"),
        }
        Ok(self.after_value())
    }

    fn after_value(&self) -> Expect {
        if self.depth == 0 { Expect::Nothing } else { Expect::CommaOrEnd }
    }

    fn open(&mut self, object: bool) -> Result<Expect, &'static str> {
        if self.depth == MAX_DEPTH {
            return Err("nested deeper than 64 levels");
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(object);
        self.pos += 1;
        Ok(if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd })
    }

    fn close(&mut self) -> Result<Expect, &'static str> {
        self.depth -= 1;
        self.objects >>= 1;
        self.pos += 1;
        Ok(self.after_value())
    }

    fn word(&mut self, word: &'static str) -> Result<(), &'static str> {
        if !self.bytes[self.pos..].starts_with(word.as_bytes()) {
            return Err("expected a value");
        }
        self.pos += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), &'static str> {
        let from = self.pos;
        if self.peek() == Some(b'-') {
            self.pos += 1;
        }
        match (self.peek(), self.bytes.get(self.pos + 1)) {
            (Some(b'0'), Some(b'0'..=b'9')) => return Err("a number must not start with 0"),
            (Some(b'I'), _) => return Err("NaN and Infinity are not JSON"),
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.pos += 1;
            self.digits()?;
        }
        let scaled = matches!(self.peek(), Some(b'e' | b'E'));
        if scaled {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.pos += 1;
            }
            self.digits()?;
        }
        // Without an exponent it takes 309 digits to leave the range of f64.
        if (scaled || self.pos - from > 300) && !is_finite(&self.text[from..self.pos]) {
            self.pos = from;
            return Err("the number is too large");
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), &'static str> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err("expected a digit");
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.pos += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), &'static str> {
        self.pos += 1;
        loop {
            while let Some(byte) = self.peek()
                && !ENDS_RUN[usize::from(byte)]
            {
                self.pos += 1;
            }
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err("a control character must be escaped in a string"),
                None => return Err("the text ends inside a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), &'static str> {
        match self.bytes.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.pos += 2;
                return Ok(());
            }
            Some(b'u') => {}
            Some(_) => return Err("unknown escape in a string"),
            None => {
                self.pos = self.bytes.len();
                return Err("the text ends inside a string");
            }
        }
        match self.unit(self.pos)? {
            0xdc00..=0xdfff => Err("lone surrogate in a string"),
            0xd800..=0xdbff => match self.bytes.get(self.pos + 6..self.pos + 8) {
                Some(b"\\u") if (0xdc00..=0xdfff).contains(&self.unit(self.pos + 6)?) => {
                    self.pos += 12;
                    Ok(())
                }
                _ => Err("lone surrogate in a string"),
            },
            _ => {
                self.pos += 6;
                Ok(())
            }
        }
    }

    /// The code unit of the `\uXXXX` that stands at `at`.
    fn unit(&self, at: usize) -> Result<u32, &'static str> {
        let Some(digits) = self.bytes.get(at + 2..at + 6) else { return Err("\\u needs four hex digits") };
        digits.iter().try_fold(0, |unit, &digit| match char::from(digit).to_digit(16) {
            Some(value) => Ok(unit << 4 | value),
            None => Err("\\u needs four hex digits"),
        })
    }
}

/// The bytes that need a look inside a string: the quote, the backslash and control characters.
const ENDS_RUN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

fn is_finite(number: &str) -> bool {
    number.parse::<f64>().is_ok_and(f64::is_finite)
}

fn located(text: &str, pos: usize, problem: &'static str) -> JsonError {
    let before = &text.as_bytes()[..pos];
    let line_from = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    // Continuation bytes are no characters of their own.
    let is_start = |byte: &&u8| **byte & 0xc0 != 0x80;
    JsonError {
        line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
        column: before[line_from..].iter().filter(is_start).count() + 1,
        problem,
    }
}
