//! A question that came with an `Idempotency-Key`: however often it is sent, it is paid for once, and told as it was told the
//! first time.
//!
//! The place of its call is made of the key, so the hold itself refuses a second one, on every node and after every crash.
//! What was charged is kept with its answer for a day, errors too; what was not charged leaves the key free. A call that was
//! charged and left no answer (a crash in the middle) is said to be lost: asking again under its key would pay twice.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use levqor_core::intake::body_hash;
use levqor_store::{AskPlace, Asked};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Entered;
use super::stream::EVENTS;
use super::whole::CHARGE;
use crate::http::App;
use crate::http::api::intake::idempotency;
use crate::http::error::{ApiError, Result};

const KEPT_MS: i64 = 24 * 3_600_000;
/// Longer answers are not kept.
const LONGEST_BYTES: usize = 8 * 1024 * 1024;
/// How often it is looked whether another's answer is there.
const LOOK: Duration = Duration::from_millis(100);
/// So long after a charge its answer is waited for: it is kept right behind it.
const BEHIND_CHARGE: Duration = Duration::from_secs(5);
/// What lies around a call's own limit of time.
const MARGIN: Duration = Duration::from_secs(30);
const REPLAYED: HeaderName = HeaderName::from_static("x-levqor-replayed");

/// What is asked, under which key.
pub struct Once {
    key: String,
    fingerprint: String,
    user: Option<String>,
    is_stream: bool,
}

/// Whose turn it is.
pub enum Turn {
    /// The answer is there.
    Told(Response),
    /// The question may be asked, at this place.
    Ours(AskPlace),
}

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    content_type: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// What a stream said, to be kept.
pub struct Record {
    once: Once,
    said: String,
    is_too_long: bool,
}

impl Once {
    /// `None`: the request came without a key.
    pub fn of(path: &str, entered: &Entered, user: Option<&str>, is_stream: bool) -> Result<Option<Once>> {
        let Some(given) = idempotency(&entered.headers, entered.body.as_bytes())? else { return Ok(None) };
        let betas = entered.headers.get("anthropic-beta").map_or(&b""[..], HeaderValue::as_bytes);
        let betas = String::from_utf8_lossy(betas);
        // No part holds a NUL but the tags' and headers' own text, which JSON quotes.
        let asked = serde_json::json!([path, given.body_hash, entered.tags, betas]);
        let key = serde_json::json!([entered.caller, given.key]);
        Ok(Some(Once {
            key: body_hash(key.to_string().as_bytes()),
            fingerprint: body_hash(asked.to_string().as_bytes()),
            user: user.map(str::to_owned),
            is_stream,
        }))
    }
}

impl App {
    /// Waits until the question is answered, or may be asked. Where a stream is wanted nobody waits: it is said that another
    /// is on its way.
    pub async fn turn(&self, once: &Once) -> Result<Turn> {
        let (store, now_ms) = (self.engine.store(), self.clock.now_ms());
        let user = once.user.as_deref();
        let mut asked =
            store.ask(&once.key, &once.fingerprint, user, now_ms, now_ms.saturating_add(KEPT_MS)).await?;
        let until = Instant::now() + Duration::from_millis(self.ai_limits().total_ms) + MARGIN;
        let mut charged_until = None;
        loop {
            match asked {
                Asked::Other => return Err(ApiError::idempotency_mismatch()),
                Asked::Free(place) => return Ok(Turn::Ours(place)),
                Asked::Answered(kept) => return told(&kept).map(Turn::Told),
                Asked::Open(_) if once.is_stream || Instant::now() >= until => {
                    return Err(ApiError::in_progress());
                }
                Asked::Open(_) => {}
                Asked::Charged(call) => {
                    let until = *charged_until.get_or_insert_with(|| Instant::now() + BEHIND_CHARGE);
                    if Instant::now() >= until {
                        return Err(ApiError::answer_lost(call));
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
            let found = store.find_ask(&once.key, &once.fingerprint, self.clock.now_ms()).await?;
            asked = found.ok_or_else(ApiError::in_progress)?;
        }
    }

    /// Keeps the answer of a call that was charged, and hands it on.
    pub async fn keep_once(&self, once: Option<&Once>, response: Response) -> Response {
        let Some(once) = once else { return response };
        let (parts, body) = response.into_parts();
        // It is in memory as a whole.
        let bytes = body.collect().await.map(|it| it.to_bytes()).unwrap_or_default();
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let is_told = |name: &HeaderName| name.as_str().starts_with("x-levqor-") || name == "x-should-retry";
        let headers = parts.headers.iter().filter(|(name, _)| is_told(name));
        let kept = Kept {
            status: parts.status.as_u16(),
            content_type: parts.headers.get(header::CONTENT_TYPE).map(text).unwrap_or_default(),
            headers: headers.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            body: String::from_utf8_lossy(&bytes).into_owned(),
        };
        self.keep(once, &kept).await;
        Response::from_parts(parts, Body::from(bytes))
    }

    /// Keeps what a stream said; `about` is what headers would tell of the call now that it is over.
    pub async fn keep_stream(&self, record: Record, about: &[(&'static str, String)]) {
        let Record { once, said, is_too_long } = record;
        if is_too_long {
            return;
        }
        let headers = about.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let kept = Kept { status: 200, content_type: EVENTS.to_owned(), headers, body: said };
        self.keep(&once, &kept).await;
    }

    async fn keep(&self, once: &Once, kept: &Kept) {
        let charge = kept.headers.iter().find(|(name, _)| name == CHARGE);
        let is_charged = charge.is_some_and(|(_, charge)| charge != "released");
        if !is_charged || kept.body.len() > LONGEST_BYTES || kept.body.contains('\0') {
            return;
        }
        let text = serde_json::to_string(kept).expect("texts and a number are JSON");
        let expires_at_ms = self.clock.now_ms().saturating_add(KEPT_MS);
        let keeping = self.engine.store().keep_ask(&once.key, &once.fingerprint, &text, expires_at_ms);
        if let Err(error) = keeping.await {
            tracing::warn!(%error, "the answer to a request with an Idempotency-Key could not be kept");
        }
    }
}

impl Record {
    pub fn new(once: Once) -> Self {
        Record { once, said: String::new(), is_too_long: false }
    }

    pub fn push(&mut self, text: &str) {
        self.is_too_long |= self.said.len() + text.len() > LONGEST_BYTES;
        if self.is_too_long {
            self.said = String::new();
        } else {
            self.said.push_str(text);
        }
    }
}

/// The answer as it was told before.
fn told(kept: &str) -> Result<Response> {
    let kept: Kept = serde_json::from_str(kept).map_err(|_| ApiError::internal())?;
    let mut response = Response::new(Body::from(kept.body));
    *response.status_mut() = StatusCode::from_u16(kept.status).map_err(|_| ApiError::internal())?;
    let headers = response.headers_mut();
    for (name, value) in &kept.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    if let Ok(value) = HeaderValue::try_from(kept.content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
