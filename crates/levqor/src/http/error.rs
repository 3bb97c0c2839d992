//! The one place that picks statuses and bodies of refusals.
//!
//! Three shapes, kept apart by the constructors: the bare one of the first version (`{"error":…}`), its validation errors
//! (`{"error":…,"details":…}`), and the one of newer routes (`{"error":<stable code>,"message":<text>}` plus `fields`).
//! No body of a 5xx holds a cause; causes are logged where they are met.

mod ai;

use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use levqor_connectors::catalogue::Vendor;
use levqor_connectors::stripe::Error as StripeError;
use levqor_connectors::{Error as CallError, Failure};
use levqor_core::intake::Invalid;
use levqor_core::key::{Scope, Scopes};
use levqor_engine::backup::BackupError;
use levqor_engine::{ConnectError, DefinitionError, IntakeError};
use serde_json::{Map, Value};

use super::body;
use super::headers;

/// A refusal on its way to the client.
#[derive(Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    body: Map<String, Value>,
    headers: HeaderMap,
}

pub type Result<T, E = ApiError> = std::result::Result<T, E>;

impl ApiError {
    fn bare(status: StatusCode, code: &str) -> Self {
        let body = Map::from_iter([("error".to_owned(), Value::from(code))]);
        ApiError(Box::new(Inner { status, body, headers: HeaderMap::new() }))
    }

    fn named(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        ApiError::bare(status, code).with("message", message.into())
    }

    fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.body.insert(member.to_owned(), value.into());
        self
    }

    /// Adds a header to the answer.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The connection is closed after the answer: what follows on it cannot be trusted, or is not wanted.
    fn closing(self) -> Self {
        self.header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    fn retry_after(self, secs: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(secs))
    }

    /// Adds a header that is told by name; what no header can hold is left out.
    pub fn told_of(self, name: &'static str, value: impl ToString) -> Self {
        match HeaderValue::from_str(&value.to_string()) {
            Ok(value) => self.header(HeaderName::from_static(name), value),
            Err(_) => self,
        }
    }

    /// Whether it is what everybody without a valid key is told.
    pub fn is_wrong_key(&self) -> bool {
        self.0.status == StatusCode::FORBIDDEN && !self.0.body.contains_key("message")
    }

    /// The members of the body, for the verdict on one line of a batch.
    pub fn into_body(self) -> Map<String, Value> {
        self.0.body
    }

    // ---- shapes of the first version -----------------------------------------------------------------------------

    /// 400 of a route that the first version had: a text per route, and one violation as text.
    pub fn legacy(error: &str, details: Option<String>) -> Self {
        ApiError::bare(StatusCode::BAD_REQUEST, error).with("details", details)
    }

    pub fn forbidden() -> Self {
        ApiError::bare(StatusCode::FORBIDDEN, "forbidden")
    }

    /// 403: a right key that may not do this.
    pub fn lacks_scope(needed: Scope, has: Scopes) -> Self {
        let has = has.to_string().replace(',', ", ");
        let message = format!("this needs a key with the scope `{needed}`; this one has: {has}");
        ApiError::named(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub fn not_found() -> Self {
        ApiError::bare(StatusCode::NOT_FOUND, "not_found")
    }

    /// 404 of the status route, which echoes the id as it was asked for.
    pub fn unknown_job(id: &str) -> Self {
        ApiError::not_found().with("job_id", id)
    }

    /// 404 of the lookup, which echoes the address as it was looked for.
    pub fn unknown_email(email: &str) -> Self {
        ApiError::not_found().with("email", email)
    }

    /// 404 of the first version's routes for one person, which echo the id as it was asked for.
    pub fn unknown_user(id: &str) -> Self {
        ApiError::not_found().with("user_id", id)
    }

    /// 429; the caller adds the headers that say when to come back.
    pub fn rate_limited() -> Self {
        ApiError::bare(StatusCode::TOO_MANY_REQUESTS, "rate_limited")
    }

    pub fn internal() -> Self {
        ApiError::bare(StatusCode::INTERNAL_SERVER_ERROR, "internal_error")
    }

    pub fn method_not_allowed() -> Self {
        ApiError::bare(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
    }

    pub fn legacy_content_type(expected: &str) -> Self {
        ApiError::legacy(&format!("Content-Type must be {expected}"), None)
    }

    /// 400 for a body that is not the JSON that a route takes.
    pub fn unreadable(problem: impl ToString) -> Self {
        ApiError::legacy(levqor_core::intake::INVALID_BODY, Some(problem.to_string()))
    }

    /// 400: there is no connector of that name.
    pub fn invalid_connector() -> Self {
        ApiError::bare(StatusCode::BAD_REQUEST, "invalid_connector")
            .with("valid", Vendor::ALL.map(Vendor::name).to_vec())
    }

    // ---- shapes of newer routes ----------------------------------------------------------------------------------

    /// 400: malformed or invalid.
    pub fn invalid(code: &str, message: impl Into<String>) -> Self {
        ApiError::named(StatusCode::BAD_REQUEST, code, message)
    }

    /// 400: the body is said to be, or not said to be, something that the route does not take.
    pub fn content_type(expected: &str) -> Self {
        ApiError::invalid("wrong_content_type", format!("Content-Type must be {expected}"))
    }

    /// Adds what is wrong at one place, unless that is the body as a whole.
    pub fn field(self, at: &str, what: String) -> Self {
        if at.is_empty() { self } else { self.fields([(at.to_owned(), what)]) }
    }

    /// Adds what is wrong where: JSON pointer → text.
    pub fn fields(self, fields: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut members = Map::new();
        for (at, what) in fields {
            // Two findings at one place are both told.
            let told = match members.get(&at).and_then(Value::as_str) {
                Some(earlier) => format!("{earlier}; {what}"),
                None => what,
            };
            members.insert(at, told.into());
        }
        self.with("fields", members)
    }

    /// 404 of a newer route.
    pub fn missing(what: &str) -> Self {
        ApiError::named(StatusCode::NOT_FOUND, "not_found", format!("no such {what}"))
    }

    /// 409: it exists, in a state that does not allow it.
    pub fn conflict(message: impl Into<String>) -> Self {
        ApiError::named(StatusCode::CONFLICT, "conflict", message)
    }

    /// 422: the idempotency key was used before with another body.
    pub fn idempotency_mismatch() -> Self {
        let message =
            "this Idempotency-Key was used before with another body; use a new key for a new request";
        ApiError::named(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", message)
    }

    /// 503: try again later.
    pub fn unavailable(message: impl Into<String>) -> Self {
        ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).retry_after(1)
    }

    /// A connector's request or vendor went wrong.
    pub fn connector(vendor: Vendor, error: CallError) -> Self {
        match error {
            CallError::ActionRequired
            | CallError::CredentialsRequired(_)
            | CallError::UnknownAction(_)
            | CallError::ParamsRequired(_) => ApiError::bare(StatusCode::BAD_REQUEST, &error.to_string()),
            CallError::Invalid(fields) => ApiError::invalid_request(fields),
            CallError::Vendor(failure) => ApiError::vendor(vendor, &failure),
        }
    }

    /// A request to a vendor, or its connection, went wrong.
    pub fn connect(vendor: Vendor, error: ConnectError) -> Self {
        match error {
            ConnectError::Call(error) => ApiError::connector(vendor, error),
            other => other.into(),
        }
    }

    /// 400: members that are unknown or break the rules.
    fn invalid_request(fields: Vec<(String, String)>) -> Self {
        let message = fields.first().map(|(_, what)| what.clone()).unwrap_or_default();
        ApiError::invalid("invalid_request", message).fields(fields)
    }

    /// 503: somebody must set something up first.
    pub fn not_configured(message: impl Into<String>) -> Self {
        ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "not_configured", message)
    }

    /// 429, 502 or 504: a vendor's fault, told in its own word and nobody else's.
    fn vendor(vendor: Vendor, failure: &Failure) -> Self {
        let code = match vendor {
            Vendor::Gmail => "gmail_api_error",
            Vendor::Notion => "notion_api_error",
            Vendor::Slack => "slack_api_error",
            Vendor::Telegram => "telegram_api_error",
        };
        ApiError::failed_call(code, failure, vendor.name())
    }

    /// `code` stands for a refusal; the other faults are the same whoever the vendor is.
    fn failed_call(code: &str, failure: &Failure, vendor: &str) -> Self {
        let bad_gateway = StatusCode::BAD_GATEWAY;
        let text = failure.to_string();
        let error = match failure {
            Failure::Refused { .. } | Failure::Unauthorized { .. } | Failure::Failed { .. } => {
                ApiError::named(bad_gateway, code, text)
            }
            Failure::RateLimited { retry_after_secs, .. } => {
                let limited = ApiError::named(StatusCode::TOO_MANY_REQUESTS, "connector_rate_limited", text);
                limited.retry_after(*retry_after_secs)
            }
            Failure::Timeout { .. } => {
                ApiError::named(StatusCode::GATEWAY_TIMEOUT, "connector_timeout", text)
            }
            Failure::Unreachable { .. } => ApiError::named(bad_gateway, "connector_unreachable", text),
            Failure::BadAnswer => ApiError::named(bad_gateway, "connector_bad_answer", text),
        };
        error.with("connector", vendor).with("vendor_error", failure.word())
    }

    // ---- billing -------------------------------------------------------------------------------------------------

    /// 400 of the webhook, in the first version's words.
    pub fn invalid_signature() -> Self {
        ApiError::bare(StatusCode::BAD_REQUEST, "invalid_signature")
    }

    /// 400 of the webhook: believed, but no event.
    pub fn invalid_event() -> Self {
        ApiError::bare(StatusCode::BAD_REQUEST, "invalid_payload")
    }

    /// Stripe made no session.
    pub fn stripe(error: &StripeError) -> Self {
        match error {
            StripeError::IdempotencyMismatch => ApiError::idempotency_mismatch(),
            StripeError::Vendor(failure) => ApiError::failed_call("stripe_api_error", failure, "stripe"),
        }
    }

    // ---- HTTP itself ---------------------------------------------------------------------------------------------

    pub fn body_too_large(limit_bytes: usize) -> Self {
        let message = format!("the body may have at most {limit_bytes} bytes");
        ApiError::named(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message).closing()
    }

    pub fn slow_body() -> Self {
        ApiError::named(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body came too slowly").closing()
    }

    pub fn broken_body() -> Self {
        ApiError::named(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "the body ended early or its chunks are malformed",
        )
        .closing()
    }

    /// The request was not well-formed HTTP (see `gate.rs`).
    pub fn refused_head(status: StatusCode, message: &str) -> Self {
        let code = match status {
            StatusCode::REQUEST_TIMEOUT => "request_timeout",
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "headers_too_large",
            StatusCode::HTTP_VERSION_NOT_SUPPORTED => "http_version_not_supported",
            _ => "bad_request",
        };
        ApiError::named(status, code, message).closing()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Inner { status, body, headers } = *self.0;
        let mut response = body::json(status, &body);
        response.headers_mut().extend(headers);
        response
    }
}

/// An error with its sources, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl From<levqor_store::Error> for ApiError {
    fn from(error: levqor_store::Error) -> Self {
        use levqor_store::Error;
        match error {
            Error::NotFound { what } => ApiError::missing(what),
            Error::Conflict { what } => ApiError::conflict(what),
            Error::Unavailable(cause) => {
                tracing::warn!(cause = chain(&*cause), "the database is not available");
                ApiError::unavailable("the database is not available; try again")
            }
            // Only a start meets this; it is here so that a new kind of error cannot be forgotten.
            Error::Refused { what } => {
                tracing::error!(what, "the database refused");
                ApiError::unavailable("the database is not available; try again")
            }
            Error::Bug(cause) => {
                tracing::error!(cause = chain(&*cause), "unexpected answer of the database");
                ApiError::internal()
            }
        }
    }
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Store(error) => error.into(),
            BackupError::Busy(_) => {
                ApiError::conflict("another backup is being made; look at GET /api/v1/ops/backups")
            }
            BackupError::File { .. }
            | BackupError::Damaged { .. }
            | BackupError::None(_)
            | BackupError::Off => {
                tracing::warn!(cause = chain(&error), "the folder of backups cannot be used");
                ApiError::unavailable("the folder of backups cannot be used; the log says why")
            }
        }
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        ApiError::legacy(&invalid.error, invalid.details)
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::InvalidPayload(fields) => {
                let message = "the payload does not fit the workflow's schema";
                ApiError::invalid("invalid_payload", message).fields(fields)
            }
            IntakeError::WorkflowDeleted(name) => ApiError::invalid(
                "workflow_deleted",
                format!("workflow `{name}` was deleted; put it again to use it"),
            ),
            IntakeError::WorkflowUnreadable(name) => {
                ApiError::unavailable(format!("workflow `{name}` was stored by a newer Levqor than this one"))
            }
            IntakeError::IdempotencyConflict => ApiError::idempotency_mismatch(),
            IntakeError::Store(error) => error.into(),
        }
    }
}

impl From<ConnectError> for ApiError {
    fn from(error: ConnectError) -> Self {
        let told = error.to_string();
        let at_connection = [("/connection".to_owned(), told.clone())];
        match error {
            ConnectError::Call(CallError::Invalid(fields)) => ApiError::invalid_request(fields),
            ConnectError::Call(_) => ApiError::invalid("invalid_request", told),
            ConnectError::UnknownConnection { .. } => {
                ApiError::invalid("unknown_connection", told).fields(at_connection)
            }
            ConnectError::OtherConnector { .. } => {
                ApiError::invalid("connection_mismatch", told).fields(at_connection)
            }
            ConnectError::CannotOpen { name, cause } => {
                tracing::error!(connection = name, cause, "a stored connection cannot be opened");
                let message =
                    format!("the connection `{name}` cannot be opened; store its credentials again");
                ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "connection_unreadable", message)
            }
            ConnectError::NoKey => ApiError::not_configured(told),
            ConnectError::Store(error) => error.into(),
        }
    }
}

impl From<DefinitionError> for ApiError {
    fn from(error: DefinitionError) -> Self {
        match error {
            DefinitionError::Invalid(problems) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                let fields = problems.into_iter().map(|mut problem| {
                    let path = std::mem::take(&mut problem.path);
                    (path, problem.to_string())
                });
                ApiError::invalid("invalid_workflow", first).fields(fields)
            }
            DefinitionError::Store(error) => error.into(),
        }
    }
}

/// The answer when there is no room for another connection.
pub fn too_many_connections() -> Vec<u8> {
    let body = "{\"error\":\"unavailable\",\"message\":\"too many connections\"}\n";
    unserved("503 Service Unavailable\r\nretry-after: 1", body)
}

/// The answer to plain HTTP where TLS is expected.
pub fn plain_http() -> Vec<u8> {
    let body = "{\"error\":\"https_required\",\"message\":\"this port speaks TLS: use https://\"}\n";
    unserved("400 Bad Request", body)
}

/// An answer that is written without hyper; `status` may bring headers along.
fn unserved(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{}: application/json\r\n{}: {}\r\nconnection: close\r\n{}\r\n{body}",
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        body.len(),
        headers::as_text()
    )
    .into_bytes()
}
