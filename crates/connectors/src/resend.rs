//! Resend (resend.com/docs/api-reference): sends mails, and looks after the domain that they come from.
//!
//! Its errors are `{"statusCode", "name", "message"}`; of these only the name is handed on, which is one of a fixed list: the
//! message may repeat what was sent.

use http::{HeaderValue, Method};
use ipnet::IpNet;
use levqor_core::address::OutboundPolicy;
use levqor_core::mail::Mail;
use serde_json::{Value, json};

use crate::call::segment;
use crate::connect::addresses;
use crate::email::{Failure, Sent};
use crate::net::{CallError, Client, Request, Response, Timeouts, retry_after_ms};

const NAME: &str = "resend";
const ANSWER_MAX_BYTES: usize = 1 << 20;
const WORD_MAX_CHARS: usize = 80;
/// What Resend asks for at the longest: its quotas are a day's or a month's.
const RETRY_AFTER_MAX_MS: i64 = 86_400_000;
/// The same key is being worked on at this moment; its outcome is told to whoever asks again.
const SAME_AT_ONCE: &str = "concurrent_idempotent_requests";
const PAGE: usize = 100;
/// Nobody has more domains than this; an answer that always promises more must not be followed for ever.
const PAGES_MAX: usize = 20;

pub struct Resend {
    client: Client,
    api_key: String,
    base_url: String,
}

/// A domain as Resend knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    pub id: String,
    pub name: String,
    /// `not_started`, `pending`, `verified`, `failed`, `partially_verified` or `partially_failed`.
    pub status: String,
    pub records: Vec<Record>,
}

/// A DNS record that Resend wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `SPF`, `DKIM`, …
    pub purpose: String,
    /// `MX`, `TXT`, `CNAME` or `CAA`.
    pub kind: String,
    /// Relative to the zone.
    pub name: String,
    pub value: String,
    /// Of an MX record.
    pub priority: Option<i64>,
    pub status: String,
}

impl Resend {
    /// The configured address may be called wherever it is.
    pub fn new(api_key: &str, base_url: &str, outbound_allow: &[IpNet], user_agent: HeaderValue) -> Self {
        let own = addresses(base_url).into_iter().map(IpNet::from);
        let allow = outbound_allow.iter().copied().chain(own).collect();
        let client = Client::new(OutboundPolicy::new(allow), user_agent);
        Resend { client, api_key: api_key.to_owned(), base_url: base_url.to_owned() }
    }

    pub(crate) async fn send(
        &self,
        from: &str,
        mail: &Mail,
        key: &str,
        now_ms: i64,
        limit_ms: u64,
    ) -> Result<Sent, Failure> {
        let headers = vec![("idempotency-key".to_owned(), key.to_owned())];
        let call =
            Call { method: Method::POST, path: "/emails".to_owned(), headers, body: Some(body(from, mail)) };
        let answer = self.call(call, now_ms, limit_ms).await?;
        let id = answer["id"].as_str().filter(|id| !id.is_empty() && id.len() <= 200);
        let message_id = id.ok_or(Failure::BadAnswer { provider: NAME })?.to_owned();
        Ok(Sent { message_id })
    }

    /// The domain of this name, if the account has it.
    pub async fn find_domain(
        &self,
        name: &str,
        now_ms: i64,
        limit_ms: u64,
    ) -> Result<Option<Domain>, Failure> {
        let mut after = String::new();
        for _ in 0..PAGES_MAX {
            let list =
                self.call(Call::get(format!("/domains?limit={PAGE}{after}")), now_ms, limit_ms).await?;
            let domains = list["data"].as_array().ok_or(Failure::BadAnswer { provider: NAME })?;
            let is_it =
                |one: &&Value| one["name"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name));
            if let Some(found) = domains.iter().find(is_it) {
                return self.get_domain(&domain(found)?.id, now_ms, limit_ms).await.map(Some);
            }
            match domains.last().map(domain) {
                Some(last) if list["has_more"] == true => after = format!("&after={}", segment(&last?.id)),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    pub async fn create_domain(
        &self,
        name: &str,
        region: &str,
        now_ms: i64,
        limit_ms: u64,
    ) -> Result<Domain, Failure> {
        let body = json!({"name": name, "region": region});
        let call =
            Call { method: Method::POST, path: "/domains".to_owned(), headers: Vec::new(), body: Some(body) };
        domain(&self.call(call, now_ms, limit_ms).await?)
    }

    /// With its records.
    pub async fn get_domain(&self, id: &str, now_ms: i64, limit_ms: u64) -> Result<Domain, Failure> {
        domain(&self.call(Call::get(format!("/domains/{}", segment(id))), now_ms, limit_ms).await?)
    }

    /// Asks Resend to look at the records now; what it found is told by [`Self::get_domain`] later.
    pub async fn verify_domain(&self, id: &str, now_ms: i64, limit_ms: u64) -> Result<(), Failure> {
        let path = format!("/domains/{}/verify", segment(id));
        let call = Call { method: Method::POST, ..Call::get(path) };
        self.call(call, now_ms, limit_ms).await.map(|_| ())
    }

    async fn call(&self, call: Call, now_ms: i64, limit_ms: u64) -> Result<Value, Failure> {
        let mut headers = call.headers;
        headers.push(("authorization".to_owned(), format!("Bearer {}", self.api_key)));
        if call.body.is_some() {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let request = Request {
            method: call.method,
            url: format!("{}{}", self.base_url, call.path),
            headers,
            body: call.body.map(|body| body.to_string().into()).unwrap_or_default(),
            timeouts: Timeouts::within(limit_ms),
            max_response_bytes: ANSWER_MAX_BYTES,
        };
        let response = self.client.send(request).await.map_err(|error| match error {
            CallError::Timeout { .. } => Failure::Timeout { provider: NAME, limit_ms },
            CallError::TooLarge { .. } | CallError::Broken { .. } => Failure::BadAnswer { provider: NAME },
            other => Failure::Unreachable { provider: NAME, code: other.code() },
        })?;
        self.sort(&response, now_ms)
    }

    fn sort(&self, response: &Response, now_ms: i64) -> Result<Value, Failure> {
        let body: Option<Value> = serde_json::from_slice(&response.body).ok().filter(Value::is_object);
        let status = response.status.as_u16();
        if response.status.is_success() {
            return body.ok_or(Failure::BadAnswer { provider: NAME });
        }
        let word = body.as_ref().and_then(|body| body["name"].as_str()).map(|word| self.shown(word));
        let provider = NAME;
        Err(match status {
            429 => {
                let asked_ms = retry_after_ms(&response.headers, now_ms);
                let retry_after_ms = asked_ms.map(|ms| ms.clamp(0, RETRY_AFTER_MAX_MS));
                Failure::RateLimited { provider, word, retry_after_ms }
            }
            409 if word.as_deref() == Some(SAME_AT_ONCE) => Failure::Busy { provider, word },
            408 | 425 | 500.. => Failure::Busy { provider, word: word.or(Some(format!("status {status}"))) },
            _ => Failure::Refused { provider, word: word.or(Some(format!("status {status}"))) },
        })
    }

    /// A name as Resend gives it, or what stands in its place: never the key, never a line break.
    fn shown(&self, word: &str) -> String {
        if word.contains(&self.api_key) {
            return "(hidden)".to_owned();
        }
        word.chars().filter(|char| !char.is_control()).take(WORD_MAX_CHARS).collect()
    }
}

struct Call {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Value>,
}

impl Call {
    fn get(path: String) -> Self {
        Call { method: Method::GET, path, headers: Vec::new(), body: None }
    }
}

fn body(from: &str, mail: &Mail) -> Value {
    let mut body = json!({"from": from, "to": mail.to, "subject": mail.subject});
    for (name, list) in [("cc", &mail.cc), ("bcc", &mail.bcc), ("reply_to", &mail.reply_to)] {
        if !list.is_empty() {
            body[name] = json!(list);
        }
    }
    for (name, text) in [("text", &mail.text), ("html", &mail.html)] {
        if let Some(text) = text {
            body[name] = json!(text);
        }
    }
    body
}

fn domain(answer: &Value) -> Result<Domain, Failure> {
    let bad = || Failure::BadAnswer { provider: NAME };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let records = answer["records"].as_array().into_iter().flatten().map(|record| {
        Some(Record {
            purpose: text(&record["record"]).unwrap_or_default(),
            kind: text(&record["type"])?,
            name: text(&record["name"])?,
            value: text(&record["value"])?,
            priority: record["priority"].as_i64(),
            status: text(&record["status"]).unwrap_or_default(),
        })
    });
    Ok(Domain {
        id: text(&answer["id"]).filter(|id| !id.is_empty()).ok_or_else(bad)?,
        name: text(&answer["name"]).ok_or_else(bad)?,
        status: text(&answer["status"]).unwrap_or_default(),
        records: records.collect::<Option<_>>().ok_or_else(bad)?,
    })
}
