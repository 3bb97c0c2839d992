//! Jobs after their intake: list, look, cancel, retry, redeliver, forget.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_core::id::JobId;
use levqor_core::state::{State as JobState, Status};
use levqor_store::JobFilter;
use serde::Serialize;
use utoipa::ToSchema;

use super::path::PathText;
use super::query::{Query, wrong};
use super::views::{JobDetail, JobLineView};
use crate::http::App;
use crate::http::body::json;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::NamedError;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 500;

#[derive(Serialize, ToSchema)]
pub struct JobPageView {
    /// May be fewer than `limit`, even none, while there is a `next`: a page looks at a bounded number of rows.
    jobs: Vec<JobLineView>,
    /// Hand it in as `cursor` to go on; null at the end.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Changed {
    job_id: String,
    state: &'static str,
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct Redelivery {
    /// The `webhook-id` of the callback that is sent again.
    callback_id: String,
    job_id: String,
}

/// List jobs, newest first. All filters that are given must hold.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", security(("ApiKey" = [])),
    params(("status" = Option<String>, Query, description = "`queued`, `running`, `succeeded` or `failed`"),
        ("state" = Option<String>, Query, description = "`queued`, `scheduled`, `running`, `waiting`, `succeeded`, `failed`, `cancelled` or `expired`"),
        ("workflow" = Option<String>, Query, description = "Its exact name"),
        ("tag" = Option<Vec<String>>, Query, description = "`name:value`; may be given several times"),
        ("from" = Option<String>, Query, description = "Created at or after: RFC 3339, or seconds since 1970"),
        ("until" = Option<String>, Query, description = "Created before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = JobPageView)))]
pub async fn list_jobs(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    let page = app.engine.list_jobs(&filter(&uri)?).await?;
    let jobs = page.jobs.iter().map(JobLineView::from).collect();
    Ok(json(StatusCode::OK, &JobPageView { jobs, next: page.next.map(|id| id.to_string()) }))
}

fn filter(uri: &Uri) -> Result<JobFilter> {
    let allowed = ["status", "state", "workflow", "from", "until", "limit", "cursor"];
    let query = Query::parse(uri, &allowed, &["tag"])?;
    let tags = query.all("tag").map(|tag| match tag.split_once(':') {
        Some((name, value)) if !name.is_empty() && !tag.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(wrong("tag", tag, "name:value")),
    });
    // `undefined` is our own word: such a job is shown as queued.
    let state = |word: &str| JobState::parse(word).filter(|state| *state != JobState::Undefined);
    let states = "queued, scheduled, running, waiting, succeeded, failed, cancelled or expired";
    Ok(JobFilter {
        status: query.word("status", Status::parse, "queued, running, succeeded or failed")?,
        state: query.word("state", state, states)?,
        workflow: query.text("workflow")?,
        tags: tags.collect::<Result<_>>()?,
        created_from_ms: query.time_ms("from")?,
        created_until_ms: query.time_ms("until")?,
        before: query.word("cursor", |text| text.parse::<JobId>().ok(), "`next` of the page before")?,
        limit: query.number("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT) as usize,
    })
}

/// All there is about a job: steps, attempts, timings, errors, callback deliveries.
#[utoipa::path(get, path = "/api/v1/jobs/{job_id}", tag = "jobs", security(("ApiKey" = [])),
    params(("job_id" = String, Path, description = "32 lower-case hex digits")),
    responses((status = 200, body = JobDetail), (status = 404, description = "No such job", body = NamedError)))]
pub async fn get_job(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let view = app.engine.find_job(id.job_id()?).await?.ok_or_else(|| ApiError::missing("job"))?;
    Ok(json(StatusCode::OK, &JobDetail::from(&view)))
}

/// Cancel a job, whatever it is doing; a running step is given up. Again it is 200; 409 when it ended otherwise.
#[utoipa::path(post, path = "/api/v1/jobs/{job_id}/cancel", tag = "jobs", security(("ApiKey" = [])),
    params(("job_id" = String, Path, description = "32 lower-case hex digits")),
    responses((status = 200, body = Changed), (status = 404, description = "No such job", body = NamedError),
        (status = 409, description = "It has ended", body = NamedError)))]
pub async fn cancel_job(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    let caller = app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    let job_id = id.job_id()?;
    app.engine.cancel_job(job_id, &caller.actor).await?;
    Ok(changed(job_id, JobState::Cancelled))
}

/// Forget a job that has ended: payload, result, steps, callbacks. Its id is unknown afterwards.
#[utoipa::path(delete, path = "/api/v1/jobs/{job_id}", tag = "jobs", security(("ApiKey" = [])),
    params(("job_id" = String, Path, description = "32 lower-case hex digits")),
    responses((status = 200, body = Forgotten), (status = 404, description = "No such job", body = NamedError),
        (status = 409, description = "It has not ended, or its callback is still to be delivered", body = NamedError)))]
pub async fn delete_job(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    let caller = app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    let job_id = id.job_id()?;
    app.engine.delete_job(job_id, &caller.actor).await?;
    Ok(json(StatusCode::OK, &Forgotten { deleted: true, job_id: job_id.to_string() }))
}

/// Start a failed, cancelled or expired job again, from its failed step.
#[utoipa::path(post, path = "/api/v1/jobs/{job_id}/retry", tag = "jobs", security(("ApiKey" = [])),
    params(("job_id" = String, Path, description = "32 lower-case hex digits")),
    responses((status = 200, body = Changed), (status = 404, description = "No such job", body = NamedError),
        (status = 409, description = "It has not failed", body = NamedError)))]
pub async fn retry_job(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    let caller = app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    let job_id = id.job_id()?;
    app.engine.retry_job(job_id, &caller.actor).await?;
    Ok(changed(job_id, JobState::Queued))
}

/// Send a job's newest callback again, now and with a fresh schedule. While a retried job runs, that is the one of its
/// earlier end.
#[utoipa::path(post, path = "/api/v1/jobs/{job_id}/callbacks/redeliver", tag = "jobs", security(("ApiKey" = [])),
    params(("job_id" = String, Path, description = "32 lower-case hex digits")),
    responses((status = 202, description = "It is due", body = Redelivery), (status = 404, description = "No such job", body = NamedError),
        (status = 409, description = "It has no callback: no `callback_url`, or it has never ended", body = NamedError)))]
pub async fn redeliver_callback(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    let caller = app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    let job_id = id.job_id()?;
    let callback_id = app.engine.redeliver_callback(job_id, &caller.actor).await?;
    Ok(json(StatusCode::ACCEPTED, &Redelivery { callback_id, job_id: job_id.to_string() }))
}

#[derive(Serialize, ToSchema)]
pub struct Forgotten {
    deleted: bool,
    job_id: String,
}

fn changed(job_id: JobId, state: JobState) -> Response {
    let (state, status) = (state.public(), state.status().as_str());
    json(StatusCode::OK, &Changed { job_id: job_id.to_string(), state, status })
}
