//! An AI provider that costs nothing: it speaks the wire formats of OpenAI (chat completions and responses), Anthropic and
//! Gemini on loopback, fails when it is told to, and keeps a bill of its own.
//!
//! The bill is the point. It is computed from what was served, by arithmetic of its own, and knows nothing of Levqor: what
//! it says is what a provider would charge, whatever Levqor believes. It is also `levqor mock-ai`, for trying out budgets
//! without a provider's key.
//!
//! Reading order: `ask` (what came in), `reply` (what is said), `fault` (what goes wrong), `bill`, `wire/` (how each
//! vendor writes it), `server` (sockets).

mod ask;
mod bill;
mod control;
mod fault;
mod reply;
mod server;
mod wire;

pub use bill::{Bill, Entry, Rates};
pub use fault::{BadFault, Fault};
pub use reply::{Script, ToolCall};
pub use server::{MockAi, Settings};
