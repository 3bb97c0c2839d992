//! Connectors: one action at a vendor, and the list of what there is.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_connectors::Error as CallError;
use levqor_connectors::catalogue::{self, Vendor};
use levqor_core::json::text_from_body;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::path::PathText;
use super::query::Query;
use crate::http::App;
use crate::http::body;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::{ConnectBody, ConnectorRefusal};

#[derive(Serialize, ToSchema)]
pub struct ConnectedView {
    #[schema(example = "slack")]
    connector: &'static str,
    /// What each action answers stands in docs/connectors.md.
    #[schema(value_type = Object)]
    result: Value,
    #[schema(example = "ok")]
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct ConnectorList {
    connectors: Vec<ConnectorView>,
}

#[derive(Serialize, ToSchema)]
pub struct ConnectorView {
    actions: Vec<ActionView>,
    /// The member of a request that holds the credentials.
    #[schema(example = "token")]
    credentials: &'static str,
    #[schema(example = "slack")]
    name: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct ActionView {
    description: &'static str,
    #[schema(example = "post_message")]
    name: &'static str,
    /// The JSON Schema of its parameters.
    #[schema(value_type = Object)]
    params: &'static Value,
}

/// Ask a vendor for one thing, now, with credentials of the request (kept nowhere) or of a stored connection.
#[utoipa::path(post, path = "/api/v1/connect/{name}", tag = "connectors", security(("ApiKey" = [])), request_body = ConnectBody,
    params(("name" = String, Path, description = "gmail, notion, slack or telegram")),
    responses((status = 200, description = "Done", body = ConnectedView),
        (status = 400, description = "Malformed or invalid", body = ConnectorRefusal),
        (status = 429, description = "Too many writes, or the vendor takes no more calls; see `Retry-After`", body = ConnectorRefusal),
        (status = 502, description = "The vendor refused, cannot be reached, or cannot be understood", body = ConnectorRefusal),
        (status = 504, description = "The vendor did not answer in time", body = ConnectorRefusal)))]
pub async fn call_connector(
    State(app): State<Arc<App>>,
    context: Context,
    name: PathText,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    app.require_write(&context, &parts.headers).await?;
    let vendor = Vendor::named(&name.text).ok_or_else(ApiError::invalid_connector)?;
    body::refuse_announced(&parts.headers, app.config.max_content_length_bytes)?;
    if !body::is_json(&parts.headers) {
        return Err(ApiError::legacy_content_type("application/json"));
    }
    let body = body::read(&parts.headers, body, app.config.max_content_length_bytes).await?;
    let text = text_from_body(&body).map_err(|_| ApiError::connector(vendor, CallError::ActionRequired))?;
    let result = app.engine.connect(vendor, text).await.map_err(|error| ApiError::connect(vendor, error))?;
    let view = ConnectedView { connector: vendor.name(), result, status: "ok" };
    Ok(body::json(StatusCode::OK, &view))
}

/// List connectors, their actions, and the JSON Schema of each action's parameters.
#[utoipa::path(get, path = "/api/v1/connectors", tag = "connectors", security(("ApiKey" = [])),
    responses((status = 200, body = ConnectorList)))]
pub async fn list_connectors(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let actions = |known: &'static [catalogue::Known]| {
        let view = |known: &'static catalogue::Known| ActionView {
            description: known.action.about,
            name: known.action.name,
            params: &known.params,
        };
        known.iter().map(view).collect()
    };
    let connectors = catalogue::all().iter().map(|(vendor, known)| ConnectorView {
        actions: actions(known),
        credentials: vendor.credentials_member(),
        name: vendor.name(),
    });
    Ok(body::json(StatusCode::OK, &ConnectorList { connectors: connectors.collect() }))
}
