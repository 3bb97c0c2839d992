//! Stored connections: credentials go in and never come out.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_core::json::text_from_body;
use levqor_store::ConnectionRow;
use serde::Serialize;
use utoipa::ToSchema;

use super::path::PathText;
use super::query::Query;
use super::views::seconds;
use crate::http::App;
use crate::http::body::{self, json};
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::{ConnectionBody, NamedError};

/// What is told of a connection: nothing of its credentials but a fingerprint.
#[derive(Serialize, ToSchema)]
pub struct ConnectionView {
    #[schema(example = "slack")]
    connector: String,
    created_at: f64,
    /// The first eight hex digits of the SHA-256 of the token; of Google's, of the one that renews it.
    #[schema(example = "9f86d081")]
    fingerprint: String,
    /// To the minute.
    last_used_at: Option<f64>,
    #[schema(example = "team-slack")]
    name: String,
    /// When the credentials were put.
    updated_at: f64,
}

#[derive(Serialize, ToSchema)]
pub struct ConnectionList {
    connections: Vec<ConnectionView>,
}

#[derive(Serialize, ToSchema)]
pub struct ConnectionStored {
    connection: ConnectionView,
    /// False when the credentials of one that was there were replaced.
    created: bool,
}

#[derive(Serialize, ToSchema)]
pub struct ConnectionDeleted {
    deleted: bool,
    name: String,
}

impl From<ConnectionRow> for ConnectionView {
    fn from(row: ConnectionRow) -> Self {
        ConnectionView {
            connector: row.connector,
            created_at: seconds(row.created_at_ms),
            fingerprint: row.fingerprint,
            last_used_at: row.used_at_ms.map(seconds),
            name: row.name,
            updated_at: seconds(row.updated_at_ms),
        }
    }
}

/// Store credentials under a name, sealed. They are used by that name and never shown again.
#[utoipa::path(post, path = "/api/v1/connections", tag = "connectors", security(("ApiKey" = [])), request_body = ConnectionBody,
    responses((status = 201, description = "A new connection", body = ConnectionStored),
        (status = 200, description = "Its credentials were replaced", body = ConnectionStored),
        (status = 409, description = "There is one of this name", body = NamedError)))]
pub async fn put_connection(
    State(app): State<Arc<App>>,
    context: Context,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = app.require_write(&context, &parts.headers).await?;
    body::refuse_announced(&parts.headers, app.config.max_content_length_bytes)?;
    if !body::is_json(&parts.headers) {
        return Err(ApiError::content_type("application/json"));
    }
    Query::parse(&parts.uri, &[], &[])?;
    let body = body::read(&parts.headers, body, app.config.max_content_length_bytes).await?;
    let text =
        text_from_body(&body).map_err(|problem| ApiError::invalid("invalid_request", problem.to_string()))?;
    let (row, created) = app.engine.put_connection(text, &caller.actor).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &ConnectionStored { connection: row.into(), created }))
}

/// List stored connections by name.
#[utoipa::path(get, path = "/api/v1/connections", tag = "connectors", security(("ApiKey" = [])),
    responses((status = 200, body = ConnectionList)))]
pub async fn list_connections(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let rows = app.engine.store().list_connections().await?;
    Ok(json(StatusCode::OK, &ConnectionList { connections: rows.into_iter().map(Into::into).collect() }))
}

/// One stored connection.
#[utoipa::path(get, path = "/api/v1/connections/{name}", tag = "connectors", security(("ApiKey" = [])),
    params(("name" = String, Path)),
    responses((status = 200, body = ConnectionView), (status = 404, description = "No such connection", body = NamedError)))]
pub async fn get_connection(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    name: PathText,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let name = name.connection_name().ok_or_else(|| ApiError::missing("connection"))?;
    let row = app.engine.store().find_connection(name).await?;
    Ok(json(StatusCode::OK, &ConnectionView::from(row.ok_or_else(|| ApiError::missing("connection"))?)))
}

/// Delete a stored connection. Steps that name it fail from now on.
#[utoipa::path(delete, path = "/api/v1/connections/{name}", tag = "connectors", security(("ApiKey" = [])),
    params(("name" = String, Path)),
    responses((status = 200, body = ConnectionDeleted), (status = 404, description = "No such connection", body = NamedError)))]
pub async fn delete_connection(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    name: PathText,
    uri: Uri,
) -> Result<Response> {
    let caller = app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    let known = name.connection_name().ok_or_else(|| ApiError::missing("connection"))?;
    app.engine.store().delete_connection(known, &caller.actor, app.clock.now_ms()).await?;
    Ok(json(StatusCode::OK, &ConnectionDeleted { deleted: true, name: known.to_owned() }))
}
