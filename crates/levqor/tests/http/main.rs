//! The HTTP contract, through the real server on loopback: a real SQLite store, the real engine, raw TCP clients.
#![allow(clippy::unwrap_used)]

mod ai;
mod announced;
mod audit;
mod backups;
mod batch;
mod billing;
mod body;
mod browser;
mod client;
mod connect;
mod connections;
mod contract;
mod costs;
mod emails;
mod figures;
mod framing;
mod hostile;
mod idempotency;
mod jobs;
mod keys;
mod limits;
mod marks;
mod metering;
mod pages;
mod proxies;
mod rates;
mod rows;
mod server;
mod slow;
mod surface;
mod tls;
mod users;
mod walk;
