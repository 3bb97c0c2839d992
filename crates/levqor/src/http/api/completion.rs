//! `POST /api/v1/_dev/complete/<job_id>`: ends a job by hand, as workers outside did with the first version.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use levqor_core::json::{compact, members, text_from_body};
use serde::Serialize;
use utoipa::ToSchema;

use super::path::PathText;
use crate::http::App;
use crate::http::body;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::{BareError, CompletionBody, NamedError};

/// The result of a job that was completed without one.
const DEFAULT_RESULT: &str = r#"{"ok":true}"#;

#[derive(Serialize, ToSchema)]
pub struct Done {
    pub ok: bool,
}

/// Complete a job with a result. Not there in production. Again with the same result it is 200, with another 409.
#[utoipa::path(post, path = "/api/v1/_dev/complete/{job_id}", tag = "jobs", security(("ApiKey" = [])), request_body = Option<CompletionBody>,
    params(("job_id" = String, Path, description = "32 lower-case hex digits")),
    responses((status = 200, body = Done), (status = 404, description = "No such job", body = BareError),
        (status = 409, description = "It ended before, otherwise", body = NamedError)))]
pub async fn complete_job(
    State(app): State<Arc<App>>,
    context: Context,
    id: PathText,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = app.require_write(&context, &parts.headers).await?;
    body::refuse_announced(&parts.headers, app.config.max_content_length_bytes)?;
    let body = body::read(&parts.headers, body, app.config.max_content_length_bytes).await?;
    // A body of another type is no result: the first version did not look at it.
    let result = if body.is_empty() || !body::is_json(&parts.headers) { None } else { read_result(&body)? };
    let job_id = id.text.parse().map_err(|_| ApiError::not_found())?;
    let completed = app
        .engine
        .complete_job(job_id, result.unwrap_or_else(|| DEFAULT_RESULT.to_owned()), &caller.actor)
        .await;
    match completed {
        Ok(_) => Ok(body::json(StatusCode::OK, &Done { ok: true })),
        Err(levqor_store::Error::NotFound { .. }) => Err(ApiError::not_found()),
        Err(error) => Err(error.into()),
    }
}

/// The member `result` as compact text.
fn read_result(body: &[u8]) -> Result<Option<String>> {
    let text = text_from_body(body).map_err(ApiError::unreadable)?;
    let body = compact(text).map_err(ApiError::unreadable)?;
    let Some(members) = members(&body) else {
        return Err(ApiError::unreadable("the body must be an object"));
    };
    Ok(members.into_iter().find(|(name, _)| name == "result").map(|(_, value)| value.to_owned()))
}
