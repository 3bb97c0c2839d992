//! The other side: answers the steps' calls, takes the callbacks, and notes both.
//!
//! It is fast and lives in the test, so it never dies with a server. Signatures are verified on arrival, by the published
//! library, because that one looks at the clock.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use standardwebhooks::Webhook;
use tokio::task::JoinHandle;

use crate::chance::Chance;

/// What callbacks are signed with.
pub const SECRET: &str = "whsec_a2lsbC10ZXN0LWtpbGwtdGVzdC1raWxsLXRlc3Qta2lsbA==";

/// A callback as it arrived.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub webhook_id: String,
    pub body: Bytes,
    /// Why the signature is not believed.
    pub doubt: Option<String>,
}

#[derive(Default)]
struct Notes {
    /// By token.
    deliveries: HashMap<String, Vec<Delivery>>,
    /// By token and step: the idempotency key of each call.
    calls: HashMap<(String, String), Vec<String>>,
}

struct Shared {
    notes: Mutex<Notes>,
    chance: Mutex<Chance>,
    webhook: Webhook,
}

pub struct Recorder {
    pub base: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Recorder {
    pub async fn start(chance: Chance) -> Recorder {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let webhook = Webhook::new(SECRET).unwrap();
        let shared = Arc::new(Shared { notes: Mutex::default(), chance: Mutex::new(chance), webhook });
        let app = Router::new()
            .route("/callback/{token}", post(callback))
            .route("/step/{token}/{step}", post(step))
            .route("/flaky/{token}/{step}", post(flaky))
            .route("/slow/{token}/{step}", post(slow))
            .with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Recorder { base, shared, server }
    }

    pub fn deliveries(&self) -> HashMap<String, Vec<Delivery>> {
        self.shared.notes().deliveries.clone()
    }

    pub fn calls(&self) -> HashMap<(String, String), Vec<String>> {
        self.shared.notes().calls.clone()
    }

    /// How often this step of this job was called.
    pub fn calls_of(&self, token: &str, step: &str) -> usize {
        self.shared.notes().calls.get(&(token.to_owned(), step.to_owned())).map_or(0, Vec::len)
    }

    /// Steps whose calls did not all carry one key of their own.
    pub fn broken_keys(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut owners: HashMap<String, (String, String)> = HashMap::new();
        for (step, keys) in self.calls() {
            let distinct: HashSet<_> = keys.iter().collect();
            if distinct.len() != 1 || keys[0].is_empty() {
                broken.push(format!(
                    "the calls of {step:?} carried the idempotency keys {distinct:?}, not one"
                ));
            }
            if let Some(other) = owners.insert(keys[0].clone(), step.clone()) {
                broken.push(format!("{step:?} and {other:?} carried the same idempotency key {}", keys[0]));
            }
        }
        broken
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chance(&self) -> MutexGuard<'_, Chance> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers are not immediate anywhere: kills must find calls under way.
    async fn dawdle(&self, most_ms: u64) {
        let pause_ms = self.chance().below(most_ms);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }

    /// Notes a call and says which one of its step it is, from 1.
    fn called(&self, token: &str, step: &str, headers: &HeaderMap) -> usize {
        let mut notes = self.notes();
        let calls = notes.calls.entry((token.to_owned(), step.to_owned())).or_default();
        calls.push(text(headers, "idempotency-key"));
        calls.len()
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn seen(token: &str, step: &str) -> Response {
    let body = json!({"seen": format!("{token}/{step}")}).to_string();
    ([("content-type", "application/json")], body).into_response()
}

async fn step(
    State(shared): State<Arc<Shared>>,
    Path((token, step)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    shared.called(&token, &step, &headers);
    shared.dawdle(40).await;
    seen(&token, &step)
}

/// The first call of each job is refused.
async fn flaky(
    State(shared): State<Arc<Shared>>,
    Path((token, step)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let call = shared.called(&token, &step, &headers);
    shared.dawdle(20).await;
    if call == 1 { StatusCode::SERVICE_UNAVAILABLE.into_response() } else { seen(&token, &step) }
}

/// Takes its time, and says which call of its step it answers.
async fn slow(
    State(shared): State<Arc<Shared>>,
    Path((token, step)): Path<(String, String)>,
    Query(pauses): Query<HashMap<String, u64>>,
    headers: HeaderMap,
) -> Response {
    let call = shared.called(&token, &step, &headers);
    let pause_ms = pauses[if call == 1 { "first_ms" } else { "later_ms" }];
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    ([("content-type", "application/json")], json!({"call": call}).to_string()).into_response()
}

/// Most deliveries are taken; some are not at first, so that redeliveries of every kind happen. Only at the very first try: one
/// that a kill cut short counts as a try, and what fails after it comes again in five minutes.
async fn callback(
    State(shared): State<Arc<Shared>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let doubt = shared.webhook.verify(&body, &headers).err().map(|error| error.to_string());
    let is_first_try = is_fresh(&headers, &body);
    let delivery = Delivery { webhook_id: text(&headers, "webhook-id"), body, doubt };
    let count = {
        let mut notes = shared.notes();
        let deliveries = notes.deliveries.entry(token).or_default();
        deliveries.push(delivery);
        deliveries.len()
    };
    shared.dawdle(20).await;
    let refused = count == 1 && is_first_try && shared.chance().one_in(50);
    if refused { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::NO_CONTENT }
}

/// Whether the job ended less than three seconds before this try: earlier than any second one could come.
fn is_fresh(headers: &HeaderMap, body: &[u8]) -> bool {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let ended = body["timestamp"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    let tried = text(headers, "webhook-timestamp").parse::<i64>().ok();
    tried.zip(ended).is_some_and(|(tried, ended)| tried - ended.as_second() < 3)
}
