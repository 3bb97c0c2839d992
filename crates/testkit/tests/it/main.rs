//! The kit's own tests: a test helper that lies makes every other test worthless.

#![allow(clippy::unwrap_used)]

mod peers;
mod runner;
