//! The one HTTP client of Levqor. Nothing else opens a connection to an address that came from a user.
//!
//! What it promises, and where:
//! - an address is called only if the policy permits it: the URL is judged before (`request`), and a name's addresses are
//!   judged where they are dialled (`dial`), so that no second look-up lies between check and use;
//! - every call ends: limits for the connection, the first byte and the whole, and a cap on the answer's size (`client`);
//! - nothing is followed, repeated, decompressed or sent through a proxy behind the caller's back;
//! - an error can be shown to a user as it is (`error`).
//!
//! Invariant: no clock is read here but the runtime's timers, and no setting but those handed to [`Client::new`].

mod client;
mod dial;
mod error;
mod request;
mod retry_after;
pub(crate) mod tls;

pub use client::{Client, Incoming, Response};
pub use error::{CallError, Phase};
pub use request::{Request, Timeouts};
pub use retry_after::retry_after_ms;
