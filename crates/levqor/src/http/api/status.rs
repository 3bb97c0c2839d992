//! `GET /api/v1/status/<job_id>`: the public status of one job.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use levqor_store::StatusRow;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::path::PathText;
use super::query::Query;
use super::views::{ErrorView, raw, seconds};
use crate::http::App;
use crate::http::body::json;
use crate::http::error::{ApiError, Result};
use crate::http::schema::UnknownJob;

/// The longest `wait`. It must be shorter than the time after which idle connections are closed.
const MAX_WAIT: Duration = Duration::from_secs(60);

#[derive(Serialize, ToSchema)]
pub struct StatusView {
    created_at: f64,
    error: Option<ErrorView>,
    job_id: String,
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<Box<RawValue>>,
    /// `queued`, `running`, `succeeded` or `failed`.
    #[schema(example = "succeeded")]
    status: &'static str,
}

impl From<&StatusRow> for StatusView {
    fn from(row: &StatusRow) -> Self {
        StatusView {
            created_at: seconds(row.created_at_ms),
            error: row.error.as_ref().map(ErrorView::from),
            job_id: row.id.to_string(),
            result: row.result.as_deref().map(raw),
            status: row.state.status().as_str(),
        }
    }
}

/// How a job stands. With `wait` the answer comes as soon as the job ends, or when the time is over. No key is needed: whoever
/// knows the id may ask.
#[utoipa::path(get, path = "/api/v1/status/{job_id}", tag = "jobs",
    params(("job_id" = String, Path, description = "32 lower-case hex digits"),
        ("wait" = Option<String>, Query, description = "Such as `30s`, or a number of seconds; at most 60 seconds")),
    responses((status = 200, body = StatusView), (status = 404, description = "No such job", body = UnknownJob)))]
pub async fn get_status(State(app): State<Arc<App>>, id: PathText, uri: Uri) -> Result<Response> {
    // The first version took any parameter here and looked at none.
    let wait = Query::parse_any(&uri).duration("wait", MAX_WAIT)?;
    let Ok(job_id) = id.text.parse() else { return Err(ApiError::unknown_job(&id.text)) };
    match app.engine.status(job_id, wait).await? {
        Some(row) => Ok(json(StatusCode::OK, &StatusView::from(&row))),
        None => Err(ApiError::unknown_job(&id.text)),
    }
}
