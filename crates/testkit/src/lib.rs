//! Real parts for tests: a PostgreSQL of one's own, a receiver of callbacks, a server that answers whatever a test dictates.
//!
//! | Want | Use |
//! | --- | --- |
//! | a fresh PostgreSQL database | [`postgres::postgres_url`], under `levqor-testkit-pg run -- <command>` |
//! | to see which callbacks arrived, and answer them by script | [`receiver::Receiver`] |
//! | to look at a page as people do | [`browser::Browser`] |
//! | a Python with packages | [`python::with_packages`] |
//! | an S3-compatible store | [`bucket::FakeBucket`] |
//! | a peer that cuts, hangs or talks garbage | [`script::Script`] |
//! | an SMTP server that takes mails, or refuses them as told | [`smtp::SmtpServer`] |
//! | a server that hangs with its connections open | [`freezer::Freezer`] |
//! | to know that no secret of a test comes out | [`marks`] |
//! | a folder that goes away | [`temp::TempDir`] |
//! | to wait for a condition | [`wait::wait_until`] |
//!
//! Invariant: no crate depends on this one outside its tests, and nothing here skips a test: what is missing is a panic
//! that says what to do.

pub mod browser;
pub mod bucket;
pub mod debian;
pub mod freezer;
pub mod marks;
pub mod postgres;
pub mod python;
pub mod receiver;
pub mod script;
pub mod smtp;
pub mod temp;
pub mod wait;

pub use browser::{Browser, View};
pub use bucket::FakeBucket;
pub use freezer::Freezer;
pub use postgres::{postgres_rows, postgres_url};
pub use receiver::{Answer, Received, Receiver};
pub use script::{Act, Script};
pub use smtp::{Say, SmtpServer};
pub use temp::TempDir;
pub use wait::wait_until;
