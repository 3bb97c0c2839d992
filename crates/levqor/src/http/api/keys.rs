//! API keys: make, list, rotate, revoke. The text of a key is in one answer only, the one that made it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri, header};
use levqor_core::json::text_from_body;
use levqor_core::key::{Minted, Problem, is_id, parse_request, parse_rotation};
use levqor_store::KeyRow;
use serde::Serialize;
use utoipa::ToSchema;

use super::path::PathText;
use super::query::Query;
use super::views::seconds;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::body::{self, json};
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::{KeyBody, NamedError, RotationBody};

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 500;

/// A key, as far as it can be shown.
#[derive(Serialize, ToSchema)]
pub struct KeyView {
    created_at: f64,
    /// Who made it, as in the audit log.
    #[schema(example = "env:5f1c09ab")]
    created_by: String,
    expires_at: Option<f64>,
    #[schema(example = "019ab3c27e50f1c09ab37d3c")]
    id: String,
    /// Up to a minute late.
    last_used_at: Option<f64>,
    name: String,
    /// The key that a rotation made in its place.
    replaced_by: Option<String>,
    revoked_at: Option<f64>,
    #[schema(example = json!(["read", "submit"]))]
    scopes: Vec<&'static str>,
    /// `active`, `expired` or `revoked`.
    #[schema(example = "active")]
    state: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct KeyList {
    keys: Vec<KeyView>,
    /// Send it as `cursor` for the next page; null at the end.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct KeyMade {
    /// The key itself. It is shown this once.
    #[schema(example = "lvq_019ab3c27e50f1c09ab37d3c_…")]
    key: String,
    #[serde(flatten)]
    view: KeyView,
}

#[derive(Serialize, ToSchema)]
pub struct KeyRevoked {
    id: String,
    revoked: bool,
}

impl KeyView {
    fn new(row: KeyRow, now_ms: i64) -> KeyView {
        let state = match (row.revoked_at_ms, row.expires_at_ms) {
            (Some(_), _) => "revoked",
            (None, Some(at_ms)) if at_ms <= now_ms => "expired",
            _ => "active",
        };
        KeyView {
            created_at: seconds(row.created_at_ms),
            created_by: row.created_by,
            expires_at: row.expires_at_ms.map(seconds),
            id: row.id,
            last_used_at: row.last_used_at_ms.map(seconds),
            name: row.name,
            replaced_by: row.replaced_by,
            revoked_at: row.revoked_at_ms.map(seconds),
            scopes: row.scopes.iter().map(|scope| scope.as_str()).collect(),
            state,
        }
    }
}

/// Make a key. With the first one a server in development mode begins to demand keys.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", security(("ApiKey" = [])), request_body = KeyBody,
    responses((status = 201, description = "A new key, shown this once", body = KeyMade),
        (status = 409, description = "The first key lacks the scope admin, or there are too many", body = NamedError)))]
pub async fn create_key(State(app): State<Arc<App>>, context: Context, request: Request) -> Result<Response> {
    let (caller, body) = app.read_key_body(&context, request).await?;
    let request = parse_request(&body, app.clock.now_ms()).map_err(invalid)?;
    let was_open = app.keys.is_open();
    let made = app.engine.create_key(request, app.keys.has_environment(), &caller.actor).await?;
    if was_open {
        tracing::warn!("the first key was made: every request needs a key from now on");
    }
    Ok(app.made(made))
}

/// List keys, newest first, those that are over included.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", security(("ApiKey" = [])),
    params(("limit" = Option<i64>, Query, description = "1 to 500, default 50", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = KeyList)))]
pub async fn list_keys(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    let query = Query::parse(&uri, &["limit", "cursor"], &[])?;
    let limit = query.number("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT) as usize;
    let cursor = |text: &str| is_id(text).then(|| text.to_owned());
    let before = query.word("cursor", cursor, "`next` of the page before")?;
    let page = app.engine.list_keys(before.as_deref(), limit).await?;
    let now_ms = app.clock.now_ms();
    let keys = page.keys.into_iter().map(|row| KeyView::new(row, now_ms)).collect();
    Ok(json(StatusCode::OK, &KeyList { keys, next: page.next }))
}

/// Make a successor of a key: same name, same scopes. The old one lives on for the overlap, 24 hours by default.
#[utoipa::path(post, path = "/api/v1/keys/{key_id}/rotate", tag = "keys", security(("ApiKey" = [])), request_body = Option<RotationBody>,
    params(("key_id" = String, Path, description = "24 lower-case hex digits")),
    responses((status = 201, description = "The new key, shown this once", body = KeyMade),
        (status = 404, description = "No such key", body = NamedError),
        (status = 409, description = "It is over, or was replaced before", body = NamedError)))]
pub async fn rotate_key(
    State(app): State<Arc<App>>,
    context: Context,
    id: PathText,
    request: Request,
) -> Result<Response> {
    let (caller, body) = app.read_key_body(&context, request).await?;
    let rotation = parse_rotation(&body, app.clock.now_ms()).map_err(invalid)?;
    let made = app.engine.rotate_key(key_id(&id)?, rotation, &caller.actor).await?;
    Ok(app.made(made))
}

/// End a key at once: on this node before the answer is sent, on others a second later at most. Again it is 200.
#[utoipa::path(delete, path = "/api/v1/keys/{key_id}", tag = "keys", security(("ApiKey" = [])),
    params(("key_id" = String, Path, description = "24 lower-case hex digits")),
    responses((status = 200, body = KeyRevoked), (status = 404, description = "No such key", body = NamedError)))]
pub async fn revoke_key(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    let caller = app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    let row = app.engine.revoke_key(key_id(&id)?, &caller.actor).await?;
    Ok(json(StatusCode::OK, &KeyRevoked { id: row.id, revoked: true }))
}

fn key_id(id: &PathText) -> Result<&str> {
    Some(id.text.as_str()).filter(|text| is_id(text)).ok_or_else(|| ApiError::missing("key"))
}

fn invalid(problem: Problem) -> ApiError {
    ApiError::invalid("invalid_key", problem.message.clone()).field(&problem.at, problem.message)
}

impl App {
    /// The text of a write's body, after the checks that come before it. Nothing at all needs no type.
    async fn read_key_body(&self, context: &Context, request: Request) -> Result<(Caller, String)> {
        let (parts, body) = request.into_parts();
        let caller = self.require_write(context, &parts.headers).await?;
        body::refuse_announced(&parts.headers, self.config.max_content_length_bytes)?;
        Query::parse(&parts.uri, &[], &[])?;
        let body = body::read(&parts.headers, body, self.config.max_content_length_bytes).await?;
        let may_be_empty = context.route().is_some_and(|route| route.ends_with("/rotate"));
        let is_nothing = may_be_empty && body.is_empty() && !parts.headers.contains_key(header::CONTENT_TYPE);
        if !is_nothing && !body::is_json(&parts.headers) {
            return Err(ApiError::content_type("application/json"));
        }
        let text =
            text_from_body(&body).map_err(|problem| ApiError::invalid("invalid_key", problem.to_string()))?;
        Ok((caller, text.to_owned()))
    }

    fn made(&self, (row, minted): (KeyRow, Minted)) -> Response {
        let view = KeyView::new(row, self.clock.now_ms());
        json(StatusCode::CREATED, &KeyMade { key: minted.reveal().to_owned(), view })
    }
}
