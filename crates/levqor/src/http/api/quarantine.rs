//! Models that cost more than their price list says: they are not called until a person has looked.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_store::Quarantine;
use serde::Serialize;
use utoipa::ToSchema;

use super::query::{Query, wrong};
use super::views::seconds;
use crate::http::App;
use crate::http::body::json;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::NamedError;

#[derive(Serialize, ToSchema)]
pub struct QuarantineList {
    models: Vec<QuarantineView>,
}

#[derive(Serialize, ToSchema)]
pub struct QuarantineView {
    /// The call that showed it.
    call_id: String,
    #[schema(example = "openai/gpt-6-sol")]
    model: String,
    reason: String,
    since: f64,
}

#[derive(Serialize, ToSchema)]
pub struct QuarantineLifted {
    lifted: bool,
    model: String,
}

impl From<Quarantine> for QuarantineView {
    fn from(row: Quarantine) -> Self {
        QuarantineView {
            call_id: row.call,
            model: format!("{}/{}", row.provider, row.model),
            reason: row.reason,
            since: seconds(row.since_ms),
        }
    }
}

/// Models that may not be called, because a call cost more than its price list allows.
#[utoipa::path(get, path = "/api/v1/ai/quarantine", tag = "budgets", security(("ApiKey" = [])),
    responses((status = 200, body = QuarantineList)))]
pub async fn list_quarantine(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let rows = app.engine.store().list_quarantines().await?;
    Ok(json(StatusCode::OK, &QuarantineList { models: rows.into_iter().map(Into::into).collect() }))
}

/// Let a model be called again, on every node.
#[utoipa::path(delete, path = "/api/v1/ai/quarantine", tag = "budgets", security(("ApiKey" = [])),
    params(("model" = String, Query, description = "As `provider/model`")),
    responses((status = 200, body = QuarantineLifted), (status = 404, description = "It is not in quarantine", body = NamedError)))]
pub async fn lift_quarantine(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    let caller = app.require_write(&context, &headers).await?;
    let query = Query::parse(&uri, &["model"], &[])?;
    let name = query.text("model")?.unwrap_or_default();
    let (provider, model) = name
        .split_once('/')
        .filter(|(provider, model)| !provider.is_empty() && !model.is_empty())
        .ok_or_else(|| wrong("model", &name, "a model as provider/model"))?;
    let (store, now_ms) = (app.engine.store(), app.clock.now_ms());
    if !store.lift_quarantine(provider, model, &caller.actor, now_ms).await? {
        return Err(ApiError::missing("model in quarantine"));
    }
    Ok(json(StatusCode::OK, &QuarantineLifted { lifted: true, model: name }))
}
