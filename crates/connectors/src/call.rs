//! One call to a vendor, and the one place where its answer becomes a value or a failure.
//!
//! Nothing of an answer is handed on unless it was asked for: of a refusal only the vendor's word, without control characters,
//! shortened, and never with a credential in it.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::form_urlencoded::Serializer;

use crate::catalogue::Vendor;
use crate::connect::{Connectors, Error, Terms};
use crate::credentials::Credentials;
use crate::failure::Failure;
use crate::multipart::{self, FilePart};
use crate::net::{CallError, Client, Request, Response, Timeouts, retry_after_ms};

/// A page of a hundred long records has some hundred KiB.
const ANSWER_MAX_BYTES: usize = 8 << 20;
const WORD_MAX_CHARS: usize = 200;
/// No vendor gives out shorter ones; what is shorter may stand in any word.
const SECRET_MIN_BYTES: usize = 8;
/// For a vendor that wants fewer calls and does not say when to come back; and the most that is believed.
const RETRY_AFTER_SECS: u64 = 30;
const RETRY_AFTER_MAX_SECS: u64 = 86_400;
/// Words that mean a limit whatever the status.
const LIMIT_WORDS: [&str; 5] =
    ["ratelimited", "rate_limited", "rateLimitExceeded", "userRateLimitExceeded", "RESOURCE_EXHAUSTED"];

/// Words that speak of the credentials: Slack's, and those of Google's token address.
const NOT_AUTHORIZED_WORDS: [&str; 13] = [
    "not_authed",
    "invalid_auth",
    "account_inactive",
    "token_revoked",
    "token_expired",
    "no_permission",
    "missing_scope",
    "not_allowed_token_type",
    "org_login_required",
    "access_denied",
    "invalid_grant",
    "invalid_client",
    "unauthorized_client",
];
/// Words of a vendor in trouble: Slack's, and Notion's for two writes at once.
const FAILED_WORDS: [&str; 5] =
    ["internal_error", "fatal_error", "service_unavailable", "request_timeout", "conflict_error"];

/// The calls of one action.
pub(crate) struct Calls<'a> {
    pub connectors: &'a Connectors,
    pub vendor: Vendor,
    pub credentials: &'a Credentials,
    pub terms: Terms<'a>,
}

/// What is sent.
pub(crate) struct Call {
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Call {
    fn new(method: Method, url: String, content_type: Option<&str>, body: impl Into<Bytes>) -> Self {
        let headers = content_type.map(|kind| ("content-type".to_owned(), kind.to_owned()));
        Call { method, url, headers: headers.into_iter().collect(), body: body.into() }
    }

    pub fn get(url: String, query: &[(&str, String)]) -> Self {
        let url = if query.is_empty() { url } else { format!("{url}?{}", form(query)) };
        Call::new(Method::GET, url, None, Bytes::new())
    }

    pub fn json(method: Method, url: String, body: impl Into<Value>) -> Self {
        let kind = "application/json; charset=utf-8";
        Call::new(method, url, Some(kind), body.into().to_string())
    }

    pub fn form(url: String, pairs: &[(&str, String)]) -> Self {
        Call::new(Method::POST, url, Some("application/x-www-form-urlencoded"), form(pairs))
    }

    pub fn bytes(url: String, body: Vec<u8>) -> Self {
        Call::new(Method::POST, url, Some("application/octet-stream"), body)
    }

    /// A form with a file in it.
    pub fn multipart(url: String, fields: &[(String, String)], file: &FilePart<'_>) -> Self {
        let (boundary, body) = multipart::form(fields, file);
        Call::new(Method::POST, url, Some(&format!("multipart/form-data; boundary={boundary}")), body)
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What stands for the idempotency key of the terms at a vendor, in hex: the same in every try, another one at another vendor.
pub(crate) fn key_digest(vendor: Vendor, key: &str) -> String {
    let digest = Sha256::digest(format!("{}\n{key}", vendor.name()));
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that a text in base64 stands for; `at` is its place in the parameters.
pub(crate) fn decoded(text: &str, at: &str) -> Result<Vec<u8>, Error> {
    STANDARD.decode(text).map_err(|_| Error::invalid(&format!("/params/{at}"), "content is not base64"))
}

fn form(pairs: &[(&str, String)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A text as one segment of a path. Dots alone would climb out of it; the catalogue refuses them.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Calls<'_> {
    /// The token of the credentials.
    pub fn token(&self) -> &str {
        self.credentials.token()
    }

    /// Calls and reads the answer as JSON.
    pub async fn send(&self, call: Call) -> Result<Value, Error> {
        let response = self.raw(&self.connectors.client, call).await?;
        Ok(self.sort(&response)?)
    }

    /// Calls for an answer whose status is all that counts.
    pub async fn deliver(&self, client: &Client, call: Call) -> Result<(), Error> {
        let response = self.raw(client, call).await?;
        if response.status.is_success() {
            return Ok(());
        }
        self.sort(&response)?;
        Err(Failure::BadAnswer.into())
    }

    async fn raw(&self, client: &Client, call: Call) -> Result<Response, Failure> {
        let Call { method, url, headers, body } = call;
        let limit_ms = self.terms.limit_ms;
        let timeouts = Timeouts::within(limit_ms);
        let request = Request { method, url, headers, body, timeouts, max_response_bytes: ANSWER_MAX_BYTES };
        // From here on until it is known better: whoever stops waiting has a request in the air.
        let went_out = self.terms.went_out;
        let before = went_out.is_some_and(|flag| flag.swap(true, Ordering::Relaxed));
        let answered = client.send(request).await;
        if let (Some(flag), Err(error)) = (went_out, &answered)
            && error.was_not_sent()
        {
            flag.store(before, Ordering::Relaxed);
        }
        answered.map_err(|error| match error {
            CallError::Timeout { .. } => Failure::Timeout { limit_ms },
            CallError::TooLarge { .. } | CallError::Broken { .. } => Failure::BadAnswer,
            other => Failure::Unreachable { code: other.code() },
        })
    }

    fn sort(&self, response: &Response) -> Result<Value, Failure> {
        let body: Option<Value> = serde_json::from_slice(&response.body).ok().filter(Value::is_object);
        let word = body.as_ref().and_then(|body| error_word(self.vendor, body)).map(|word| self.shown(word));
        let says_ok = body.as_ref().and_then(|body| body["ok"].as_bool());
        let is_limit = word.as_deref().is_some_and(|word| LIMIT_WORDS.contains(&word));
        if response.status.as_u16() == 429 || is_limit {
            // Telegram says it in the body.
            let told = body.as_ref().and_then(|body| body["parameters"]["retry_after"].as_u64());
            let header = retry_after_ms(&response.headers, self.terms.now_ms);
            let secs = header.map(|ms| u64::try_from(ms).unwrap_or(0).div_ceil(1000)).or(told);
            let retry_after_secs = secs.unwrap_or(RETRY_AFTER_SECS).clamp(1, RETRY_AFTER_MAX_SECS);
            return Err(Failure::RateLimited { retry_after_secs, word });
        }
        if !response.status.is_success() || says_ok == Some(false) {
            return Err(refusal(self.vendor, response.status.as_u16(), word));
        }
        // These two say so in every answer; one without it is somebody else's.
        if matches!(self.vendor, Vendor::Slack | Vendor::Telegram) && says_ok.is_none() {
            return Err(Failure::BadAnswer);
        }
        body.ok_or(Failure::BadAnswer)
    }

    fn shown(&self, word: &str) -> String {
        if self
            .credentials
            .hidden()
            .iter()
            .any(|secret| secret.len() >= SECRET_MIN_BYTES && word.contains(secret))
        {
            return "(hidden)".to_owned();
        }
        word.chars().filter(|char| !char.is_control()).take(WORD_MAX_CHARS).collect()
    }
}

/// Sorts a no by its status, and by words that say more than it: Slack answers 200 whatever happened.
fn refusal(vendor: Vendor, status: u16, word: Option<String>) -> Failure {
    let says = |words: &[&str]| word.as_deref().is_some_and(|word| words.contains(&word));
    match status {
        // Telegram's is about the chat: somebody who blocked the bot, a group that it was put out of.
        403 if vendor == Vendor::Telegram => Failure::Refused { word },
        401 | 403 => Failure::Unauthorized { word },
        408 | 425 | 500.. => Failure::Failed { word },
        _ if says(&NOT_AUTHORIZED_WORDS) => Failure::Unauthorized { word },
        _ if says(&FAILED_WORDS) => Failure::Failed { word },
        _ => Failure::Refused { word },
    }
}

/// Where each vendor says what was wrong.
fn error_word(vendor: Vendor, body: &Value) -> Option<&str> {
    match vendor {
        Vendor::Slack => body["error"].as_str(),
        Vendor::Telegram => body["description"].as_str(),
        Vendor::Notion => body["code"].as_str(),
        // The API's errors are objects, those of the token address texts.
        Vendor::Gmail => body["error"]["errors"][0]["reason"]
            .as_str()
            .or(body["error"]["status"].as_str())
            .or(body["error"].as_str()),
    }
}

/// A part of an answer that must be there.
pub(crate) fn want<'a>(answer: &'a Value, pointer: &str) -> Result<&'a Value, Error> {
    answer.pointer(pointer).filter(|value| !value.is_null()).ok_or_else(|| Failure::BadAnswer.into())
}

/// A list that must be there.
pub(crate) fn want_list<'a>(answer: &'a Value, name: &str) -> Result<&'a Vec<Value>, Error> {
    answer[name].as_array().ok_or_else(|| Failure::BadAnswer.into())
}
