//! What providers say a day cost beside what the books say: shown, and asked for anew.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_engine::DRIFT_ALARM_PPM;
use levqor_store::Statement;
use serde::Serialize;
use utoipa::ToSchema;

use super::query::Query;
use super::views::seconds;
use crate::http::App;
use crate::http::body::json;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::NamedError;

const DEFAULT_LIMIT: i64 = 60;

#[derive(Serialize, ToSchema)]
pub struct StatementsView {
    /// Providers whose reports can be asked for: an admin key is set.
    providers: Vec<&'static str>,
    /// Newest days first.
    statements: Vec<StatementView>,
}

#[derive(Serialize, ToSchema)]
pub struct ReconciledView {
    /// Providers that gave no report, and why.
    failures: Vec<ReportFailure>,
    statements: Vec<StatementView>,
}

#[derive(Serialize, ToSchema)]
pub struct ReportFailure {
    error: String,
    provider: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct StatementView {
    /// They are more than half a percent apart.
    alarming: bool,
    /// What the books say, of calls held on that day.
    #[schema(example = "12.30")]
    booked_usd: String,
    /// When the day (UTC) begins.
    day: f64,
    /// How far apart they are, in millionths of what the provider says.
    #[schema(example = 1200)]
    drift_ppm: i64,
    fetched_at: f64,
    #[schema(example = "openai")]
    provider: String,
    /// What the provider says.
    #[schema(example = "12.31478")]
    stated_usd: String,
}

impl From<&Statement> for StatementView {
    fn from(it: &Statement) -> Self {
        StatementView {
            alarming: it.drift_ppm > DRIFT_ALARM_PPM,
            booked_usd: it.booked.to_string(),
            day: seconds(it.day_ms),
            drift_ppm: it.drift_ppm,
            fetched_at: seconds(it.fetched_at_ms),
            provider: it.provider.clone(),
            stated_usd: it.stated.to_string(),
        }
    }
}

/// What providers said of the last days, beside the books.
#[utoipa::path(get, path = "/api/v1/costs/statements", tag = "costs", security(("ApiKey" = [])),
    params(("limit" = Option<i64>, Query, description = "1 to 500, default 60", minimum = 1, maximum = 500)),
    responses((status = 200, body = StatementsView)))]
pub async fn list_statements(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    let query = Query::parse(&uri, &["limit"], &[])?;
    let limit = query.number("limit", 1, 500)?.unwrap_or(DEFAULT_LIMIT);
    let statements = app.engine.store().list_statements(limit as usize).await?;
    let view = StatementsView {
        providers: app.engine.reporters(),
        statements: statements.iter().map(StatementView::from).collect(),
    };
    Ok(json(StatusCode::OK, &view))
}

/// Ask the providers now what the last seven days cost.
#[utoipa::path(post, path = "/api/v1/costs/reconcile", tag = "costs", security(("ApiKey" = [])),
    responses((status = 200, body = ReconciledView),
        (status = 503, description = "No admin key is set, or try again", body = NamedError)))]
pub async fn reconcile_costs(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    if app.engine.reporters().is_empty() {
        let message = "neither OPENAI_ADMIN_KEY nor ANTHROPIC_ADMIN_KEY is set: nobody can be asked";
        return Err(ApiError::not_configured(message));
    }
    let done = app.engine.reconcile().await?;
    let failure =
        |(provider, error): &(&'static str, String)| ReportFailure { error: error.clone(), provider };
    let view = ReconciledView {
        failures: done.failures.iter().map(failure).collect(),
        statements: done.statements.iter().map(StatementView::from).collect(),
    };
    Ok(json(StatusCode::OK, &view))
}
