//! The governed gateway: other people's clients, on the wires of OpenAI and Anthropic, under our budgets.
//!
//! The walk of a request: `entry` (key, scope, rate, body) → core's vetting → `order` (which provider, in its own words or
//! translated, and the committed hold) → `whole` or `stream` (the answer, in the caller's words). `complete` is the same in words
//! of our own. `once` lets a question that came with a key be asked again without a second charge.
//!
//! Invariant: whoever goes away, at whatever moment, the call is read to its end and charged.

mod complete;
mod entry;
mod once;
mod order;
mod stream;
mod whole;

pub use complete::complete;
pub use entry::Entered;
pub use order::Held;
pub use stream::answer_stream;
pub use whole::answer_whole;

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue};
use levqor_core::json::{self, PathSegment};
use levqor_core::money::Nano;
use levqor_engine::ai::Over;
use tokio::sync::oneshot;

use crate::http::App;
use crate::http::error::ApiError;

/// How long an answer waits for its charge to be on disk. The charge goes on without it.
const CHARGE_WAIT: Duration = Duration::from_secs(5);

/// Answers by a task, which goes on when nobody waits for the answer any more.
async fn in_task(app: &Arc<App>, answering: impl Future<Output = Response> + Send + 'static) -> Response {
    let (told, telling) = oneshot::channel();
    app.engine.ai().spawn(async move {
        // Whoever is gone does not need it.
        let _ = told.send(answering.await);
    });
    // The process gives up, or the task panicked.
    telling.await.unwrap_or_else(|_| ApiError::internal().into_response())
}

/// Charges the call, and waits for it as long as a client would.
async fn charge(over: Over) -> Over {
    // What goes wrong is logged there, and tried again.
    let _ = tokio::time::timeout(CHARGE_WAIT, over.settle()).await;
    over
}

/// Which call it was and what it cost, as headers.
fn tell(response: &mut Response, names: &[(&'static str, String)]) {
    for (name, value) in names {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
}

/// The same JSON with `cost_usd` in its `usage`, if it has one.
fn with_cost(answer: &str, cost: Nano) -> String {
    let usage = json::lookup(answer, &[PathSegment::Name("usage".to_owned())]);
    let Some(usage) = usage.filter(|usage| usage.starts_with('{')) else { return answer.to_owned() };
    // It is a slice of the answer.
    let inside = usage.as_ptr() as usize - answer.as_ptr() as usize + 1;
    let comma = if usage[1..].trim_start().starts_with('}') { "" } else { "," };
    format!("{}\"cost_usd\":\"{cost}\"{comma}{}", &answer[..inside], &answer[inside..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_put_into_the_usage_and_nowhere_else() {
        let cost = Nano::new(7_600_000);
        for (answer, expected) in [
            (r#"{"usage":{"a":1},"b":2}"#, r#"{"usage":{"cost_usd":"0.0076","a":1},"b":2}"#),
            (r#"{"x":{"usage":{}},"usage": { } }"#, r#"{"x":{"usage":{}},"usage": {"cost_usd":"0.0076" } }"#),
            (r#"{"usage":null}"#, r#"{"usage":null}"#),
            ("[DONE]", "[DONE]"),
            ("", ""),
        ] {
            assert_eq!(with_cost(answer, cost), expected);
        }
    }
}
