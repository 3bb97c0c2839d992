//! What a caller asks for, and the checks that need no network: the address, the header fields, the method.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use levqor_core::address::{OutboundPolicy, Target, UrlProblem, judge_url};

use super::CallError;

/// Bounds on what a template may grow into; the far side would refuse more anyway.
const HEADERS_MAX: usize = 100;
const HEADERS_MAX_BYTES: usize = 64 << 10;

/// Fields that say where a message ends or what becomes of the connection. They are the client's own: a caller who could set
/// them could smuggle a second request into a shared connection.
const FRAMING: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// One call. Not printable on purpose: header fields and address may hold secrets.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub url: String,
    /// Names in any case; a name may come more than once.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub timeouts: Timeouts,
    /// The call fails when the answer's body is longer.
    pub max_response_bytes: usize,
}

/// How long the parts of a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Name look-up, TCP and TLS together; not spent when a connection is used again.
    pub connect_ms: u64,
    /// From the connection to the end of the answer's head.
    pub first_byte_ms: u64,
    /// From the start to the last byte.
    pub total_ms: u64,
}

impl Timeouts {
    /// `total_ms` for everything, of which connecting may take 10 s.
    pub fn within(total_ms: u64) -> Self {
        Self { connect_ms: total_ms.min(10_000), first_byte_ms: total_ms, total_ms }
    }
}

/// The host of a judged request, and the request as the HTTP library wants it.
pub(super) struct Prepared {
    pub(super) host: String,
    pub(super) request: reqwest::Request,
}

pub(super) fn prepare(
    method: Method,
    url: &str,
    headers: Vec<(String, String)>,
    body: Bytes,
    policy: &OutboundPolicy,
) -> Result<Prepared, CallError> {
    if method == Method::CONNECT {
        return Err(bad("the method CONNECT cannot be sent".to_owned()));
    }
    let target = judge_url(url, policy).map_err(|problem| match problem {
        UrlProblem::Refused { .. } => CallError::Refused { reason: problem.to_string() },
        UrlProblem::Scheme | UrlProblem::Malformed(_) => bad(format!("the url {problem}")),
    })?;
    let Target { url, .. } = target;
    let host = shown_host(&url);
    let mut request = reqwest::Request::new(method, url);
    *request.headers_mut() = check_headers(headers)?;
    *request.body_mut() = Some(body.into());
    Ok(Prepared { host, request })
}

/// The host as a message names it: with its port where the URL has one.
fn shown_host(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Header fields as the caller wrote them, or the first that cannot be sent.
fn check_headers(headers: Vec<(String, String)>) -> Result<HeaderMap, CallError> {
    let size: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > HEADERS_MAX || size > HEADERS_MAX_BYTES {
        return Err(bad(format!(
            "more than {HEADERS_MAX} headers, or {HEADERS_MAX_BYTES} bytes of them, cannot be sent"
        )));
    }
    let mut checked = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(bad(format!("{name:?} is no name of a header")));
        };
        if FRAMING.contains(&name.as_str()) {
            return Err(bad(format!("the header {name} cannot be set: it is the client's own")));
        }
        let Ok(mut value) = HeaderValue::from_str(&value) else {
            return Err(bad(format!(
                "the header {name} must not hold line breaks or other control characters"
            )));
        };
        // Keeps values out of the library's debug output.
        value.set_sensitive(true);
        checked.append(name, value);
    }
    Ok(checked)
}

fn bad(reason: String) -> CallError {
    CallError::BadRequest { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)]) -> Result<HeaderMap, CallError> {
        check_headers(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn headers_that_would_break_the_framing_are_refused_by_name() {
        for name in ["Host", "CONTENT-LENGTH", "Transfer-Encoding", "connection", "Upgrade", "te", "Expect"] {
            let error = check(&[("x-fine", "1"), (name, "1")]).expect_err(name);
            assert!(error.to_string().contains(&name.to_ascii_lowercase()), "{error}");
            assert_eq!((error.code(), error.is_retryable()), ("bad_request", false));
        }
    }

    #[test]
    fn values_and_names_that_could_start_another_line_are_refused_and_not_repeated() {
        for value in ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b", "a\u{7f}"] {
            let error = check(&[("x-token", value)]).expect_err(value);
            assert_eq!(
                error.to_string(),
                "the header x-token must not hold line breaks or other control characters"
            );
        }
        for name in ["", "a b", "a:b", "a\r\nb", "ä"] {
            assert_eq!(check(&[(name, "1")]).expect_err(name).code(), "bad_request");
        }
    }

    #[test]
    fn headers_are_bounded_in_number_and_size() {
        let many: Vec<_> = (0..=HEADERS_MAX).map(|_| ("x", "1")).collect();
        let long = "a".repeat(HEADERS_MAX_BYTES);

        assert!(check(&many[1..]).is_ok());
        assert_eq!(check(&many).expect_err("too many").code(), "bad_request");
        assert_eq!(check(&[("x", &long)]).expect_err("too long").code(), "bad_request");
    }
}
