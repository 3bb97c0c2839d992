//! Stripe's API (docs.stripe.com/api): forms with brackets in their names, `Authorization: Bearer`, one pinned version.
//!
//! Every call carries an idempotency key, so whoever sends a request again with the same key gets the same session. Of a refusal
//! only Stripe's short code is handed on: its sentences may repeat a part of the secret key.

mod meter;

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::connect::Connectors;
use crate::failure::Failure;
use crate::net::{CallError, Request, Response, Timeouts, retry_after_ms};

pub use meter::{Meter, MeterEvent, Metered};

/// What our requests and the reading of answers were compared with.
pub const API_VERSION: &str = "2026-07-29.dahlia";

/// A session has a few KiB.
const ANSWER_MAX_BYTES: usize = 1 << 20;
const WORD_MAX_CHARS: usize = 100;
/// For an answer that does not say when to come back; and the most that is believed.
const RETRY_AFTER_SECS: u64 = 30;
const RETRY_AFTER_MAX_SECS: u64 = 86_400;

/// One item to be paid once.
#[derive(Clone, Debug)]
pub struct Checkout<'a> {
    pub price_id: &'a str,
    pub email: Option<&'a str>,
    pub user_id: Option<&'a str>,
    /// Where the customer is sent afterwards.
    pub success_url: &'a str,
    pub cancel_url: &'a str,
}

/// A page of Stripe's that somebody is to be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: String,
    pub url: String,
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the idempotency key was used before for another request")]
    IdempotencyMismatch,
    #[error(transparent)]
    Vendor(#[from] Failure),
}

/// Stripe as one account sees it. Not printable on purpose: it holds the secret key.
pub struct Stripe<'a> {
    pub connectors: &'a Connectors,
    pub secret_key: &'a str,
    /// How long a call may take.
    pub limit_ms: u64,
    /// For a date that Stripe names to come back at.
    pub now_ms: i64,
}

impl Stripe<'_> {
    /// Makes a checkout session (POST /v1/checkout/sessions). Whoever is known gets a customer at Stripe, so that the portal can
    /// be opened later.
    pub async fn create_checkout(
        &self,
        checkout: &Checkout<'_>,
        idempotency_key: &str,
    ) -> Result<Session, Error> {
        let mut form = vec![
            ("mode", "payment"),
            ("line_items[0][price]", checkout.price_id),
            ("line_items[0][quantity]", "1"),
            ("success_url", checkout.success_url),
            ("cancel_url", checkout.cancel_url),
        ];
        form.extend(checkout.email.map(|email| ("customer_email", email)));
        if let Some(user_id) = checkout.user_id {
            form.push(("client_reference_id", user_id));
            form.push(("metadata[user_id]", user_id));
            form.push(("customer_creation", "always"));
        }
        self.create("/v1/checkout/sessions", &form, idempotency_key).await
    }

    /// Opens the portal for a customer (POST /v1/billing_portal/sessions).
    pub async fn create_portal(
        &self,
        customer: &str,
        return_url: &str,
        idempotency_key: &str,
    ) -> Result<Session, Error> {
        let form = [("customer", customer), ("return_url", return_url)];
        self.create("/v1/billing_portal/sessions", &form, idempotency_key).await
    }

    async fn create(
        &self,
        path: &str,
        form: &[(&str, &str)],
        idempotency_key: &str,
    ) -> Result<Session, Error> {
        let response = self.post(path, form, idempotency_key).await?;
        self.sort(&response)
    }

    async fn post(
        &self,
        path: &str,
        form: &[(&str, &str)],
        idempotency_key: &str,
    ) -> Result<Response, Failure> {
        let header = |name: &str, value: String| (name.to_owned(), value);
        let request = Request {
            method: Method::POST,
            url: format!("{}{path}", self.connectors.bases.stripe),
            headers: vec![
                header("authorization", format!("Bearer {}", self.secret_key)),
                header("content-type", "application/x-www-form-urlencoded".to_owned()),
                header("stripe-version", API_VERSION.to_owned()),
                header("idempotency-key", idempotency_key.to_owned()),
            ],
            body: Bytes::from(Serializer::new(String::new()).extend_pairs(form).finish()),
            timeouts: Timeouts::within(self.limit_ms),
            max_response_bytes: ANSWER_MAX_BYTES,
        };
        self.connectors.client.send(request).await.map_err(|error| match error {
            CallError::Timeout { .. } => Failure::Timeout { limit_ms: self.limit_ms },
            CallError::TooLarge { .. } | CallError::Broken { .. } => Failure::BadAnswer,
            other => Failure::Unreachable { code: other.code() },
        })
    }

    fn sort(&self, response: &Response) -> Result<Session, Error> {
        let body: Option<Value> = serde_json::from_slice(&response.body).ok().filter(Value::is_object);
        let error = body.as_ref().map(|body| &body["error"]);
        let error_type = error.and_then(|error| error["type"].as_str());
        let word = error.and_then(|error| error["code"].as_str()).or(error_type).map(|word| self.shown(word));
        match response.status.as_u16() {
            200..=299 => body.as_ref().and_then(session).ok_or_else(|| Failure::BadAnswer.into()),
            _ if error_type == Some("idempotency_error") => Err(Error::IdempotencyMismatch),
            429 => {
                let told = retry_after_ms(&response.headers, self.now_ms);
                let secs = told.map(|ms| u64::try_from(ms).unwrap_or(0).div_ceil(1000));
                let retry_after_secs = secs.unwrap_or(RETRY_AFTER_SECS).clamp(1, RETRY_AFTER_MAX_SECS);
                Err(Failure::RateLimited { retry_after_secs, word }.into())
            }
            401 | 403 => Err(Failure::Unauthorized { word }.into()),
            500.. => Err(Failure::Failed { word }.into()),
            _ => Err(Failure::Refused { word }.into()),
        }
    }

    fn shown(&self, word: &str) -> String {
        if word.contains(self.secret_key) {
            return "(hidden)".to_owned();
        }
        word.chars().filter(|char| !char.is_control()).take(WORD_MAX_CHARS).collect()
    }
}

fn session(body: &Value) -> Option<Session> {
    let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let url = text("url").filter(|url| url.starts_with("https://") || url.starts_with("http://"))?;
    Some(Session { id: text("id")?, url })
}
