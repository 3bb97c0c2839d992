//! Budgets: list, show, put, delete; and the switch that stops all AI calls.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_core::budget::parse_budget;
use levqor_core::fields::Problem;
use levqor_core::json::text_from_body;
use serde::Serialize;
use utoipa::ToSchema;

use super::budget_views::{BudgetDetail, BudgetList, BudgetStored};
use super::path::PathText;
use super::query::Query;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::body::{self, json};
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::{BudgetBody, NamedError};

#[derive(Serialize, ToSchema)]
pub struct BudgetDeleted {
    deleted: bool,
    id: String,
}

/// Whether AI calls are made.
#[derive(Serialize, ToSchema)]
pub struct SwitchView {
    /// False: it was so before.
    changed: bool,
    stopped: bool,
}

/// All budgets with what they have spent and hold now, figures of one moment, narrow scopes first.
#[utoipa::path(get, path = "/api/v1/budgets", tag = "budgets", security(("ApiKey" = [])),
    responses((status = 200, body = BudgetList)))]
pub async fn list_budgets(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let now_ms = app.clock.now_ms();
    let views = app.engine.store().list_budget_views(now_ms).await?;
    Ok(json(StatusCode::OK, &BudgetList::new(views, now_ms)))
}

/// One budget: limit, spent, held, forecast, and every open hold with its owner and its age, all of one moment.
#[utoipa::path(get, path = "/api/v1/budgets/{budget_id}", tag = "budgets", security(("ApiKey" = [])),
    params(("budget_id" = String, Path),
        ("subject" = Option<String>, Query, description = "One of those that a budget for each (`*`) counts")),
    responses((status = 200, body = BudgetDetail), (status = 404, description = "No such budget", body = NamedError)))]
pub async fn get_budget(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    let subject = Query::parse(&uri, &["subject"], &[])?.text("subject")?;
    let now_ms = app.clock.now_ms();
    let view = app.engine.store().find_budget_for(&id.text, subject.as_deref(), now_ms).await?;
    let view = view.ok_or_else(|| ApiError::missing("budget"))?;
    Ok(json(StatusCode::OK, &BudgetDetail::new(view, now_ms)))
}

/// Set a budget: the whole of it, what is left out has its default. It counts for the next hold on every node.
#[utoipa::path(put, path = "/api/v1/budgets/{budget_id}", tag = "budgets", security(("ApiKey" = [])), request_body = BudgetBody,
    params(("budget_id" = String, Path, description = "1 to 64 lower-case letters, digits, - and _")),
    responses((status = 201, description = "A new budget", body = BudgetStored),
        (status = 200, description = "It was changed, or is as it was", body = BudgetStored),
        (status = 409, description = "It stands on a setting, or has another scope or window", body = NamedError)))]
pub async fn put_budget(
    State(app): State<Arc<App>>,
    context: Context,
    id: PathText,
    request: Request,
) -> Result<Response> {
    let (caller, body) = app.read_json(&context, request, "invalid_budget").await?;
    let asked = parse_budget(&id.text, &body, &app.outbound).map_err(no_budget)?;
    let recipients = asked.recipients.map(|it| serde_json::to_string(&it).unwrap_or_default());
    let (store, now_ms) = (app.engine.store(), app.clock.now_ms());
    let (row, changed) = store.put_budget_telling(&asked.budget, recipients, &caller.actor, now_ms).await?;
    let is_new = changed && row.created_at_ms == row.updated_at_ms;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let view = store.find_budget(&id.text, now_ms).await?.ok_or_else(|| ApiError::missing("budget"))?;
    Ok(json(status, &BudgetStored::new(view, changed, now_ms)))
}

/// Delete a budget: it binds nobody any more. What it counted stays, and counts on if it is put again.
#[utoipa::path(delete, path = "/api/v1/budgets/{budget_id}", tag = "budgets", security(("ApiKey" = [])),
    params(("budget_id" = String, Path)),
    responses((status = 200, body = BudgetDeleted), (status = 404, description = "No such budget", body = NamedError),
        (status = 409, description = "It stands on a setting", body = NamedError)))]
pub async fn delete_budget(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    let caller = app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    app.engine.store().delete_budget(&id.text, &caller.actor, app.clock.now_ms()).await?;
    Ok(json(StatusCode::OK, &BudgetDeleted { deleted: true, id: id.text }))
}

/// Stop all AI calls: from the next hold on, on every node. What is under way ends by itself.
#[utoipa::path(post, path = "/api/v1/ai/stop", tag = "budgets", security(("ApiKey" = [])),
    responses((status = 200, body = SwitchView)))]
pub async fn stop_ai(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    let caller = app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    let changed = app.engine.store().stop_ai(&caller.actor, app.clock.now_ms()).await?;
    Ok(json(StatusCode::OK, &SwitchView { changed, stopped: true }))
}

/// Let AI calls be made again.
#[utoipa::path(post, path = "/api/v1/ai/start", tag = "budgets", security(("ApiKey" = [])),
    responses((status = 200, body = SwitchView)))]
pub async fn start_ai(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    let caller = app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    let changed = app.engine.store().start_ai(&caller.actor, app.clock.now_ms()).await?;
    Ok(json(StatusCode::OK, &SwitchView { changed, stopped: false }))
}

fn no_budget(problem: Problem) -> ApiError {
    ApiError::invalid("invalid_budget", problem.message.clone()).field(&problem.at, problem.message)
}

/// 400 with the place that is wrong.
pub fn invalid(code: &str, problem: Problem) -> ApiError {
    ApiError::invalid(code, problem.message.clone()).field(&problem.at, problem.message)
}

impl App {
    /// The text of a write's JSON body, after the checks that come before it.
    pub async fn read_json(
        &self,
        context: &Context,
        request: Request,
        code: &str,
    ) -> Result<(Caller, String)> {
        let (parts, body) = request.into_parts();
        let caller = self.require_write(context, &parts.headers).await?;
        body::refuse_announced(&parts.headers, self.config.max_content_length_bytes)?;
        if !body::is_json(&parts.headers) {
            return Err(ApiError::content_type("application/json"));
        }
        Query::parse(&parts.uri, &[], &[])?;
        let body = body::read(&parts.headers, body, self.config.max_content_length_bytes).await?;
        let text = text_from_body(&body).map_err(|problem| ApiError::invalid(code, problem.to_string()))?;
        Ok((caller, text.to_owned()))
    }
}
