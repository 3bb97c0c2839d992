//! Levqor's binary as a library: configuration, logging, the HTTP API. `main.rs` only starts what stands here.
//!
//! Invariant: no rule lives here that a second door (console, command line, schedules) would need; those are in the engine
//! and in core. Only `config.rs` reads the environment.

pub mod config;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod sealing;
