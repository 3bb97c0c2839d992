//! `POST /api/v1/intake`: one job in.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use levqor_core::intake::{body_hash, check_idempotency_key, parse_intake};
use levqor_core::job::Idempotency;
use levqor_core::json::text_from_body;
use levqor_engine::{Accepted, BudgetEffect, Estimate, Preview, StepEstimate};
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
    /// What its steps may cost that ask models or have a `cost`; null without any.
    cost: Option<EstimateView>,
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

/// US dollars as decimal texts.
#[derive(Serialize, ToSchema)]
pub struct EstimateView {
    budgets: Vec<BudgetEffectView>,
    least_usd: String,
    /// Never more than `MAX_COST_PER_JOB`.
    most_usd: String,
    /// Whether the first call of each step whose words are known would be held at this moment.
    starts_now: bool,
    steps: Vec<StepEstimateView>,
}

/// A budget that binds the job.
#[derive(Serialize, ToSchema)]
pub struct BudgetEffectView {
    held_usd: String,
    id: String,
    /// If the job cost the most; negative: it would be stopped by this budget.
    left_after_usd: String,
    left_usd: String,
    limit_usd: String,
    #[schema(example = "workflow")]
    scope: &'static str,
    spent_usd: String,
    /// Whom a budget for each counts; empty for the job itself and for a budget of everything.
    subject: String,
}

#[derive(Serialize, ToSchema)]
pub struct StepEstimateView {
    /// What its first call would hold; null: what it says is known only when the job runs.
    first_hold_usd: Option<String>,
    id: String,
    least_usd: String,
    /// Of a step with a `cost`: `http`, or the connector and its action.
    #[schema(example = "openai/gpt-6-sol")]
    model: String,
    most_usd: String,
    /// Why its first call would not be held now.
    problem: Option<String>,
}

impl From<Estimate> for EstimateView {
    fn from(estimate: Estimate) -> Self {
        let step = |step: StepEstimate| StepEstimateView {
            first_hold_usd: step.first_hold.map(|amount| amount.to_string()),
            id: step.id,
            least_usd: step.least.to_string(),
            model: step.model,
            most_usd: step.most.to_string(),
            problem: step.problem,
        };
        let budget = |effect: BudgetEffect| BudgetEffectView {
            held_usd: effect.held.to_string(),
            id: effect.id,
            left_after_usd: effect.left_after.to_string(),
            left_usd: effect.left.to_string(),
            limit_usd: effect.limit.to_string(),
            scope: effect.scope,
            spent_usd: effect.spent.to_string(),
            subject: effect.subject,
        };
        EstimateView {
            budgets: estimate.budgets.into_iter().map(budget).collect(),
            least_usd: estimate.least.to_string(),
            most_usd: estimate.most.to_string(),
            starts_now: estimate.starts_now,
            steps: estimate.steps.into_iter().map(step).collect(),
        }
    }
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
        let preview = app.engine.preview(request, &caller.name).await?;
        return Ok(body::json(StatusCode::OK, &PreviewView::from(preview)));
    }
    let accepted = app.engine.intake(request, &caller.name, idempotency).await?;
    Ok(body::json(StatusCode::ACCEPTED, &AcceptedView::from(accepted)))
}

pub fn idempotency(headers: &HeaderMap, body: &[u8]) -> Result<Option<Idempotency>> {
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
            cost: preview.cost.map(EstimateView::from),
            dry_run: true,
            run_at: preview.run_at_ms.map(seconds),
            state: preview.state,
            steps: preview.steps,
            version: preview.version,
            workflow: preview.workflow,
        }
    }
}
