//! What a caller may ask for: a request body becomes an [`IntakeRequest`] or one named violation.
//!
//! Order of checks: the schema, then the payload's size, then where the callback goes. The words of `Invalid::error` are
//! the first version's, to the letter. The hot path: one pass over the text, no tree of values.

use std::borrow::Cow;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::address::{OutboundPolicy, UrlProblem, judge_url};
use crate::duration::{BadDuration, parse_duration_ms, parse_epoch_ms, parse_rfc3339_ms, parse_seconds_ms};
use crate::id::JobId;
use crate::job::{Idempotency, NewJob, Priority, Tags};
use crate::json::{compact, decode, entries};
use crate::workflow::is_name as is_workflow_name;

/// The largest payload, as compact UTF-8.
pub const MAX_PAYLOAD_BYTES: usize = 204_800;
pub const MAX_CALLBACK_URL_CHARS: usize = 1_024;
pub const MAX_TAGS: usize = 32;
pub const MAX_TAG_KEY_CHARS: usize = 64;
pub const MAX_TAG_VALUE_CHARS: usize = 256;
pub const MAX_IDEMPOTENCY_KEY_CHARS: usize = 255;

/// `error` of a body that breaks the schema.
pub const INVALID_BODY: &str = "Invalid request body";

const MEMBERS: &str = "workflow, payload, callback_url, priority, run_at, delay, tags, dry_run";

/// A request that keeps all rules which hold for every workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct IntakeRequest {
    pub workflow: String,
    /// Compact JSON, an object.
    pub payload: String,
    pub callback_url: Option<String>,
    pub priority: Priority,
    /// From `run_at`, or from `delay` counted from the time of the request. May be past.
    pub run_at_ms: Option<i64>,
    pub tags: Tags,
    pub dry_run: bool,
    /// Only on lines of a batch; a single request has it in a header.
    pub idempotency_key: Option<String>,
}

impl IntakeRequest {
    pub fn into_new_job(
        self,
        id: JobId,
        version: Option<i64>,
        caller: String,
        created_at_ms: i64,
        idempotency: Option<Idempotency>,
    ) -> NewJob {
        NewJob {
            id,
            workflow: self.workflow,
            version,
            payload: self.payload,
            callback_url: self.callback_url,
            priority: self.priority,
            tags: self.tags,
            run_at_ms: self.run_at_ms,
            caller,
            created_at_ms,
            idempotency,
        }
    }
}

/// Why a request is refused, in the two members that the first version's routes answer with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}{}", details.as_deref().map_or(String::new(), |details| format!(": {details}")))]
pub struct Invalid {
    pub error: String,
    /// One violation: the field, its value and what is allowed.
    pub details: Option<String>,
}

impl Invalid {
    /// A body that breaks the schema.
    pub fn body(details: impl Into<String>) -> Self {
        Invalid { error: INVALID_BODY.to_owned(), details: Some(details.into()) }
    }

    fn plain(error: &str) -> Self {
        Invalid { error: error.to_owned(), details: None }
    }

    fn field(name: &str, raw: &str, allowed: impl std::fmt::Display) -> Self {
        Invalid::body(format!("{name}: {} is not allowed, it {allowed}", shown(raw)))
    }
}

/// Reads the body of a single request.
pub fn parse_intake(body: &str, now_ms: i64, policy: &OutboundPolicy) -> Result<IntakeRequest, Invalid> {
    parse(body, now_ms, policy, false)
}

/// Reads a line of a batch, which may bring its own `idempotency_key`.
pub fn parse_batch_line(line: &str, now_ms: i64, policy: &OutboundPolicy) -> Result<IntakeRequest, Invalid> {
    parse(line, now_ms, policy, true)
}

/// The raw values as they stand in the body.
#[derive(Default)]
struct Fields<'a> {
    workflow: Option<&'a str>,
    payload: Option<&'a str>,
    callback_url: Option<&'a str>,
    priority: Option<&'a str>,
    run_at: Option<&'a str>,
    delay: Option<&'a str>,
    tags: Option<&'a str>,
    dry_run: Option<&'a str>,
    idempotency_key: Option<&'a str>,
}

fn parse(body: &str, now_ms: i64, policy: &OutboundPolicy, in_batch: bool) -> Result<IntakeRequest, Invalid> {
    let body = compact(body).map_err(|error| {
        // A line of a batch has its number in the batch beside it.
        let in_line = || format!("invalid JSON at column {} of the line: {}", error.column, error.problem);
        Invalid::body(if in_batch { in_line() } else { error.to_string() })
    })?;
    let fields = Fields::read(&body, in_batch)?;
    let workflow = workflow(fields.workflow)?;
    let payload = payload(fields.payload)?;
    let request = IntakeRequest {
        workflow: workflow.into_owned(),
        payload: payload.to_owned(),
        callback_url: fields.callback_url.map(callback_url).transpose()?,
        priority: fields.priority.map_or(Ok(Priority::default()), priority)?,
        run_at_ms: run_at_ms(fields.run_at, fields.delay, now_ms)?,
        tags: fields.tags.map_or(Ok(Tags::new()), tags)?,
        dry_run: fields.dry_run.map_or(Ok(false), dry_run)?,
        idempotency_key: fields.idempotency_key.map(idempotency_key).transpose()?,
    };
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Invalid::plain("payload too large"));
    }
    match request.callback_url.as_deref().map(|url| judge_url(url, policy)) {
        None | Some(Ok(_)) => Ok(request),
        Some(Err(refused @ UrlProblem::Refused { .. })) => Err(Invalid {
            error: "callback_url is not allowed".to_owned(),
            details: Some(format!("callback_url: {refused}")),
        }),
        Some(Err(_)) => Err(Invalid::plain("callback_url must be a valid HTTP(S) URL")),
    }
}

impl<'a> Fields<'a> {
    /// Of duplicate members the last one counts.
    fn read(body: &'a str, in_batch: bool) -> Result<Self, Invalid> {
        let Some(members) = entries(body) else {
            return Err(Invalid::body(format!("the body must be an object, not {}", shown(body))));
        };
        let mut fields = Fields::default();
        for (raw_name, value) in members {
            let name = decode(raw_name).unwrap_or_default();
            let field = match name.as_ref() {
                "workflow" => &mut fields.workflow,
                "payload" => &mut fields.payload,
                "callback_url" => &mut fields.callback_url,
                "priority" => &mut fields.priority,
                "run_at" => &mut fields.run_at,
                "delay" => &mut fields.delay,
                "tags" => &mut fields.tags,
                "dry_run" => &mut fields.dry_run,
                "idempotency_key" if in_batch => &mut fields.idempotency_key,
                _ => {
                    let more = if in_batch { ", idempotency_key" } else { "" };
                    let allowed = format!("unknown member {}, allowed are {MEMBERS}{more}", shown(raw_name));
                    return Err(Invalid::body(allowed));
                }
            };
            *field = Some(value);
        }
        Ok(fields)
    }
}

fn workflow(raw: Option<&str>) -> Result<Cow<'_, str>, Invalid> {
    let raw = raw.ok_or_else(|| Invalid::body("workflow is required: a string of 1 to 128 characters"))?;
    let allowed = "must be a string of 1 to 128 characters without NUL";
    decode(raw).filter(|name| is_workflow_name(name)).ok_or_else(|| Invalid::field("workflow", raw, allowed))
}

fn payload(raw: Option<&str>) -> Result<&str, Invalid> {
    let raw = raw.ok_or_else(|| Invalid::body("payload is required: an object"))?;
    if raw.starts_with('{') { Ok(raw) } else { Err(Invalid::field("payload", raw, "must be an object")) }
}

fn callback_url(raw: &str) -> Result<String, Invalid> {
    let url = decode(raw).filter(|url| has_chars(url, 1, MAX_CALLBACK_URL_CHARS));
    let url =
        url.ok_or_else(|| Invalid::field("callback_url", raw, "must be a string of 1 to 1024 characters"))?;
    Ok(url.into_owned())
}

fn priority(raw: &str) -> Result<Priority, Invalid> {
    let priority = decode(raw).and_then(|word| Priority::parse(&word));
    priority.ok_or_else(|| Invalid::field("priority", raw, "must be low, normal or high"))
}

fn run_at_ms(run_at: Option<&str>, delay: Option<&str>, now_ms: i64) -> Result<Option<i64>, Invalid> {
    match (run_at, delay) {
        (Some(_), Some(_)) => Err(Invalid::body("run_at and delay exclude each other, send one of them")),
        (Some(raw), None) => {
            let at_ms = match decode(raw) {
                Some(text) => parse_rfc3339_ms(&text),
                None => parse_epoch_ms(raw),
            };
            at_ms.map(Some).map_err(|problem| Invalid::field("run_at", raw, problem))
        }
        (None, Some(raw)) => {
            let delay_ms = match decode(raw) {
                Some(text) => parse_duration_ms(&text),
                None => parse_seconds_ms(raw),
            };
            match delay_ms {
                Ok(0) => Ok(None),
                Ok(delay_ms) => Ok(Some(now_ms + delay_ms)),
                Err(BadDuration::Form) => Err(Invalid::field(
                    "delay",
                    raw,
                    format!("{}, or a number of seconds", BadDuration::Form),
                )),
                Err(problem) => Err(Invalid::field("delay", raw, problem)),
            }
        }
        (None, None) => Ok(None),
    }
}

fn tags(raw: &str) -> Result<Tags, Invalid> {
    let members = entries(raw).ok_or_else(|| Invalid::field("tags", raw, "must be an object of strings"))?;
    let mut tags = Tags::new();
    for (raw_name, raw_value) in members {
        let name = text(raw_name, 1, MAX_TAG_KEY_CHARS).ok_or_else(|| {
            Invalid::field("tags", raw_name, "must be a name of 1 to 64 characters without NUL")
        })?;
        let value = text(raw_value, 0, MAX_TAG_VALUE_CHARS).ok_or_else(|| {
            let field = format!("tags.{name}");
            Invalid::field(&field, raw_value, "must be a string of at most 256 characters without NUL")
        })?;
        tags.insert(name.into_owned(), value.into_owned());
        if tags.len() > MAX_TAGS {
            return Err(Invalid::body("tags: more than 32 tags, at most 32 are allowed"));
        }
    }
    Ok(tags)
}

fn dry_run(raw: &str) -> Result<bool, Invalid> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Invalid::field("dry_run", raw, "must be true or false")),
    }
}

fn idempotency_key(raw: &str) -> Result<String, Invalid> {
    let key = decode(raw).filter(|key| check_idempotency_key(key).is_ok());
    let allowed = "must be a string of 1 to 255 visible ASCII characters";
    key.map(Cow::into_owned).ok_or_else(|| Invalid::field("idempotency_key", raw, allowed))
}

/// A string within these numbers of characters and without NUL, which PostgreSQL cannot store.
pub(crate) fn text(raw: &str, min_chars: usize, max_chars: usize) -> Option<Cow<'_, str>> {
    decode(raw).filter(|text| has_chars(text, min_chars, max_chars) && !text.contains('\0'))
}

fn has_chars(text: &str, min_chars: usize, max_chars: usize) -> bool {
    // Counts no further than needed: the text may be half a megabyte.
    (min_chars..=max_chars).contains(&text.chars().take(max_chars + 1).count())
}

/// A raw value for an answer, 80 characters at most.
pub(crate) fn shown(raw: &str) -> Cow<'_, str> {
    match raw.char_indices().nth(80) {
        Some((end, _)) => Cow::Owned(format!("{}…", &raw[..end])),
        None => Cow::Borrowed(raw),
    }
}

/// The key is not one that we keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Idempotency-Key must be 1 to 255 visible ASCII characters")]
pub struct BadIdempotencyKey;

/// Whether a key may be stored: 1 to 255 visible ASCII characters.
pub fn check_idempotency_key(key: &str) -> Result<(), BadIdempotencyKey> {
    let fits = (1..=MAX_IDEMPOTENCY_KEY_CHARS).contains(&key.len());
    if fits && key.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(()) } else { Err(BadIdempotencyKey) }
}

/// Hex SHA-256 of a body as it was sent: tells whether an idempotency key comes back with the same request.
pub fn body_hash(body: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(body) {
        write!(hex, "{byte:02x}").expect("a String takes all that is written");
    }
    hex
}

#[cfg(test)]
mod tests;
