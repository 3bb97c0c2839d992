//! Calls to AI models under budgets, against a provider that keeps a bill of its own.

mod ceiling;
mod drops;
mod periods;
mod waits;
pub mod world;
