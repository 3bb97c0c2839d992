//! Every call to the outside: callbacks, the http step, and whatever speaks to a vendor.
//!
//! | Want | Look in |
//! | --- | --- |
//! | the one guarded HTTP client, its errors and limits | [`net`] |
//! | one action at a vendor, from a request's text to its result | [`connect`] |
//! | credentials, given or stored | `credentials.rs`, `fresh.rs` |
//! | which vendors, actions and parameters there are | [`catalogue`] |
//! | how a vendor's answer becomes a result or a failure | `call.rs`, `failure.rs` |
//! | calls to AI models, and what they say was used | [`ai`] |
//! | what providers of AI models say a day cost | `cost_reports.rs` |
//! | copies of backups in a bucket | [`bucket`] |
//! | checkouts, the customer portal and meter events of Stripe | [`stripe`] |
//! | what each vendor is sent | `multipart.rs`, `mail.rs`, `slack.rs`, `telegram.rs`, `notion.rs`, `gmail.rs` |
//! | how a mail of our own is sent | [`email`], [`resend`], [`smtp`] |
//!
//! Invariant: this crate knows no job, no user and no store, and never repeats a call that may have acted: retries are the
//! engine's business.

pub mod ai;
pub mod bucket;
pub mod catalogue;
pub mod connect;
pub mod email;
pub mod net;
pub mod resend;
pub mod smtp;
pub mod stripe;

mod ask;
mod call;
mod cost_reports;
mod credentials;
mod failure;
mod fresh;
mod gmail;
mod mail;
mod multipart;
mod notion;
mod slack;
mod telegram;

pub use ask::{Ask, Source};
pub use connect::{Bases, Connectors, Error, LIMIT_MS, Terms};
pub use cost_reports::CostReport;
pub use credentials::{Credentials, ai_key_to_stored, read_ai_key};
pub use failure::{Again, Failure};
pub use stripe::{Meter, Metered};
