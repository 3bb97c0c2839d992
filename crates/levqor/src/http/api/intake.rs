//! `POST /api/v1/intake`: one job in.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use levqor_core::intake::{body_hash, check_idempotency_key, parse_intake};
use levqor_core::job::Idempotency;
use levqor_core::json::text_from_body;
use levqor_engine::{Accepted, Preview};
use serde::Serialize;
use utoipa::ToSchema;

use super::views::seconds;
use crate::http::App;
use crate::http::body;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::headers::IDEMPOTENCY_KEY;
use crate::http::schema::{IntakeBody, NamedError};

#[derive(Serialize, ToSchema)]
pub struct AcceptedView {
    #[schema(example = "018bcfe5687b7fffbfffffffffffffff")]
    pub job_id: String,
    #[schema(example = "queued")]
    pub status: &'static str,
}

/// What an intake would do.
#[derive(Serialize, ToSchema)]
pub struct PreviewView {
    dry_run: bool,
    run_at: Option<f64>,
    /// The state in which the job would enter.
    state: &'static str,
    /// The steps it would run.
    steps: Vec<String>,
    /// Null: the workflow has no definition, the job would wait for one.
    version: Option<i64>,
    workflow: String,
}

/// Submit a job. The answer is sent when the job is on disk.
#[utoipa::path(post, path = "/api/v1/intake", tag = "jobs", security(("ApiKey" = [])), request_body = IntakeBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. The same key with the same body gets the same answer for 24 hours; with another body 422")),
    responses((status = 202, description = "Accepted: on disk", body = AcceptedView),
        (status = 200, description = "`dry_run`: nothing was stored", body = PreviewView),
        (status = 422, description = "The idempotency key was used before with another body", body = NamedError)))]
pub async fn submit_job(State(app): State<Arc<App>>, context: Context, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = app.require_write(&context, &parts.headers).await?;
    body::refuse_announced(&parts.headers, app.config.max_content_length_bytes)?;
    if !body::is_json(&parts.headers) {
        return Err(ApiError::legacy_content_type("application/json"));
    }
    let body = body::read(&parts.headers, body, app.config.max_content_length_bytes).await?;
    let text = text_from_body(&body).map_err(ApiError::unreadable)?;
    let request = parse_intake(text, app.clock.now_ms(), &app.outbound)?;
    let idempotency = idempotency(&parts.headers, &body)?;
    if request.dry_run {
        let preview = app.engine.preview(request)?;
        return Ok(body::json(StatusCode::OK, &PreviewView::from(preview)));
    }
    let accepted = app.engine.intake(request, &caller.name, idempotency).await?;
    Ok(body::json(StatusCode::ACCEPTED, &AcceptedView::from(accepted)))
}

pub(super) fn idempotency(headers: &HeaderMap, body: &[u8]) -> Result<Option<Idempotency>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    let checked = check_idempotency_key(key).map_err(|problem| problem.to_string());
    let once = if values.next().is_some() {
        Err("Idempotency-Key is given more than once".to_owned())
    } else {
        Ok(())
    };
    checked.and(once).map_err(|problem| ApiError::invalid("invalid_idempotency_key", problem))?;
    Ok(Some(Idempotency { key: key.to_owned(), body_hash: body_hash(body) }))
}

impl From<Accepted> for AcceptedView {
    /// A job that was accepted before is told as it was then.
    fn from(accepted: Accepted) -> Self {
        AcceptedView { job_id: accepted.job_id.to_string(), status: "queued" }
    }
}

impl From<Preview> for PreviewView {
    fn from(preview: Preview) -> Self {
        PreviewView {
            dry_run: true,
            run_at: preview.run_at_ms.map(seconds),
            state: preview.state,
            steps: preview.steps,
            version: preview.version,
            workflow: preview.workflow,
        }
    }
}
