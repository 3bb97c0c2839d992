//! How metering to Stripe does: what was told, what is still to be told, and what nobody knows for sure.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_store::{MeterEventRow, MeterStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::path::PathText;
use super::query::Query;
use super::views::seconds;
use crate::http::App;
use crate::http::body::{self, json};
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::NamedError;

/// `cost_usd` is what is told, doubted, pending and waiting together.
#[derive(Serialize, ToSchema)]
pub struct MeterView {
    /// Of all people with AI calls.
    #[schema(example = "0.0076004")]
    cost_usd: String,
    /// May have arrived: tell with `settle` whether it did.
    doubted_micro_usd: i64,
    /// Whether `STRIPE_METER_EVENT` is set.
    enabled: bool,
    /// Still to be told, and in doubt, oldest first; 100 at most.
    events: Vec<MeterEventView>,
    /// In events that are still to be told.
    pending_micro_usd: i64,
    #[schema(example = 7600)]
    told_micro_usd: i64,
    /// In no event yet: less than a micro-dollar, told within the hour, or the person is no customer. Negative where corrections
    /// took back what was told.
    #[schema(example = "0.0000004")]
    waiting_usd: String,
}

#[derive(Serialize, ToSchema)]
pub struct MeterEventView {
    created_at: f64,
    error: Option<String>,
    /// The identifier at Stripe.
    id: String,
    /// `pending`, `told`, `doubted` or `dropped`.
    state: String,
    tries: i64,
    user: Option<String>,
    value_micro_usd: i64,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleBody {
    /// Whether the event is at Stripe. If not, its amount goes into a later one.
    arrived: bool,
}

#[derive(Serialize, ToSchema)]
pub struct MeterSettled {
    settled: bool,
}

/// How metering to Stripe does.
#[utoipa::path(get, path = "/api/v1/costs/meter", tag = "costs", security(("ApiKey" = [])),
    responses((status = 200, body = MeterView)))]
pub async fn get_meter(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let status = app.engine.store().meter_status().await?;
    Ok(json(StatusCode::OK, &view(&status, app.engine.has_meter())))
}

/// Say whether an event that is in doubt arrived at Stripe.
#[utoipa::path(post, path = "/api/v1/costs/meter/{name}/settle", tag = "costs", security(("ApiKey" = [])), request_body = SettleBody,
    params(("name" = String, Path, description = "The event's id")),
    responses((status = 200, body = MeterSettled), (status = 404, description = "No such event", body = NamedError),
        (status = 400, description = "Not JSON, or not whether it arrived", body = NamedError),
        (status = 409, description = "It is not in doubt", body = NamedError)))]
pub async fn settle_meter_event(
    State(app): State<Arc<App>>,
    context: Context,
    id: PathText,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = app.require_write(&context, &parts.headers).await?;
    Query::parse(&parts.uri, &[], &[])?;
    if !body::is_json(&parts.headers) {
        return Err(ApiError::content_type("application/json"));
    }
    let body = body::read(&parts.headers, body, app.config.max_content_length_bytes).await?;
    let asked: SettleBody = serde_json::from_slice(&body).map_err(|error| {
        ApiError::invalid("invalid_request", error.to_string()).field("", error.to_string())
    })?;
    // No stored id holds NUL, and PostgreSQL could not even compare with it.
    let id =
        Some(&id.text).filter(|id| !id.contains('\0')).ok_or_else(|| ApiError::missing("meter event"))?;
    let now_ms = app.clock.now_ms();
    app.engine.store().settle_meter_event(id, asked.arrived, &caller.actor, now_ms).await?;
    Ok(json(StatusCode::OK, &MeterSettled { settled: true }))
}

fn view(status: &MeterStatus, enabled: bool) -> MeterView {
    MeterView {
        cost_usd: status.cost.to_string(),
        doubted_micro_usd: status.doubted_micro,
        enabled,
        events: status.events.iter().map(MeterEventView::from).collect(),
        pending_micro_usd: status.pending_micro,
        told_micro_usd: status.told_micro,
        waiting_usd: status.waiting.to_string(),
    }
}

impl From<&MeterEventRow> for MeterEventView {
    fn from(row: &MeterEventRow) -> Self {
        MeterEventView {
            created_at: seconds(row.created_at_ms),
            error: row.error.clone(),
            id: row.id.clone(),
            state: row.state.clone(),
            tries: row.tries,
            user: row.user.clone(),
            value_micro_usd: row.value_micro,
        }
    }
}
