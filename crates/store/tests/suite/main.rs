//! What every engine must do, told once: each test runs on SQLite and on PostgreSQL. Files mirror the nouns of the store.
//!
//! PostgreSQL is the one that `levqor-testkit-pg run -- cargo test -p levqor-store` starts; without one the tests fail.

#![allow(clippy::unwrap_used)]

#[macro_use]
mod world;

mod audit;
mod backup;
mod callback;
mod claim;
mod connections;
mod emails;
mod end;
mod figures;
mod fill;
mod frozen;
mod intake;
mod keys;
mod list;
mod money;
mod nodes;
mod payments;
mod prune;
mod rates;
mod record;
mod relocate;
mod retry;
mod schema;
mod sqlite_file;
mod upkeep;
mod users;
mod users_of_first_version;
mod workflow;
