//! Step kind `http`: one call through the guarded client, and what its answer means for the step.
//!
//! Output: `{"status":…,"headers":{…},"body":…}`; the body is JSON where the answer says it is and it reads as such, else
//! text. An error names the host and the status, never the address in full, a header or a secret.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method};
use levqor_connectors::net::{self, CallError, Request, Response, Timeouts};
use levqor_core::job::{ClaimedJob, JobError};
use levqor_core::json;
use levqor_core::outcome::Outcome;
use levqor_core::scope::Scope;
use levqor_core::workflow::HttpStep;

use super::{Attempt, idempotency_key};
use crate::Shared;
use crate::ai::Paid;

/// Answers larger than this fail the step: outputs are kept in the database.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// A rendered call.
pub(crate) struct Call {
    pub request: Request,
    pub step: HttpStep,
    /// For errors; `None` when the name holds a secret.
    pub host: Option<String>,
}

/// Fills in the request. A method that may change something on the other side carries the step's idempotency key, unless
/// the definition sets that header itself.
pub(super) fn prepare(
    step: &HttpStep,
    attempt: &Attempt<'_>,
    job: &ClaimedJob,
    scope: &Scope<'_>,
) -> Result<Call, JobError> {
    let call = step.render(scope).map_err(JobError::from)?;
    let method: Method = call
        .method
        .parse()
        .map_err(|_| JobError::new("bad_request", format!("`{}` is not a method of HTTP", call.method)))?;
    let mut headers = call.headers;
    if !method.is_safe() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("idempotency-key")) {
        headers.push(("idempotency-key".to_owned(), idempotency_key(job, attempt.step)));
    }
    let host = shown_host(&call.url, scope.secrets);
    let request = Request {
        method,
        url: call.url,
        headers,
        body: call.body.map(Bytes::from).unwrap_or_default(),
        timeouts: Timeouts::within(attempt.step.timeout_ms.max(1) as u64),
        max_response_bytes: MAX_ANSWER_BYTES,
    };
    Ok(Call { request, step: step.clone(), host })
}

/// The host of a rendered URL with the port that it names, unless that holds a secret.
fn shown_host(url: &str, secrets: &BTreeMap<String, String>) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // The URL library writes names in lower case.
    let is_secret =
        secrets.values().any(|secret| !secret.is_empty() && authority.contains(&secret.to_lowercase()));
    if is_secret { None } else { Some(authority.to_owned()) }
}

pub(crate) async fn perform(shared: &Shared, call: Call, mut paid: Option<&mut Paid>) -> Outcome {
    if let Some(paid) = &mut paid {
        paid.spend();
    }
    let answer = shared.client.send(call.request).await;
    match (&answer, paid) {
        (Ok(response), Some(paid)) => paid.answered(Some(response.status.as_u16())),
        (Err(error), Some(paid)) if error.was_not_sent() => paid.not_sent(),
        _ => {}
    }
    match answer {
        Ok(response) => {
            answered(&response, call.host, call.step.accepts(response.status.as_u16()), shared.clock.now_ms())
        }
        Err(error) => failed(&error, call.host.is_none()),
    }
}

fn answered(response: &Response, host: Option<String>, is_ok: bool, now_ms: i64) -> Outcome {
    let status = response.status.as_u16();
    if is_ok {
        return Outcome::Done { output: output(response) };
    }
    let error = JobError::new(
        "http_status",
        format!("{} answered {status}", host.as_deref().unwrap_or("the server")),
    );
    // What may pass: too early, too many, a server in trouble. Everything else says that the request itself is wrong.
    if matches!(status, 408 | 425 | 429) || status >= 500 {
        return Outcome::Retry { error, retry_after_ms: net::retry_after_ms(&response.headers, now_ms) };
    }
    Outcome::Fail { error }
}

fn failed(error: &CallError, is_host_secret: bool) -> Outcome {
    let message = match is_host_secret {
        true => "the call failed; the name of its host is a secret, so there is no more to say".to_owned(),
        false => error.to_string(),
    };
    let job_error = JobError::new(error.code(), message);
    if error.is_retryable() {
        Outcome::Retry { error: job_error, retry_after_ms: None }
    } else {
        Outcome::Fail { error: job_error }
    }
}

fn output(response: &Response) -> String {
    let mut out = format!("{{\"status\":{},\"headers\":{{", response.status.as_u16());
    for (place, (name, value)) in header_map(&response.headers).iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        json::push_quoted(&mut out, name);
        out.push(':');
        json::push_quoted(&mut out, value);
    }
    out.push_str("},\"body\":");
    out.push_str(&body(response));
    out.push('}');
    out
}

/// Names in lower case; a name that comes more than once is joined by `, ` as RFC 9110 allows.
fn header_map(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let mut map = BTreeMap::<&str, String>::new();
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        map.entry(name.as_str())
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(&text);
            })
            .or_insert_with(|| text.into_owned());
    }
    map
}

fn body(response: &Response) -> String {
    let text = String::from_utf8_lossy(&response.body);
    let says_json = response
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| {
            let kind = kind.trim().to_ascii_lowercase();
            kind == "application/json" || kind.ends_with("+json")
        });
    if says_json && let Ok(compact) = json::compact(&text) {
        return compact;
    }
    // NUL cannot be stored as text on PostgreSQL; both engines store the same.
    json::quote(&text.replace('\0', "\u{fffd}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    fn response(status: u16, headers: &[(&'static str, &str)], body: &str) -> Response {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        Response {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: map,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn a_json_answer_keeps_its_numbers_and_other_answers_are_text() {
        let json = response(
            200,
            &[("content-type", "Application/JSON; charset=utf-8")],
            "{\"n\": 1.0, \"big\": 12345678901234567890}",
        );
        let broken = response(200, &[("content-type", "application/json")], "{\"n\":");
        let text = response(200, &[("x-a", "1"), ("x-a", "2")], "a\0b");

        assert!(
            output(&json).ends_with("\"body\":{\"n\":1.0,\"big\":12345678901234567890}}"),
            "{}",
            output(&json)
        );
        assert!(output(&broken).ends_with("\"body\":\"{\\\"n\\\":\"}"), "{}", output(&broken));
        assert_eq!(output(&text), "{\"status\":200,\"headers\":{\"x-a\":\"1, 2\"},\"body\":\"a\u{fffd}b\"}");
    }

    #[test]
    fn statuses_decide_between_success_retry_and_failure() {
        for (status, is_ok, expected) in [
            (200, true, "done"),
            (404, true, "done"),
            (200, false, "fail"),
            (302, false, "fail"),
            (404, false, "fail"),
            (408, false, "retry"),
            (429, false, "retry"),
            (500, false, "retry"),
            (503, false, "retry"),
        ] {
            let outcome = match answered(&response(status, &[], ""), None, is_ok, 0) {
                Outcome::Done { .. } => "done",
                Outcome::Retry { .. } => "retry",
                Outcome::Fail { .. } => "fail",
                Outcome::Wait { .. } | Outcome::Pause { .. } => "wait",
            };
            assert_eq!(outcome, expected, "{status} {is_ok}");
        }
    }

    #[test]
    fn retry_after_is_handed_on() {
        let outcome = answered(&response(429, &[("retry-after", "7")], ""), None, false, 1_000);

        let Outcome::Retry { retry_after_ms, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(retry_after_ms, Some(7_000));
    }

    #[test]
    fn a_refusal_names_the_host_unless_that_is_a_secret() {
        let secrets = BTreeMap::from([("PLACE".to_owned(), "Hidden".to_owned())]);
        for (url, expected) in [
            ("https://x.example/path?q=1", "x.example answered 404"),
            ("http://[::1]:8080", "[::1]:8080 answered 404"),
            ("https://hidden.example/", "the server answered 404"),
        ] {
            let host = shown_host(url, &secrets);
            let Outcome::Fail { error } = answered(&response(404, &[], ""), host, false, 0) else {
                panic!("{url}")
            };
            assert_eq!(error.message, expected);
        }
    }
}
