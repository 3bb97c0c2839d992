//! What Levqor means: states, plans, validation, templates, signatures. Pure functions and values.
//!
//! Invariant: this crate does no I/O, reads no clock, no environment and no randomness, and knows no table and no URL path
//! of ours. Everything here can be tested with literal values.

pub mod clock;
pub mod id;
pub mod job;
pub mod state;
