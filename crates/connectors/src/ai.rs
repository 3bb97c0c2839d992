//! Calls to AI models, over the wire formats of OpenAI (chat completions and responses), Anthropic and Gemini.
//!
//! A call goes out with a [`Permit`](levqor_core::money::Permit) or not at all, is always read as a stream where the wire
//! allows it, and ends as an `Ending`: what the budget code needs to know to charge it. Nothing here retries, prices or decides.
//!
//! - `provider`: who is called, where, and how the key travels;
//! - `ask`: what is asked, in words of no vendor; `native`: whether a schema can be asked for natively;
//! - `chat`, `responses`, `anthropic`, `gemini`: writing an ask and reading an answer in one vendor's words;
//! - `sse`: server-sent events; `send`: the exchange itself;
//! - `hear`, `say`: the same the other way round, for callers that speak a vendor's wire to us.

mod anthropic;
mod ask;
mod chat;
mod gather;
mod gemini;
mod hear;
mod native;
mod provider;
mod responses;
mod say;
mod send;
mod sse;

pub use ask::{Ask, Message, Output, Part, Role, Tool, ToolCall};
pub use gather::{Finish, Gather};
pub use hear::{Untold, hear};
pub use native::fits_natively;
pub use provider::{Dialect, Provider, client};
pub use say::{Speaker, Title, say};
pub use send::{Answer, Exchange, Limits, Outgoing, body_for, collect, send};
pub use sse::Event;
