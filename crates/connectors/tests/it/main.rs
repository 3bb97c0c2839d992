//! The guarded client against real servers on loopback.

#![allow(clippy::unwrap_used)]

mod ai;
mod answers;
mod bucket;
mod connect;
mod gmail;
mod guard;
mod hostile;
mod notion;
mod requests;
mod resend;
mod slack;
mod smtp;
mod stripe;
mod telegram;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use levqor_connectors::net::{Client, Request, Timeouts};
use levqor_core::address::OutboundPolicy;

/// How long a test waits for what must happen.
const LIMIT: Duration = Duration::from_secs(20);

/// A client that may call the networks of `allow`.
fn client(allow: &str) -> Client {
    levqor_testkit::marks::listen();
    Client::new(OutboundPolicy::parse(allow).unwrap(), HeaderValue::from_static("levqor-test/1"))
}

/// A client for the servers of these tests.
fn local() -> Client {
    client("127.0.0.0/8, ::1")
}

/// A GET with generous limits.
fn get(url: impl Into<String>) -> Request {
    Request {
        method: Method::GET,
        url: url.into(),
        headers: Vec::new(),
        body: Bytes::new(),
        timeouts: Timeouts::within(20_000),
        max_response_bytes: 1 << 20,
    }
}
