//! JSON as text: bodies, payloads and results are checked once and then kept, cut and handed on as they were written.
//!
//! Numbers stay verbatim (`12345678901234567890123`, `1.0`, `1e2`), because no tree of values is built. `compact` is the
//! gate: it refuses what RFC 8259 refuses, and what we could not answer with later (too deep, not finite, lone
//! surrogates). The functions that read parts expect text that passed it; given other text they answer something
//! harmless and never panic. Nothing here recurses on depth that a caller chose.

mod access;
mod scan;
mod write;

pub use access::{Elements, Entries, PathSegment, decode, element, elements, entries, lookup, members};
pub use scan::compact;
pub use write::{push_quoted, quote, sorted};

/// How many objects and arrays may stand inside each other.
pub const MAX_DEPTH: usize = 64;

/// The text is not JSON that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid JSON at line {line} column {column}: {problem}")]
pub struct JsonError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    pub problem: &'static str,
}

/// A body is not text that could hold JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("the body must be UTF-8, this looks like UTF-16 or UTF-32")]
    Wide,
    #[error("the body must be UTF-8, the byte at offset {offset} is not")]
    NotUtf8 { offset: usize },
}

/// A request body as text. A UTF-8 byte order mark is skipped; other encodings are refused.
pub fn text_from_body(body: &[u8]) -> Result<&str, TextError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // JSON starts with two ASCII characters or is one character long, so an early zero byte means a wide encoding.
    let wide = matches!(body, [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, ..] | [_, 0, ..]);
    if wide {
        return Err(TextError::Wide);
    }
    std::str::from_utf8(body).map_err(|error| TextError::NotUtf8 { offset: error.valid_up_to() })
}

#[cfg(test)]
mod tests;
