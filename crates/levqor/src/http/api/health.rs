//! Whether the server is there and well.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use levqor_engine::backup::BackupError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::body::json;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result, chain};

/// The version of this API, as `GET /` and the OpenAPI document show it.
pub const API_VERSION: &str = "1.0.0";

/// A database that does not answer for so long counts as away.
const PING_LIMIT: Duration = Duration::from_secs(2);

#[derive(Serialize, ToSchema)]
pub struct Root {
    /// `BUILD_ID`.
    #[schema(example = "dev")]
    build: String,
    ok: bool,
    #[schema(example = "levqor-backend")]
    service: &'static str,
    #[schema(example = "1.0.0")]
    version: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct Health {
    ok: bool,
    /// Seconds since 1970.
    ts: i64,
}

#[derive(Serialize, ToSchema)]
pub struct OpsHealth {
    /// What works, but not as it should: `backup` when the newest one is older than 26 hours. Left out when there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    degraded: Vec<&'static str>,
    ok: bool,
    /// Seconds since 1970.
    ts: i64,
}

/// What runs here.
#[utoipa::path(get, path = "/", tag = "health", responses((status = 200, body = Root)))]
pub async fn get_root(State(app): State<Arc<App>>) -> Response {
    let root = Root {
        build: app.config.build_id.clone(),
        ok: true,
        service: "levqor-backend",
        version: API_VERSION,
    };
    json(StatusCode::OK, &root)
}

/// 200 while the process can answer reads.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)))]
pub async fn get_health(State(app): State<Arc<App>>) -> Result<Response> {
    reads(&app).await?;
    Ok(well(&app))
}

/// Health for operators: 503 also when the database can be read but not written (a full disk, a stuck writer).
#[utoipa::path(get, path = "/api/v1/ops/health", tag = "health", security(("ApiKey" = [])), responses((status = 200, body = OpsHealth)))]
pub async fn get_ops_health(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    reads(&app).await?;
    // The sign of life that the engine gives every few seconds; once more does no harm.
    in_time("written", app.engine.store().beat(app.clock.now_ms())).await?;
    let degraded = match app.engine.backup_report().await {
        Ok(report) if !report.is_late => Vec::new(),
        Err(BackupError::Off) => Vec::new(),
        Ok(_) => vec!["backup"],
        Err(error) => {
            tracing::warn!(cause = chain(&error), "how backups do cannot be told");
            vec!["backup"]
        }
    };
    Ok(json(StatusCode::OK, &OpsHealth { degraded, ok: true, ts: app.clock.now_ms() / 1000 }))
}

fn well(app: &App) -> Response {
    json(StatusCode::OK, &Health { ok: true, ts: app.clock.now_ms() / 1000 })
}

async fn reads(app: &App) -> Result<()> {
    in_time("read", app.engine.store().ping()).await
}

/// `done` is what cannot be done to the database when `verb` fails or hangs.
async fn in_time(done: &str, verb: impl Future<Output = levqor_store::Result<()>>) -> Result<()> {
    match tokio::time::timeout(PING_LIMIT, verb).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::warn!(cause = chain(&error), "the database cannot be {done}");
            Err(ApiError::unavailable(format!("the database cannot be {done}")))
        }
        Err(_) => {
            tracing::warn!("the database cannot be {done}: no answer for {} s", PING_LIMIT.as_secs());
            Err(ApiError::unavailable(format!("the database cannot be {done}: it does not answer")))
        }
    }
}
