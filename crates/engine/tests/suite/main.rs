//! The engine on both databases: the walk of a job with a crash after each commit, steps, fencing, callbacks, stops, outages.
//!
//! Every test is a function of a [`support::Database`]; `each_engine!` runs it on SQLite and on PostgreSQL. A node lives in
//! a runtime of its own, so that a test can take it away as `kill -9` would.

#![allow(clippy::unwrap_used)]

#[macro_use]
mod support;

mod ai;
mod ai_steps;
mod alerts;
mod backups;
mod burst;
mod callbacks;
mod connect;
mod costs;
mod definitions;
mod emails;
mod fencing;
mod intake;
mod keys;
mod lost;
mod outage;
mod poison;
mod priority;
mod receivers;
mod retry;
mod secrets;
mod steps;
mod stop;
mod timers;
mod walk;
