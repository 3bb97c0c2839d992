//! `POST /api/v1/intake/batch`: many jobs in one commit, a verdict for each line.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use levqor_core::address::OutboundPolicy;
use levqor_core::intake::{IntakeRequest, Invalid, body_hash, parse_batch_line};
use levqor_core::job::Idempotency;
use levqor_core::json::text_from_body;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::query::Query;
use crate::http::App;
use crate::http::body;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::headers::IDEMPOTENCY_KEY;
use crate::http::schema::LineView;

const MAX_LINES: usize = 5_000;

/// A verdict for every line that is not blank, in their order.
#[derive(Serialize, ToSchema)]
pub struct BatchView {
    accepted: usize,
    refused: usize,
    #[schema(value_type = Vec<LineView>)]
    results: Vec<Map<String, Value>>,
}

type Parsed = Result<(IntakeRequest, Option<Idempotency>)>;

/// Submit up to 5,000 jobs, one JSON object a line, as `POST /api/v1/intake` takes it; a line may bring an
/// `idempotency_key`. What is accepted is one commit, and one write for the rate limit.
#[utoipa::path(post, path = "/api/v1/intake/batch", tag = "jobs", security(("ApiKey" = [])),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, description = "Read whole; see each line's verdict", body = BatchView)))]
pub async fn submit_batch(
    State(app): State<Arc<App>>,
    context: Context,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = app.require_write(&context, &parts.headers).await?;
    body::refuse_announced(&parts.headers, app.config.batch_max_bytes)?;
    if !matches!(body::content_type(&parts.headers).as_str(), "application/x-ndjson" | "application/ndjson") {
        return Err(ApiError::content_type("application/x-ndjson"));
    }
    if parts.headers.contains_key(IDEMPOTENCY_KEY) {
        let message = "a batch takes no Idempotency-Key; each line may bring its own `idempotency_key`";
        return Err(ApiError::invalid("invalid_idempotency_key", message));
    }
    Query::parse(&parts.uri, &[], &[])?;
    let body = body::read(&parts.headers, body, app.config.batch_max_bytes).await?;
    let (policy, now_ms) = (app.outbound.clone(), app.clock.now_ms());
    // Reading megabytes of JSON takes tens of milliseconds, which other requests must not wait for.
    let parsed = tokio::task::spawn_blocking(move || parse(&body, now_ms, &policy)).await;
    let lines = parsed.map_err(|_| ApiError::internal())??;

    let mut verdicts = Vec::with_capacity(lines.len());
    let mut requests = Vec::with_capacity(lines.len());
    for (line, parsed) in lines {
        match parsed {
            Ok(request) => {
                requests.push(request);
                verdicts.push((line, None));
            }
            Err(refused) => verdicts.push((line, Some(refused))),
        }
    }
    let mut taken = app.engine.intake_many(requests, &caller.name).await?.into_iter();
    let (mut accepted, mut refused) = (0, 0);
    let results = verdicts.into_iter().map(|(line, refusal)| {
        let outcome = match refusal {
            Some(refusal) => Err(refusal),
            None => taken
                .next()
                .map_or_else(|| Err(ApiError::internal()), |outcome| outcome.map_err(ApiError::from)),
        };
        let mut members = match outcome {
            Ok(job) => {
                accepted += 1;
                Map::from_iter([
                    ("job_id".to_owned(), job.job_id.to_string().into()),
                    ("status".to_owned(), "queued".into()),
                ])
            }
            Err(refusal) => {
                refused += 1;
                refusal.into_body()
            }
        };
        members.insert("line".to_owned(), line.into());
        members
    });
    let results = results.collect();
    Ok(body::json(StatusCode::OK, &BatchView { accepted, refused, results }))
}

/// Each line that is not blank with its number.
fn parse(body: &Bytes, now_ms: i64, policy: &OutboundPolicy) -> Result<Vec<(usize, Parsed)>> {
    let text =
        text_from_body(body).map_err(|problem| ApiError::invalid("invalid_batch", problem.to_string()))?;
    let lines: Vec<_> = text
        .split('\n')
        // The start stays as it was sent, so that columns are those of the sender.
        .map(str::trim_ascii_end)
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .take(MAX_LINES + 1)
        .collect();
    if lines.is_empty() {
        return Err(ApiError::invalid(
            "invalid_batch",
            "the body has no line; expected one JSON object a line",
        ));
    }
    if lines.len() > MAX_LINES {
        return Err(ApiError::invalid(
            "invalid_batch",
            format!("the body has more than {MAX_LINES} lines; split it"),
        ));
    }
    Ok(lines.into_iter().map(|(at, line)| (at + 1, parse_line(line, now_ms, policy))).collect())
}

fn parse_line(line: &str, now_ms: i64, policy: &OutboundPolicy) -> Parsed {
    let mut request = parse_batch_line(line, now_ms, policy)?;
    if request.dry_run {
        return Err(Invalid::body("dry_run: true is not allowed in a batch; send single requests").into());
    }
    let key = request.idempotency_key.take();
    let idempotency = key.map(|key| Idempotency { key, body_hash: body_hash(line.trim_ascii().as_bytes()) });
    Ok((request, idempotency))
}
