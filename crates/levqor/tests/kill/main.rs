//! Kills the real program under load, again and again, and looks for a promise that broke: every acknowledged job is finished
//! exactly once, every callback arrived as one event, nothing that was kept by key came twice.
//!
//! Black box: `levqor serve` as a child process, spoken to over HTTP alone. `load.rs` submits, `sqlite.rs` and `postgres.rs`
//! kill, `ledger.rs` knows what was promised, `audit.rs` compares. A failure prints the seed; `LEVQOR_KILL_SEED=<seed>`
//! repeats the same choices (not the same timing). `budgets.rs` does the same to money.

#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

mod audit;
mod budgets;
mod chance;
mod client;
mod clients;
mod detail;
mod findings;
#[cfg(target_os = "linux")] // The limit on file sizes is moved from outside, which only Linux allows.
mod full;
mod ledger;
mod load;
mod postgres;
mod recorder;
mod recovery;
mod server;
mod sqlite;
mod stop;
mod workflows;
