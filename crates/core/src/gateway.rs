//! What callers of the gateway send, vetted before it may cost anything. Pure.
//!
//! A body passes only if every member of it is known, and known to cost no more than its bound says: what nobody here can
//! bound is refused by name. What passes goes out as it came, to the letter, but for what we set ourselves: the model's name,
//! the limit on the answer, the lane, and that a stream tells its usage.
//!
//! Reading order: `fields` (objects with names in errors), `measure` (what adds to the bound), `chat` and `messages` (the two
//! wires), `complete` (our own), `model` (which model a name means), `tags`, `betas` (which of Anthropic's experiments may be
//! switched on).

mod betas;
mod chat;
mod complete;
mod fields;
mod measure;
mod messages;
mod model;
mod tags;

use crate::json;
use crate::money::{Shape, Terms, Wire, Wish};

pub use betas::{ALLOWED_BETAS, vet_betas};
pub use chat::vet_chat;
pub use complete::{Complete, Turn, parse_complete};
pub use messages::vet_messages;
pub use model::{Found, UnknownModel, find_model, with_provider};
pub use tags::parse_tags;

/// How long an answer is wanted where the caller left that open. Thoughts count too.
pub const USUAL_OUTPUT_TOKENS: u64 = 16_384;

/// What is wrong with a body, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// As in `messages[2].content[0].type`; empty for the body as a whole.
    pub at: String,
    pub message: String,
}

/// A body that may be sent once its bound is held.
#[derive(Clone, Debug, PartialEq)]
pub struct Vetted {
    /// How the caller speaks: chat completions or Anthropic's messages.
    pub wire: Wire,
    /// As the caller named it.
    pub model: String,
    pub stream: bool,
    pub shape: Shape,
    pub terms: Terms,
    pub wish: Wish,
    /// Who the caller says it is for.
    pub user: Option<String>,
    /// The caller wants the usage in the stream; we want it in any case.
    pub wants_usage: bool,
    text: String,
}

/// Whom a body is written for.
#[derive(Clone, Copy, Debug)]
pub struct To<'a> {
    /// The provider's own name of the model.
    pub model: &'a str,
    /// What it calls the limit on the answer.
    pub limit_field: &'a str,
    /// It knows lanes, so that one can be pinned.
    pub has_tiers: bool,
}

impl Vetted {
    /// The body as it came, compact.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The body to send, with this limit on each answer.
    pub fn body(&self, to: &To<'_>, output_tokens: u64) -> String {
        match self.wire {
            Wire::Anthropic => messages::body(self, to, output_tokens),
            _ => chat::body(self, to, output_tokens),
        }
    }

    /// All members but `ours`, as they came, in their order, behind those that we set. What is null counted as absent when it
    /// was vetted, so it is absent.
    fn with(&self, set: &[(&str, String)], ours: &[&str]) -> String {
        let mut out = String::with_capacity(self.text.len() + 128);
        let mut push = |name: &str, value: &str| {
            out.push(if out.is_empty() { '{' } else { ',' });
            json::push_quoted(&mut out, name);
            out.push(':');
            out.push_str(value);
        };
        for (name, value) in set {
            push(name, value);
        }
        for (name, value) in json::members(&self.text).unwrap_or_default() {
            if !ours.contains(&name.as_ref()) && value != "null" {
                push(&name, value);
            }
        }
        out.push('}');
        out
    }
}

#[cfg(test)]
mod tests;
