//! Every call to the outside: callbacks, the http step, and whatever speaks to a vendor.
//!
//! | Want | Look in |
//! | --- | --- |
//! | the one guarded HTTP client, its errors and limits | [`net`] |
//!
//! Invariant: this crate knows no job, no user and no store, and never repeats a call: retries are the engine's business.

pub mod net;
