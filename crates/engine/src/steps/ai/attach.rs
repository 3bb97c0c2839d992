//! Images and documents by reference: base64 in a payload or an output, or an address that is fetched through the guarded
//! client before anything is held. Their number and size are bounded, and only what models read is taken.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use levqor_connectors::ai::Part;
use levqor_connectors::net::{Request, Timeouts};
use levqor_core::job::JobError;
use levqor_core::outcome::Outcome;
use serde_json::Value;

use super::Stop;
use crate::Shared;

const MAX_ATTACHMENTS: usize = 20;
/// Of one, as it is; base64 makes it a third longer.
const MAX_BYTES: usize = 8 << 20;
const MAX_BYTES_IN_ALL: usize = 24 << 20;
const FETCH_LIMIT_MS: u64 = 30_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Image,
    Document,
}

/// What stands in the definition, filled in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attachment {
    sort: Sort,
    source: Source,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    Url(String),
    Base64 { media_type: String, data: String },
    Text(String),
}

impl Sort {
    fn word(self) -> &'static str {
        match self {
            Sort::Image => "images",
            Sort::Document => "documents",
        }
    }

    fn allows(self, media_type: &str) -> bool {
        match self {
            Sort::Image => matches!(media_type, "image/png" | "image/jpeg" | "image/gif" | "image/webp"),
            Sort::Document => media_type == "application/pdf" || is_text(media_type),
        }
    }

    fn allowed(self) -> &'static str {
        match self {
            Sort::Image => "image/png, image/jpeg, image/gif and image/webp",
            Sort::Document => "application/pdf and text",
        }
    }
}

fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/") || media_type == "application/json"
}

impl Attachment {
    /// Its text, where it is known before anything is fetched.
    pub fn text(&self) -> Option<&str> {
        match &self.source {
            Source::Text(text) => Some(text),
            Source::Url(_) | Source::Base64 { .. } => None,
        }
    }
}

/// One that is here.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attached {
    Part(Part),
    /// A document of text: marked as data, and redacted like all text.
    Text(String),
}

impl Attached {
    pub fn text(&self) -> Option<&str> {
        match self {
            Attached::Text(text) => Some(text),
            Attached::Part(_) => None,
        }
    }
}

fn wrong(sort: Sort, message: impl std::fmt::Display) -> JobError {
    JobError::new("invalid_attachment", format!("`{}` {message}", sort.word()))
}

/// Reads what a template gave: a text, an object, or a list of them. Null is nothing.
pub(super) fn read(raw: &str, sort: Sort, found: &mut Vec<Attachment>) -> Result<(), JobError> {
    let value: Value = serde_json::from_str(raw).map_err(|_| wrong(sort, "holds what is no JSON"))?;
    let items = match value {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        one => vec![one],
    };
    for item in items.iter().filter(|item| !item.is_null()) {
        if found.len() == MAX_ATTACHMENTS {
            return Err(wrong(sort, format!("has too many: at most {MAX_ATTACHMENTS} images and documents")));
        }
        found.push(Attachment { sort, source: source(item, sort)? });
    }
    Ok(())
}

fn source(item: &Value, sort: Sort) -> Result<Source, JobError> {
    let wanted = "must hold base64, a data: URL, an http(s) URL, {url} or {data, media_type}";
    match item {
        Value::String(text) => of_text(text, sort),
        Value::Object(members) => {
            let text = |name: &str| members.get(name).and_then(Value::as_str);
            match (text("url"), text("data"), text("text")) {
                (Some(url), None, None) => of_text(url, sort),
                (None, Some(data), None) => base64(data, text("media_type"), sort),
                (None, None, Some(text)) if sort == Sort::Document => Ok(Source::Text(text.to_owned())),
                _ => Err(wrong(sort, wanted)),
            }
        }
        _ => Err(wrong(sort, wanted)),
    }
}

fn of_text(text: &str, sort: Sort) -> Result<Source, JobError> {
    if text.starts_with("https://") || text.starts_with("http://") {
        return Ok(Source::Url(text.to_owned()));
    }
    if let Some(rest) = text.strip_prefix("data:") {
        let (media_type, data) =
            rest.split_once(";base64,").ok_or_else(|| wrong(sort, "holds a data: URL without base64"))?;
        return base64(data, Some(media_type), sort);
    }
    base64(text, None, sort)
}

fn base64(data: &str, media_type: Option<&str>, sort: Sort) -> Result<Source, JobError> {
    let data: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let plain = data.trim_end_matches('=');
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if plain.is_empty()
        || data.len() - plain.len() > 2
        || !data.len().is_multiple_of(4)
        || !plain.bytes().all(is_base64)
    {
        return Err(wrong(sort, "must hold base64, a data: URL or an http(s) URL"));
    }
    if data.len() / 4 * 3 > MAX_BYTES + 3 {
        return Err(wrong(sort, format!("holds more than {MAX_BYTES} bytes")));
    }
    let media_type = match media_type {
        Some(said) => said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
        None => sniff(&data).ok_or_else(|| wrong(sort, format!("must be of {}", sort.allowed())))?.to_owned(),
    };
    if !sort.allows(&media_type) {
        return Err(wrong(sort, format!("must be of {}", sort.allowed())));
    }
    Ok(Source::Base64 { media_type, data })
}

/// By how its base64 begins.
fn sniff(data: &str) -> Option<&'static str> {
    let known = [
        ("iVBORw0KGgo", "image/png"),
        ("/9j/", "image/jpeg"),
        ("R0lGOD", "image/gif"),
        ("UklGR", "image/webp"),
        ("JVBERi0", "application/pdf"),
    ];
    known.iter().find(|(begin, _)| data.starts_with(begin)).map(|(_, media_type)| *media_type)
}

/// Those that are here; an error where one is elsewhere.
pub(super) fn without_fetching(attachments: &[Attachment]) -> Result<Vec<Attached>, JobError> {
    let each = attachments.iter().map(|Attachment { sort, source }| match source {
        Source::Text(text) => Ok(Attached::Text(text.clone())),
        Source::Base64 { media_type, data } => attached(*sort, media_type.clone(), Ok(data.clone())),
        Source::Url(_) => Err(wrong(*sort, "are fetched when the job runs")),
    });
    each.collect()
}

/// All of them, fetched where they are elsewhere.
pub(super) async fn fetch(shared: &Shared, attachments: &[Attachment]) -> Result<Vec<Attached>, Stop> {
    let mut all = Vec::with_capacity(attachments.len());
    let mut bytes = 0;
    for Attachment { sort, source } in attachments {
        let (media_type, body) = match source {
            Source::Text(text) => {
                all.push(Attached::Text(text.clone()));
                continue;
            }
            Source::Base64 { media_type, data } => (media_type.clone(), Ok(data.clone())),
            Source::Url(url) => {
                let (media_type, body) = get(shared, url, *sort).await?;
                (media_type, Err(body))
            }
        };
        bytes += match &body {
            Ok(data) => data.len() / 4 * 3,
            Err(body) => body.len(),
        };
        if bytes > MAX_BYTES_IN_ALL {
            return Err(wrong(*sort, format!("holds more than {MAX_BYTES_IN_ALL} bytes in all")).into());
        }
        all.push(attached(*sort, media_type, body)?);
    }
    Ok(all)
}

fn attached(sort: Sort, media_type: String, body: Result<String, Bytes>) -> Result<Attached, JobError> {
    if is_text(&media_type) {
        let bytes = match body {
            Ok(data) => STANDARD
                .decode(&data)
                .map_err(|_| wrong(sort, "must hold base64, a data: URL or an http(s) URL"))?,
            Err(body) => body.to_vec(),
        };
        return Ok(Attached::Text(String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}")));
    }
    let data = body.unwrap_or_else(|body| STANDARD.encode(&body));
    Ok(Attached::Part(match sort {
        Sort::Image => Part::Image { media_type, data },
        Sort::Document => Part::Document { media_type, data },
    }))
}

/// Fetches one. Its type is what its first bytes say, or what the server says of a text.
async fn get(shared: &Shared, url: &str, sort: Sort) -> Result<(String, Bytes), Stop> {
    let request = Request {
        method: Method::GET,
        url: url.to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
        timeouts: Timeouts::within(FETCH_LIMIT_MS),
        max_response_bytes: MAX_BYTES,
    };
    let response = shared.client.send(request).await.map_err(|error| {
        let job_error = JobError::new("attachment_unreachable", format!("`{}`: {error}", sort.word()));
        Stop::Outcome(match error.is_retryable() {
            true => Outcome::Retry { error: job_error, retry_after_ms: None },
            false => Outcome::Fail { error: job_error },
        })
    })?;
    let status = response.status.as_u16();
    if !response.status.is_success() {
        let error = JobError::new(
            "attachment_unreachable",
            format!("`{}`: the server answered {status}", sort.word()),
        );
        return Err(Stop::Outcome(match status {
            408 | 425 | 429 | 500.. => Outcome::Retry { error, retry_after_ms: None },
            _ => Outcome::Fail { error },
        }));
    }
    let said = response.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let said = said.and_then(|value| value.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
    let head = &response.body[..response.body.len().min(12)];
    let media_type = match sniff(&STANDARD.encode(head)) {
        Some(known) => known.to_owned(),
        None => said,
    };
    if !sort.allows(&media_type) || !is_text(&media_type) && sniff(&STANDARD.encode(head)).is_none() {
        return Err(wrong(sort, format!("must be of {}", sort.allowed())).into());
    }
    Ok((media_type, response.body))
}
