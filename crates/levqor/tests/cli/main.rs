//! The program as a person or a script uses it: what it prints, where, and with which exit code.

#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

mod ai;
mod backup;
mod budgets;
mod canary;
mod client;
mod connections;
mod deployment;
mod email;
mod first_version;
mod keys;
mod program;
mod relocate;
mod serve;
mod smtp;
mod validate;
