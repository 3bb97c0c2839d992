//! AI calls: which there were, what one of them cost and why, and a person's word on what it cost in the end.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_core::id::JobId;
use levqor_core::money::{CallId, CallState, parse_correction};
use levqor_store::{CallDetail, CallFilter, CallHold, CallRow, Correction};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::budgets::invalid;
use super::job_costs::{CallBillView, call_bill};
use super::path::PathText;
use super::query::Query;
use super::views::{raw, seconds};
use crate::http::App;
use crate::http::body::json;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::{CorrectionBody, NamedError};

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 500;

#[derive(Serialize, ToSchema)]
pub struct CallPageView {
    calls: Vec<CallView>,
    /// Send it as `cursor` for the next page; null at the end. A page may hold fewer calls than asked for, even none.
    next: Option<String>,
}

/// One request to a provider.
#[derive(Serialize, ToSchema)]
pub struct CallView {
    /// What is odd about it.
    alarm: Option<String>,
    at: f64,
    attempt: Option<i64>,
    call_id: String,
    /// Null while it is open.
    #[schema(example = "0.054399")]
    cost_usd: Option<String>,
    /// Whole micro-dollars, rounded up.
    cost_micro_usd: Option<i64>,
    failure: Option<String>,
    finish_reason: Option<String>,
    finished_at: Option<f64>,
    /// The most that it could cost, held before it was sent.
    held_usd: String,
    http_status: Option<i64>,
    job_id: Option<String>,
    key: Option<String>,
    #[schema(example = "openai/gpt-6-sol")]
    model: String,
    root_job_id: Option<String>,
    /// `reserved`, `settled`, `released` (not charged) or `assumed` (in doubt, charged in full).
    #[schema(example = "settled")]
    state: &'static str,
    step: Option<String>,
    #[schema(value_type = Object)]
    tags: Box<RawValue>,
    user: Option<String>,
    workflow: Option<String>,
}

/// A call with all that its cost rests on.
#[derive(Serialize, ToSchema)]
pub struct CallDetailView {
    #[serde(flatten)]
    bill: CallBillView,
    /// The counters that carry it.
    budgets: Vec<CarriedView>,
    job_id: Option<String>,
    key: Option<String>,
    lease_until: Option<f64>,
    node: String,
    root_job_id: Option<String>,
    #[schema(value_type = Object)]
    tags: Box<RawValue>,
    user: Option<String>,
    workflow: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct CarriedView {
    budget: String,
    /// Null: the hold stands.
    closed_at: Option<f64>,
    held_usd: String,
    period: String,
    subject: String,
}

/// How a call stands after a correction.
#[derive(Serialize, ToSchema)]
pub struct CorrectedView {
    call_id: String,
    /// False: it cost that before.
    changed: bool,
    cost_micro_usd: i64,
    cost_usd: String,
    state: &'static str,
}

impl CallView {
    fn new(row: &CallRow) -> Self {
        CallView {
            alarm: row.alarm.clone(),
            at: seconds(row.reserved_at_ms),
            attempt: row.attempt,
            call_id: row.id.to_string(),
            cost_usd: row.settled.map(|cost| cost.to_string()),
            cost_micro_usd: row.settled.map(|cost| cost.micro_ceil()),
            failure: row.failure.clone(),
            finish_reason: row.finish_reason.clone(),
            finished_at: row.settled_at_ms.map(seconds),
            held_usd: row.reserved.to_string(),
            http_status: row.http_status,
            job_id: row.job.map(|job| job.to_string()),
            key: row.key.clone(),
            model: format!("{}/{}", row.provider, row.model),
            root_job_id: row.root_job.map(|job| job.to_string()),
            state: row.state.as_str(),
            step: row.step.clone(),
            tags: tags(row),
            user: row.user.clone(),
            workflow: row.workflow.clone(),
        }
    }
}

impl CallDetailView {
    fn new(detail: &CallDetail) -> Self {
        let row = &detail.call;
        CallDetailView {
            bill: call_bill(row, detail.price.as_ref()),
            budgets: detail.holds.iter().map(CarriedView::new).collect(),
            job_id: row.job.map(|job| job.to_string()),
            key: row.key.clone(),
            lease_until: row.lease_until_ms.map(seconds),
            node: row.node.clone(),
            root_job_id: row.root_job.map(|job| job.to_string()),
            tags: tags(row),
            user: row.user.clone(),
            workflow: row.workflow.clone(),
        }
    }
}

fn tags(row: &CallRow) -> Box<RawValue> {
    raw(&serde_json::to_string(&row.tags).unwrap_or_default())
}

impl CarriedView {
    fn new(hold: &CallHold) -> Self {
        CarriedView {
            budget: hold.budget.clone(),
            closed_at: hold.closed_at_ms.map(seconds),
            held_usd: hold.amount.to_string(),
            period: hold.period_key.clone(),
            subject: hold.subject.clone(),
        }
    }
}

/// AI calls, newest first. All filters that are given must hold.
#[utoipa::path(get, path = "/api/v1/ai/calls", tag = "budgets", security(("ApiKey" = [])),
    params(("job" = Option<String>, Query, description = "Made by this job or below it"),
        ("state" = Option<String>, Query, description = "`reserved`, `settled`, `released` or `assumed`"),
        ("model" = Option<String>, Query, description = "As `provider/model`"),
        ("key" = Option<String>, Query, description = "The key that it was asked for with"),
        ("user" = Option<String>, Query, description = "The person that it was asked for"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = CallPageView)))]
pub async fn list_calls(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    let page = app.engine.store().find_calls(&filter(&uri)?).await?;
    let calls = page.calls.iter().map(CallView::new).collect();
    Ok(json(StatusCode::OK, &CallPageView { calls, next: page.next.map(|id| id.to_string()) }))
}

fn filter(uri: &Uri) -> Result<CallFilter> {
    let query = Query::parse(uri, &["job", "state", "model", "key", "user", "limit", "cursor"], &[])?;
    let id = |text: &str| text.parse::<JobId>().ok();
    let named = |text: &str| {
        let (provider, model) = text.split_once('/')?;
        let is_fine = !provider.is_empty() && !model.is_empty() && !text.contains('\0');
        is_fine.then(|| (provider.to_owned(), model.to_owned()))
    };
    let states = "reserved, settled, released or assumed";
    let (provider, model) = query.word("model", named, "provider/model")?.unzip();
    Ok(CallFilter {
        job: query.word("job", id, "the id of a job, 32 lower-case hex digits")?,
        state: query.word("state", CallState::parse, states)?,
        provider,
        model,
        key: query.text("key")?,
        user: query.text("user")?,
        before: query.word("cursor", |text| text.parse::<CallId>().ok(), "`next` of the page before")?,
        limit: query.number("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT) as usize,
    })
}

/// One call, explained to the nano-dollar: price, what was used, what was held where, every movement.
#[utoipa::path(get, path = "/api/v1/ai/calls/{call_id}", tag = "budgets", security(("ApiKey" = [])),
    params(("call_id" = String, Path)),
    responses((status = 200, body = CallDetailView), (status = 404, description = "No such call", body = NamedError)))]
pub async fn get_call(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let detail = app.engine.store().explain_call(call_id(&id)?).await?;
    Ok(json(StatusCode::OK, &CallDetailView::new(&detail.ok_or_else(|| ApiError::missing("AI call"))?)))
}

/// Say what a call that is over cost, all of it, with a reason. The budgets that carry it follow.
#[utoipa::path(post, path = "/api/v1/ai/calls/{call_id}/correct", tag = "budgets", security(("ApiKey" = [])),
    request_body = CorrectionBody, params(("call_id" = String, Path)),
    responses((status = 200, body = CorrectedView), (status = 404, description = "No such call", body = NamedError),
        (status = 409, description = "It is still open", body = NamedError)))]
pub async fn correct_call(
    State(app): State<Arc<App>>,
    context: Context,
    id: PathText,
    request: Request,
) -> Result<Response> {
    let (caller, body) = app.read_json(&context, request, "invalid_request").await?;
    let asked = parse_correction(&body).map_err(|problem| invalid("invalid_request", problem))?;
    let call = call_id(&id)?;
    let correction = Correction {
        call,
        cost: asked.cost,
        reason: asked.reason,
        actor: caller.actor,
        at_ms: app.clock.now_ms(),
    };
    let settled = app.engine.store().correct_call(correction).await?;
    let view = CorrectedView {
        call_id: call.to_string(),
        changed: settled.changed,
        cost_micro_usd: settled.charged.micro_ceil(),
        cost_usd: settled.charged.to_string(),
        state: settled.state.as_str(),
    };
    Ok(json(StatusCode::OK, &view))
}

fn call_id(id: &PathText) -> Result<CallId> {
    id.text.parse().map_err(|_| ApiError::missing("AI call"))
}
