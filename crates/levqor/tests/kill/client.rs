//! Calls to the servers under test, and which of them are alive.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use levqor_connectors::net::{CallError, Client, Request, Timeouts};
use levqor_core::address::OutboundPolicy;
use serde_json::Value;
use tokio::sync::watch;

use crate::chance::Chance;

pub const KEY: &str = "kill-test";

/// Longer than any answer may take, a database in trouble included. A server that is killed breaks the connection, so a call
/// that meets this limit has met one that hangs.
const PATIENCE_MS: u64 = 40_000;

/// An answer that came whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{} with a body that is no JSON ({error}): {}", self.status, self.text()),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request, which can be sent again as it is.
#[derive(Clone)]
pub struct Call {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Call {
    fn new(method: Method, path: &str, kind: Option<&str>, body: String) -> Call {
        let mut headers = vec![("x-api-key".to_owned(), KEY.to_owned())];
        headers.extend(kind.map(|kind| ("content-type".to_owned(), kind.to_owned())));
        Call { method, path: path.to_owned(), headers, body: body.into() }
    }

    pub fn get(path: &str) -> Call {
        Call::new(Method::GET, path, None, String::new())
    }

    pub fn intake(body: &Value) -> Call {
        Call::new(Method::POST, "/api/v1/intake", Some("application/json"), body.to_string())
    }

    pub fn batch(lines: &[Value]) -> Call {
        let body = lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        Call::new(Method::POST, "/api/v1/intake/batch", Some("application/x-ndjson"), body)
    }

    pub fn define(name: &str, yaml: String) -> Call {
        Call::new(Method::PUT, &format!("/api/v1/workflows/{name}"), Some("application/yaml"), yaml)
    }

    /// Anything in JSON, sent with another key than the usual one.
    pub fn post(path: &str, api_key: &str, body: &Value) -> Call {
        let mut call = Call::new(Method::POST, path, Some("application/json"), body.to_string());
        call.headers[0].1 = api_key.to_owned();
        call
    }

    pub fn key(mut self, key: &str) -> Call {
        self.headers.push(("idempotency-key".to_owned(), key.to_owned()));
        self
    }
}

/// One client with its own kept connections, as one program of a user has it.
#[derive(Clone)]
pub struct Caller(Client);

impl Caller {
    pub fn new() -> Caller {
        let policy = OutboundPolicy::parse("127.0.0.0/8").unwrap();
        Caller(Client::new(policy, HeaderValue::from_static("levqor-kill-test")))
    }

    /// Sends once. An error: no whole answer came, and nobody knows what became of the request.
    pub async fn send(&self, base: &str, call: &Call) -> Result<Answer, CallError> {
        let request = Request {
            method: call.method.clone(),
            url: format!("{base}{}", call.path),
            headers: call.headers.clone(),
            body: call.body.clone(),
            timeouts: Timeouts::within(PATIENCE_MS),
            max_response_bytes: 64 << 20,
        };
        let response = self.0.send(request).await?;
        Ok(Answer { status: response.status.as_u16(), headers: response.headers, body: response.body })
    }

    /// Gets what must be there.
    pub async fn get(&self, base: &str, path: &str) -> Answer {
        match self.send(base, &Call::get(path)).await {
            Ok(answer) => answer,
            Err(error) => panic!("GET {path} got no answer: {error}"),
        }
    }
}

/// Where the servers listen; nothing in the place of a dead one.
#[derive(Clone)]
pub struct Nodes(watch::Sender<Vec<Option<String>>>);

impl Nodes {
    pub fn new(count: usize) -> Nodes {
        Nodes(watch::Sender::new(vec![None; count]))
    }

    pub fn set(&self, node: usize, base: Option<String>) {
        self.0.send_modify(|nodes| nodes[node] = base);
    }

    /// One that is alive; waits while there is none.
    pub async fn pick(&self, chance: &mut Chance) -> String {
        let mut watched = self.0.subscribe();
        let limit = Duration::from_secs(60);
        let nodes =
            tokio::time::timeout(limit, watched.wait_for(|nodes| nodes.iter().any(Option::is_some))).await;
        let nodes = nodes.expect("a server comes back within a minute").expect("the sender is ours");
        let alive: Vec<_> = nodes.iter().flatten().collect();
        alive[chance.below(alive.len() as u64) as usize].clone()
    }
}
