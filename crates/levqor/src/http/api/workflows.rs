//! Workflow definitions: put, look, list, delete.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_core::json::{compact, text_from_body};
use levqor_core::workflow::{Definition, MAX_NAME_CHARS};
use serde::Serialize;
use utoipa::ToSchema;

use super::path::PathText;
use super::query::Query;
use super::views::seconds;
use crate::http::App;
use crate::http::body::{self, json};
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::NamedError;

/// What a definition may be sent as; its text is read as YAML, of which JSON is a part.
const MEDIA_TYPES: [&str; 6] =
    ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain", "application/json"];

#[derive(Serialize, ToSchema)]
pub struct WorkflowList {
    workflows: Vec<WorkflowLine>,
}

#[derive(Serialize, ToSchema)]
pub struct WorkflowLine {
    description: Option<String>,
    name: String,
    steps: Vec<StepLine>,
    updated_at: f64,
    /// The version that new jobs get.
    version: i64,
}

#[derive(Serialize, ToSchema)]
pub struct StepLine {
    id: String,
    #[schema(example = "http")]
    kind: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct StoredView {
    /// Whether this call made the version; false when it was there already.
    created: bool,
    name: String,
    steps: Vec<StepLine>,
    version: i64,
}

#[derive(Serialize, ToSchema)]
pub struct WorkflowView {
    created_at: f64,
    name: String,
    /// `api`, or `file:` and the file's name.
    origin: String,
    /// The text as it came in, YAML or JSON.
    source: String,
    version: i64,
}

#[derive(Serialize, ToSchema)]
pub struct Deleted {
    deleted: bool,
    name: String,
}

fn steps(definition: &Definition) -> Vec<StepLine> {
    definition
        .summary()
        .steps
        .iter()
        .map(|step| StepLine { id: step.id.to_owned(), kind: step.kind })
        .collect()
}

/// List workflows by name.
#[utoipa::path(get, path = "/api/v1/workflows", tag = "workflows", security(("ApiKey" = [])),
    responses((status = 200, body = WorkflowList)))]
pub async fn list_workflows(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let lines = app.engine.list_workflows().await?.into_iter().map(|(head, definition)| WorkflowLine {
        description: definition.as_ref().and_then(|known| known.summary().description.map(str::to_owned)),
        steps: definition.as_deref().map(steps).unwrap_or_default(),
        name: head.name,
        updated_at: seconds(head.updated_at_ms),
        version: head.version,
    });
    Ok(json(StatusCode::OK, &WorkflowList { workflows: lines.collect() }))
}

/// One version of a workflow as it was put; the current one by default.
#[utoipa::path(get, path = "/api/v1/workflows/{name}", tag = "workflows", security(("ApiKey" = [])),
    params(("name" = String, Path), ("version" = Option<i64>, Query, description = "Default: the current one", minimum = 1)),
    responses((status = 200, body = WorkflowView), (status = 404, description = "No such workflow, or version of it", body = NamedError)))]
pub async fn get_workflow(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    name: PathText,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    let version = Query::parse(&uri, &["version"], &[])?.number("version", 1, i64::MAX)?;
    let found = match name.workflow_name() {
        Some(name) => app.engine.find_workflow(name, version).await?,
        None => None,
    };
    let row = found.ok_or_else(|| match version {
        Some(version) => ApiError::missing(&format!("version: {version} of workflow `{}`", name.text)),
        None => ApiError::missing("workflow"),
    })?;
    let view = WorkflowView {
        created_at: seconds(row.created_at_ms),
        name: row.name,
        origin: row.origin,
        source: row.source,
        version: row.version,
    };
    Ok(json(StatusCode::OK, &view))
}

/// Put a definition, as YAML or JSON. It becomes a new version unless nothing changed; running jobs stay on theirs.
#[utoipa::path(put, path = "/api/v1/workflows/{name}", tag = "workflows", security(("ApiKey" = [])),
    params(("name" = String, Path, description = "As in the definition")),
    request_body(content((String = "application/yaml"), (Object = "application/json"))),
    responses((status = 201, description = "A new version", body = StoredView), (status = 200, description = "Nothing changed", body = StoredView)))]
pub async fn put_workflow(
    State(app): State<Arc<App>>,
    context: Context,
    name: PathText,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = app.require_write(&context, &parts.headers).await?;
    body::refuse_announced(&parts.headers, app.config.max_content_length_bytes)?;
    let media_type = body::content_type(&parts.headers);
    if !MEDIA_TYPES.contains(&media_type.as_str()) && !body::is_json(&parts.headers) {
        return Err(ApiError::content_type("application/yaml or application/json"));
    }
    Query::parse(&parts.uri, &[], &[])?;
    let name = name.workflow_name().ok_or_else(|| {
        let allowed = format!("1 to {MAX_NAME_CHARS} characters of UTF-8 without NUL");
        ApiError::invalid("invalid_workflow", format!("the name in the path must have {allowed}"))
    })?;
    let body = body::read(&parts.headers, body, app.config.max_content_length_bytes).await?;
    let source = text_from_body(&body)
        .map_err(|problem| ApiError::invalid("invalid_workflow", problem.to_string()))?;
    if body::is_json(&parts.headers) {
        // YAML takes more than JSON does: what says that it is JSON has to be.
        compact(source).map_err(|problem| ApiError::invalid("invalid_workflow", problem.to_string()))?;
    }
    let stored = app.engine.put_workflow(name, source, "api", &caller.actor).await?;
    let status = if stored.created { StatusCode::CREATED } else { StatusCode::OK };
    let view = StoredView {
        created: stored.created,
        name: stored.row.name,
        steps: steps(&stored.definition),
        version: stored.row.version,
    };
    Ok(json(status, &view))
}

/// Delete a workflow: new jobs of its name are refused, running ones go on.
#[utoipa::path(delete, path = "/api/v1/workflows/{name}", tag = "workflows", security(("ApiKey" = [])),
    params(("name" = String, Path)),
    responses((status = 200, body = Deleted), (status = 404, description = "No such workflow", body = NamedError)))]
pub async fn delete_workflow(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    name: PathText,
    uri: Uri,
) -> Result<Response> {
    let caller = app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    let known = name.workflow_name().ok_or_else(|| ApiError::missing("workflow"))?;
    app.engine.delete_workflow(known, &caller.actor).await?;
    Ok(json(StatusCode::OK, &Deleted { deleted: true, name: name.text }))
}
