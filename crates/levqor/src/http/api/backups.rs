//! Backups: asked for, and looked at.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_engine::backup::Listed;
use levqor_store::BackupRun;
use serde::Serialize;
use utoipa::ToSchema;

use super::query::Query;
use super::views::seconds;
use crate::http::App;
use crate::http::body::json;
use crate::http::context::Context;
use crate::http::error::Result;
use crate::http::schema::NamedError;

/// A backup in the folder of the node that answers.
#[derive(Serialize, ToSchema)]
pub struct BackupFile {
    created_at: f64,
    /// `automatic` or `manual`.
    kind: &'static str,
    #[schema(example = "backup_20300131T000000Z.db")]
    name: String,
    /// As it was when the backup was made.
    sha256: Option<String>,
    size_bytes: u64,
}

/// One backup that was begun, on any node.
#[derive(Serialize, ToSchema)]
pub struct BackupRunView {
    /// Why it failed; of one that succeeded: why its copy in the bucket did not.
    error: Option<String>,
    finished_at: Option<f64>,
    /// `automatic` or `manual`.
    kind: &'static str,
    name: String,
    /// The node whose folder it is in.
    node: String,
    size_bytes: Option<i64>,
    started_at: f64,
    /// `running`, `succeeded` or `failed`.
    state: &'static str,
    /// Whether a checked copy is in the bucket.
    uploaded: bool,
}

#[derive(Serialize, ToSchema)]
pub struct BackupList {
    /// Newest first.
    backups: Vec<BackupFile>,
    /// Whether the newest one is older than 26 hours.
    late: bool,
    /// The last 20, newest first.
    runs: Vec<BackupRunView>,
}

impl From<Listed> for BackupFile {
    fn from(listed: Listed) -> Self {
        BackupFile {
            created_at: seconds(listed.name.at_ms()),
            kind: listed.name.kind().as_str(),
            name: listed.name.to_string(),
            sha256: listed.sha256,
            size_bytes: listed.size_bytes,
        }
    }
}

impl From<BackupRun> for BackupRunView {
    fn from(run: BackupRun) -> Self {
        BackupRunView {
            error: run.error,
            finished_at: run.finished_at_ms.map(seconds),
            kind: run.kind.as_str(),
            name: run.name,
            node: run.node,
            size_bytes: run.size_bytes,
            started_at: seconds(run.started_at_ms),
            state: run.state.as_str(),
            uploaded: run.uploaded,
        }
    }
}

/// Begin a backup, and answer at once. What becomes of it stands in `runs` of GET /api/v1/ops/backups. One at a time: 409.
#[utoipa::path(post, path = "/api/v1/ops/backup", tag = "backups", security(("ApiKey" = [])),
    responses((status = 202, description = "It is being made", body = BackupRunView),
        (status = 409, description = "Another one is being made", body = NamedError)))]
pub async fn create_backup(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    let run = app.engine.start_backup().await?;
    Ok(json(StatusCode::ACCEPTED, &BackupRunView::from(run)))
}

/// List backups of this node, and the last runs of all nodes.
#[utoipa::path(get, path = "/api/v1/ops/backups", tag = "backups", security(("ApiKey" = [])),
    responses((status = 200, body = BackupList)))]
pub async fn list_backups(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let report = app.engine.backup_report().await?;
    let list = BackupList {
        backups: report.files.into_iter().map(BackupFile::from).collect(),
        late: report.is_late,
        runs: report.runs.into_iter().map(BackupRunView::from).collect(),
    };
    Ok(json(StatusCode::OK, &list))
}
