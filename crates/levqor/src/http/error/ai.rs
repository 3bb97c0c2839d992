//! Refusals of AI calls: which status each has, and how the vendors whose wires are spoken would write it.
//!
//! What SDKs make of a status decides it. A budget that is spent is 402, which they hand on at once: 429 they would send again
//! and again until the period is over. Money that others hold is 429 with `Retry-After`, for that comes back by itself. A
//! failure that was charged says `x-should-retry: false`, which OpenAI's and Anthropic's own SDKs obey: each try costs.

use std::fmt::Display;

use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};
use levqor_connectors::ai::Untold;
use levqor_core::gateway::{Refused, UnknownModel};
use levqor_core::money::{Charge, Ending, Wire};
use levqor_engine::ai::{NotHeld, Over, Pause};
use levqor_store::{Reason, Refusal};
use serde_json::{Value, json};

use super::ApiError;
use crate::http::body;

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// Others' calls end within seconds, as a rule.
const BUSY_SECS: u64 = 2;
const BUSY_MS: i64 = 2_000;
/// So much of a model's name is repeated.
const MODEL_CHARS: usize = 120;
/// A person has to look first.
const QUARANTINE_MS: i64 = 300_000;

impl ApiError {
    /// Nobody needs to try this again by itself.
    fn for_good(self) -> Self {
        self.header(SHOULD_RETRY, HeaderValue::from_static("false"))
    }

    /// 401 on the wires of vendors, whose SDKs know it as a wrong key.
    pub fn wrong_ai_key() -> Self {
        let message =
            "no valid key: send one of Levqor's with the scope `ai`, as Authorization: Bearer or x-api-key";
        ApiError::named(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    }

    /// 404: this wire has more paths than are offered here.
    pub fn no_wire_path(path: &str) -> Self {
        let path: String = path.chars().filter(|c| c.is_ascii_graphic()).take(80).collect();
        let message = format!(
            "there is no {path} here; there are POST /v1/chat/completions, POST /v1/messages, POST /v1/messages/count_tokens and GET /v1/models"
        );
        ApiError::named(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 404: nothing of this name can be called.
    pub fn unknown_model(name: &str) -> Self {
        UnknownModel::None(name.chars().take(MODEL_CHARS).collect()).into()
    }

    /// 409: the same question came with this key before, and its answer is still on its way.
    pub fn in_progress() -> Self {
        let message = "the request of this Idempotency-Key is still being answered; send it again in a while";
        ApiError::named(StatusCode::CONFLICT, "request_in_progress", message).retry_after(BUSY_SECS)
    }

    /// 409: the question of this key was charged, and there is no answer to give.
    pub fn answer_lost(call: impl Display) -> Self {
        let message = format!(
            "the call {call} of this Idempotency-Key was charged, and its answer is lost; use a new key to pay for another"
        );
        let error = ApiError::named(StatusCode::CONFLICT, "answer_lost", message);
        error.told_of("x-levqor-call", call.to_string()).for_good()
    }

    /// The answer does not have the form that was asked for.
    pub fn unfit_answer(problems: impl Iterator<Item = (String, String)>) -> Self {
        let message = "the model's answer does not fit the schema; it was charged";
        ApiError::named(StatusCode::BAD_GATEWAY, "invalid_output", message).fields(problems).for_good()
    }

    /// Adds a member of an answer to an error: what the call cost, for instance.
    pub fn besides(self, member: &str, value: Value) -> Self {
        self.with(member, value)
    }

    /// A call that was made and gave no answer.
    pub fn no_answer(over: &Over) -> Self {
        let word = over.answer.error.as_deref().unwrap_or("no_answer");
        let provider = over.model();
        let provider = provider.split('/').next().unwrap_or_default();
        let status = over.answer.status.map_or(0, |status| status.as_u16());
        let error = match (&over.answer.ending, status) {
            (Ending::Refused { .. }, 400 | 404 | 413 | 422) => {
                // The caller's own request is what it speaks of.
                let said = over.answer.said.as_deref().unwrap_or(word);
                let message = format!("{provider}: {said}");
                let status = over.answer.status.unwrap_or(StatusCode::BAD_REQUEST);
                ApiError::named(status, "provider_refused", message)
            }
            (Ending::Refused { .. }, 429) => {
                let secs =
                    over.answer.retry_after_ms.map_or(BUSY_SECS, |ms| (ms.max(0) as u64).div_ceil(1_000));
                let message = format!("{provider} takes no more calls for a while ({word})");
                ApiError::named(StatusCode::TOO_MANY_REQUESTS, "provider_rate_limited", message)
                    .retry_after(secs)
            }
            (Ending::Refused { .. }, 503 | 529) => {
                let message = format!("{provider} is overloaded ({word})");
                let error = ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "provider_overloaded", message);
                error.retry_after(BUSY_SECS)
            }
            (Ending::InDoubt | Ending::Cut, _) if word.contains("timeout") => {
                let message = format!("{provider} did not answer in time");
                ApiError::named(StatusCode::GATEWAY_TIMEOUT, "provider_timeout", message)
            }
            (Ending::NotSent, _) => {
                let message = format!("{provider} cannot be reached ({word})");
                ApiError::named(StatusCode::BAD_GATEWAY, "provider_unreachable", message)
            }
            // A key that is refused is ours, not the caller's.
            _ => {
                let message = format!("{provider} gave no answer ({word})");
                ApiError::named(StatusCode::BAD_GATEWAY, "provider_failed", message)
            }
        };
        match over.charge {
            Charge::Release => error,
            Charge::Settle { .. } | Charge::Assume { .. } => error.for_good(),
        }
    }

    /// The refusal as the vendor of `wire` would write it, so that its SDKs raise what their users catch.
    pub fn on_wire(self, wire: Wire) -> Response {
        let body = self.wire_body(wire);
        let mut response = body::json(self.0.status, &body);
        response.headers_mut().extend(self.0.headers);
        response
    }

    /// Its body there, as the event of a stream has it too.
    pub fn wire_body(&self, wire: Wire) -> Value {
        let text = |name: &str| self.0.body.get(name).and_then(Value::as_str);
        let code = text("error").unwrap_or("error");
        let message = text("message").unwrap_or(match code {
            "rate_limited" => "too many requests; see Retry-After",
            "internal_error" => "a fault of ours; the server's log says more",
            code => code,
        });
        let kind = kind(wire, self.0.status);
        match wire {
            Wire::Anthropic => {
                json!({"type": "error", "error": {"type": kind, "message": message, "code": code}})
            }
            _ => {
                let param = self
                    .0
                    .body
                    .get("fields")
                    .and_then(Value::as_object)
                    .and_then(|fields| fields.keys().next());
                json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
            }
        }
    }
}

/// The vendor's word for the kind of error.
fn kind(wire: Wire, status: StatusCode) -> &'static str {
    match (wire, status.as_u16()) {
        (Wire::Anthropic, 402) => "billing_error",
        (_, 402) => "insufficient_quota",
        (_, 401) => "authentication_error",
        (_, 403) => "permission_error",
        (Wire::Anthropic, 404) => "not_found_error",
        (Wire::Anthropic, 413) => "request_too_large",
        (_, 429) => "rate_limit_error",
        (Wire::Anthropic, 503) => "overloaded_error",
        (Wire::Anthropic, 504) => "timeout_error",
        (Wire::Anthropic, 500..) => "api_error",
        (_, 500..) => "server_error",
        _ => "invalid_request_error",
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        ApiError::invalid("invalid_request", refused.message.clone()).field(&refused.at, refused.message)
    }
}

impl From<Untold> for ApiError {
    fn from(untold: Untold) -> Self {
        let message = untold.to_string();
        ApiError::invalid("invalid_request", message.clone()).field(&untold.at, message)
    }
}

impl From<UnknownModel> for ApiError {
    fn from(unknown: UnknownModel) -> Self {
        let message = unknown.to_string();
        match unknown {
            UnknownModel::None(_) => ApiError::named(StatusCode::NOT_FOUND, "model_not_found", message),
            UnknownModel::Several { .. } => {
                ApiError::invalid("invalid_request", message.clone()).field("model", message)
            }
        }
    }
}

impl ApiError {
    /// A call that was not made. Nothing was held.
    pub fn not_held(not_held: NotHeld, now_ms: i64) -> Self {
        let message = not_held.to_string();
        match not_held {
            NotHeld::NoProvider { .. } => ApiError::named(StatusCode::NOT_FOUND, "model_not_found", message),
            NotHeld::NoKey { .. } => ApiError::not_configured(message).for_good(),
            NotHeld::Connection(error) => error.into(),
            NotHeld::NoPrice { .. } | NotHeld::Unpriced(_) => {
                ApiError::named(StatusCode::UNPROCESSABLE_ENTITY, "price_unknown", message)
            }
            NotHeld::NotServed { .. } => ApiError::invalid("model_not_served", message),
            NotHeld::InputTooLong { .. } => ApiError::invalid("input_too_long", message),
            NotHeld::Budget(refusal) => by_budget(&refusal, message),
            NotHeld::Busy { pause, until_ms } => {
                paused(&pause, until_ms.map(|at_ms| at_ms - now_ms), message)
            }
            NotHeld::Known { .. } => ApiError::in_progress(),
            NotHeld::Store(error) => error.into(),
        }
    }
}

fn by_budget(refusal: &Refusal, message: String) -> ApiError {
    let error = match refusal.reason {
        Reason::SpentOut => {
            ApiError::named(StatusCode::PAYMENT_REQUIRED, "budget_exceeded", message).for_good()
        }
        Reason::HeldOut | Reason::TooManyOpen => {
            ApiError::named(StatusCode::TOO_MANY_REQUESTS, "budget_busy", message).retry_after(BUSY_SECS)
        }
        // It lasts until somebody corrects those calls, or the period is over.
        Reason::TooMuchAssumed => {
            ApiError::named(StatusCode::PAYMENT_REQUIRED, "budget_uncertain", message).for_good()
        }
    };
    let error = error
        .told_of("x-levqor-budget", &refusal.budget)
        .told_of("x-levqor-scope", refusal.scope.kind.as_str())
        .told_of("x-levqor-subject", &refusal.subject)
        .told_of("x-levqor-limit-usd", refusal.limit)
        .told_of("x-levqor-spent-usd", refusal.spent)
        .told_of("x-levqor-held-usd", refusal.held)
        .told_of("x-levqor-wanted-usd", refusal.wanted);
    match refusal.resets_at_ms {
        Some(at_ms) => error.told_of("x-levqor-resets-at", at_ms.div_euclid(1_000)),
        None => error,
    }
}

fn paused(pause: &Pause, wait_ms: Option<i64>, message: String) -> ApiError {
    let status = match pause {
        Pause::Limit { .. } | Pause::Told { .. } => StatusCode::TOO_MANY_REQUESTS,
        Pause::Breaker { .. } | Pause::Quarantine { .. } => StatusCode::SERVICE_UNAVAILABLE,
    };
    let usual_ms = if matches!(pause, Pause::Quarantine { .. }) { QUARANTINE_MS } else { BUSY_MS };
    let secs = (wait_ms.unwrap_or(usual_ms).max(1) as u64).div_ceil(1_000);
    let error = ApiError::named(status, "ai_busy", message).retry_after(secs);
    if matches!(pause, Pause::Quarantine { .. }) { error.for_good() } else { error }
}
