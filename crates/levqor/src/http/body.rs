//! Bodies, both ways: request bodies read under limits of size and time, answers written as compact JSON.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::Serialize;
use tokio::time::Instant;

use super::error::{ApiError, Result};
use super::headers::JSON;

/// Between two pieces of a body.
const GAP: Duration = Duration::from_secs(10);

/// For a whole body; every further [`MIN_RATE_BYTES`] received buy a second more.
const WHOLE: Duration = Duration::from_secs(30);

const MIN_RATE_BYTES: u64 = 64 * 1024;

/// Reads a body of at most `limit_bytes`. One that announces more is refused before anything of it is read.
pub async fn read(headers: &HeaderMap, mut body: Body, limit_bytes: usize) -> Result<Bytes> {
    refuse_announced(headers, limit_bytes)?;
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let started = Instant::now();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let received = first.len() + rest.len();
        let until = started + WHOLE + Duration::from_secs(received as u64 / MIN_RATE_BYTES);
        let wait = GAP.min(until.saturating_duration_since(Instant::now()));
        let frame = match tokio::time::timeout(wait, body.frame()).await {
            Err(_) => return Err(ApiError::slow_body()),
            Ok(Some(Err(_))) => return Err(ApiError::broken_body()),
            Ok(Some(Ok(frame))) => frame,
            Ok(None) if rest.is_empty() => return Ok(first),
            Ok(None) => return Ok(rest.freeze()),
        };
        let Ok(data) = frame.into_data() else { continue };
        if received + data.len() > limit_bytes {
            return Err(ApiError::body_too_large(limit_bytes));
        }
        if received == 0 {
            first = data;
        } else {
            // Most bodies come in one piece and are never copied.
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            return Ok(if rest.is_empty() { first } else { rest.freeze() });
        }
    }
}

/// 413 for a `Content-Length` over the limit.
pub fn refuse_announced(headers: &HeaderMap, limit_bytes: usize) -> Result<()> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(bytes) if bytes > limit_bytes as u64 => Err(ApiError::body_too_large(limit_bytes)),
        _ => Ok(()),
    }
}

/// Whether the Content-Type is `application/json` or `application/*+json`, in any letter case, with any parameters.
pub fn is_json(headers: &HeaderMap) -> bool {
    let essence = content_type(headers);
    let Some(subtype) = essence.strip_prefix("application/") else { return false };
    subtype == "json" || (subtype.len() > "+json".len() && subtype.ends_with("+json"))
}

/// The media type in lower case, without parameters; empty when there is none or more than one.
pub fn content_type(headers: &HeaderMap) -> String {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return String::new() };
    let text = value.to_str().unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// An answer in JSON: compact, a newline at the end. Structs list their members in alphabetical order, as maps do.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut text = serde_json::to_vec(value).expect("answers are plain maps and structs with string keys");
    text.push(b'\n');
    raw_json(status, text)
}

/// An answer whose JSON text is already made.
pub fn raw_json(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// An answer of another kind.
pub fn text(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response {
    let mut response = raw_json(status, text);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn json_content_types_are_known_in_all_their_spellings() {
        let cases = [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("application/vnd.api+JSON ; v=1", true),
            ("application/+json", false),
            ("text/json", false),
            ("text/plain", false),
            ("application/jsonx", false),
            ("", false),
        ];
        for (value, expected) in cases {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_json(&headers), expected, "{value:?}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
