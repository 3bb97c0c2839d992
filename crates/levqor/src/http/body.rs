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

/// How slowly a body may come.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Between two pieces of it.
    gap: Duration,
    /// For all of it; every further `rate_bytes` received buy a second more.
    whole: Duration,
    rate_bytes: u64,
}

const PACE: Pace =
    Pace { gap: Duration::from_secs(10), whole: Duration::from_secs(30), rate_bytes: 64 * 1024 };

/// Reads a body of at most `limit_bytes`. One that announces more is refused before anything of it is read.
pub async fn read(headers: &HeaderMap, body: Body, limit_bytes: usize) -> Result<Bytes> {
    refuse_announced(headers, limit_bytes)?;
    collect(body, limit_bytes, PACE).await
}

async fn collect(mut body: Body, limit_bytes: usize, pace: Pace) -> Result<Bytes> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let started = Instant::now();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let received = first.len() + rest.len();
        let until = started + pace.whole + Duration::from_secs(received as u64 / pace.rate_bytes);
        let wait = pace.gap.min(until.saturating_duration_since(Instant::now()));
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
    use axum::response::IntoResponse as _;

    use super::*;

    /// A body of these pieces, each after a wait.
    fn pieces(count: usize, piece: &'static [u8], wait: Duration) -> Body {
        let pieces = futures_util::stream::unfold(0, move |sent| async move {
            if sent == count {
                return None;
            }
            tokio::time::sleep(wait).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(piece)), sent + 1))
        });
        Body::from_stream(pieces)
    }

    #[tokio::test]
    async fn a_body_must_keep_its_pace() {
        let ms = Duration::from_millis;
        let pace = Pace { gap: ms(200), whole: ms(400), rate_bytes: 1000 };
        let status = |result: Result<Bytes>| {
            result.map(|body| body.len()).map_err(|error| error.into_response().status())
        };

        let steady = collect(pieces(5, b"abc", ms(1)), 100, pace).await;
        assert_eq!(status(steady), Ok(15));
        let stopped = collect(pieces(1, b"abc", ms(60_000)), 100, pace).await;
        assert_eq!(status(stopped), Err(StatusCode::REQUEST_TIMEOUT), "a gap");
        let dripping = collect(pieces(1000, b"a", ms(20)), 10_000, pace).await;
        assert_eq!(status(dripping), Err(StatusCode::REQUEST_TIMEOUT), "a drip without a gap");
        let large = collect(pieces(100, b"abc", ms(1)), 100, pace).await;
        assert_eq!(status(large), Err(StatusCode::PAYLOAD_TOO_LARGE));
    }

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
