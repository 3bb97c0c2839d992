//! What Levqor means: states, plans, validation, templates, signatures. Pure functions and values.
//!
//! Invariant: this crate does no I/O, reads no clock, no environment and no randomness, and knows no table and no URL path
//! of ours but the one that callbacks name. Everything here can be tested with literal values.

pub mod address;
pub mod answer;
pub mod audit;
pub mod backup;
pub mod budget;
pub mod callback;
pub mod checkout;
pub mod clock;
pub mod connection;
pub mod costs;
pub mod csv;
pub mod currency;
pub mod duration;
pub mod expression;
pub mod fields;
pub mod gateway;
pub mod id;
pub mod intake;
pub mod job;
pub mod json;
pub mod key;
pub mod mail;
pub mod money;
pub mod outcome;
pub mod payment;
pub mod plan;
pub mod rate;
pub mod redact;
pub mod retry;
pub mod schema;
pub mod scope;
pub mod seal;
pub mod signature;
pub mod state;
pub mod stripe;
pub mod talk;
pub mod template;
pub mod user;
pub mod workflow;
