//! Answers that a client may keep and fetch in parts: an `ETag` made of the bytes, `Last-Modified` where it is known, 304 to who
//! has them already, 206 to who asks for a range (RFC 9110 §13 and §14). One range is served; to several the whole is an answer too.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use sha2::{Digest as _, Sha256};

/// A strong tag: the same bytes have the same one on every node and after every restart.
pub fn etag(bytes: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{hex}\"")).expect("hex in quotes is a header value")
}

/// What stands at an address.
pub struct File {
    pub content_type: &'static str,
    pub bytes: Bytes,
    pub etag: HeaderValue,
    /// Since when it is what it is; `None` where that cannot be told.
    pub modified_ms: Option<i64>,
}

impl File {
    /// 200 with the bytes, 206 with some of them, 416 when there are none such, or 304 to who has them.
    pub fn answer(&self, method: &Method, asked: &HeaderMap) -> Response {
        let modified = self.modified_ms.map(http_time);
        let mut response = if self.is_known(asked, modified) {
            status(StatusCode::NOT_MODIFIED)
        } else {
            match self.asked_part(method, asked, modified) {
                Part::Whole => self.ok(self.bytes.clone()),
                Part::Bytes(range) => {
                    let content_range =
                        format!("bytes {}-{}/{}", range.start, range.end - 1, self.bytes.len());
                    let mut response = self.ok(self.bytes.slice(range));
                    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                    set(&mut response, header::CONTENT_RANGE, &content_range);
                    response
                }
                Part::None => {
                    let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE);
                    set(&mut response, header::CONTENT_RANGE, &format!("bytes */{}", self.bytes.len()));
                    response
                }
            }
        };
        response.headers_mut().insert(header::ETAG, self.etag.clone());
        set(&mut response, header::CACHE_CONTROL, "no-cache");
        set(&mut response, header::ACCEPT_RANGES, "bytes");
        if let Some(modified) = modified {
            set(&mut response, header::LAST_MODIFIED, &httpdate::fmt_http_date(modified));
        }
        response
    }

    fn ok(&self, bytes: Bytes) -> Response {
        let mut response = Response::new(Body::from(bytes));
        set(&mut response, header::CONTENT_TYPE, self.content_type);
        response
    }

    /// A tag counts before a date, which is coarse.
    fn is_known(&self, asked: &HeaderMap, modified: Option<SystemTime>) -> bool {
        if asked.contains_key(header::IF_NONE_MATCH) {
            let own = self.etag.to_str().unwrap_or_default();
            let lines = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
            let mut tags =
                lines.flat_map(|line| line.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
            return tags.any(|tag| tag == own || tag == "*");
        }
        let since =
            text(asked, header::IF_MODIFIED_SINCE).and_then(|date| httpdate::parse_http_date(date).ok());
        since.zip(modified).is_some_and(|(since, modified)| modified <= since)
    }

    fn asked_part(&self, method: &Method, asked: &HeaderMap, modified: Option<SystemTime>) -> Part {
        let Some(range) = text(asked, header::RANGE).filter(|_| *method == Method::GET) else {
            return Part::Whole;
        };
        if let Some(condition) = asked.get(header::IF_RANGE) {
            let is_date = || {
                let date = condition.to_str().ok().and_then(|date| httpdate::parse_http_date(date).ok());
                date.is_some() && date == modified
            };
            if *condition != self.etag && !is_date() {
                return Part::Whole;
            }
        }
        part(range, self.bytes.len())
    }
}

/// What is asked for of a file.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Bytes(Range<usize>),
    /// A range that lies behind the end.
    None,
}

/// Reads `bytes=0-99`, `bytes=100-`, `bytes=-100`. What is something else is passed over, as the standard has it.
fn part(range: &str, length: usize) -> Part {
    let Some((unit, set)) = range.split_once('=') else { return Part::Whole };
    let Some((first, last)) = set.trim().split_once('-') else { return Part::Whole };
    let number = |digits: &str| -> Option<usize> {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // Beyond what can be counted is beyond the end.
        is_number.then(|| digits.parse().unwrap_or(usize::MAX))
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Part::Whole;
    }
    let wanted = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(count)) if first.is_empty() => length.saturating_sub(count)..length,
        _ => return Part::Whole,
    };
    if wanted.is_empty() { Part::None } else { Part::Bytes(wanted) }
}

/// Since when the program is what it is, and so all that is embedded in it.
pub fn program_ms(now_ms: i64) -> i64 {
    let modified = std::env::current_exe().and_then(std::fs::metadata).and_then(|program| program.modified());
    let since_1970 = modified.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let ms = since_1970.and_then(|at| i64::try_from(at.as_millis()).ok());
    // A date in the future would be believed by nobody.
    ms.unwrap_or(now_ms).min(now_ms)
}

/// Whole seconds, as dates of HTTP are.
fn http_time(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(ms / 1000).unwrap_or(0))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// For values that are made here: ASCII without control characters.
fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_the_standard_has_it_and_nonsense_is_passed_over() {
        for (range, expected) in [
            ("bytes=0-0", Part::Bytes(0..1)),
            ("bytes=2-5", Part::Bytes(2..6)),
            ("BYTES = 2-5", Part::Bytes(2..6)),
            ("bytes=2-", Part::Bytes(2..10)),
            ("bytes=-3", Part::Bytes(7..10)),
            ("bytes=-99", Part::Bytes(0..10)),
            ("bytes=5-99999999999999999999999999", Part::Bytes(5..10)),
            ("bytes=10-", Part::None),
            ("bytes=10-11", Part::None),
            ("bytes=99999999999999999999999999-", Part::None),
            ("bytes=-0", Part::None),
            ("bytes=5-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=--1", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("0-1", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(part(range, 10), expected, "{range:?}");
        }
        assert_eq!(part("bytes=0-", 0), Part::None);
    }
}
