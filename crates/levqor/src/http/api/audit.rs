//! `GET /api/v1/audit`: who did what, newest first, with all that it takes to check the chain of hashes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_core::audit::Entry;
use levqor_store::AuditFilter;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::query::Query;
use super::views::seconds;
use crate::http::App;
use crate::http::body::json;
use crate::http::context::Context;
use crate::http::error::Result;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 500;

#[derive(Serialize, ToSchema)]
pub struct AuditView {
    entries: Vec<EntryView>,
    head: HeadView,
    /// Send it as `cursor` for the next page; null at the end. A page may hold fewer entries than asked for, even none.
    next: Option<String>,
}

/// The end of the whole log: note it elsewhere, and nothing before it can be rewritten unseen.
#[derive(Serialize, ToSchema)]
pub struct HeadView {
    hash: String,
    /// 0: the log is empty.
    seq: i64,
}

#[derive(Serialize, ToSchema)]
pub struct EntryView {
    #[schema(example = "key.create")]
    action: String,
    /// `key:<id>`, `env:<fingerprint>`, `dev`, `cli` or `system`.
    #[schema(example = "key:019ab3c27e50f1c09ab37d3c")]
    actor: String,
    at: f64,
    /// As it is kept, byte for byte.
    #[schema(value_type = Object)]
    detail: Box<RawValue>,
    /// SHA-256 of `["levqor-audit-1",seq,at in milliseconds,actor,action,object,detail as text,prev_hash]`.
    hash: String,
    object: String,
    prev_hash: String,
    /// Counts from 1 without gaps.
    seq: i64,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        EntryView {
            action: entry.action,
            actor: entry.actor,
            at: seconds(entry.at_ms),
            detail: verbatim(&entry.detail),
            hash: entry.hash,
            object: entry.object,
            prev_hash: entry.prev_hash,
            seq: entry.seq,
        }
    }
}

/// Compact JSON as it stands. What somebody changed into anything else is shown as a text, which breaks its hash as it
/// should.
fn verbatim(stored: &str) -> Box<RawValue> {
    let as_text = || to_raw_value(stored).expect("a text is JSON");
    let as_it_is = RawValue::from_string(stored.to_owned()).ok();
    as_it_is.filter(|raw| raw.get() == stored && !stored.contains('\n')).unwrap_or_else(as_text)
}

/// Who did what to keys, connections, workflows, people and jobs, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "keys", security(("ApiKey" = [])),
    params(("actor" = Option<String>, Query, description = "Who, exactly as shown"),
        ("action" = Option<String>, Query, description = "Such as `key.create`"),
        ("object" = Option<String>, Query, description = "The id or name of what it was done to"),
        ("from" = Option<String>, Query, description = "At or after: RFC 3339, or seconds since 1970"),
        ("until" = Option<String>, Query, description = "Before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = AuditView)))]
pub async fn list_audit(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    let allowed = ["actor", "action", "object", "from", "until", "limit", "cursor"];
    let query = Query::parse(&uri, &allowed, &[])?;
    let filter = AuditFilter {
        actor: query.text("actor")?,
        action: query.text("action")?,
        object: query.text("object")?,
        from_ms: query.time_ms("from")?,
        until_ms: query.time_ms("until")?,
        before: query.number("cursor", 1, i64::MAX)?,
        limit: query.number("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT) as usize,
    };
    let page = app.engine.store().list_audit(&filter).await?;
    let view = AuditView {
        entries: page.entries.into_iter().map(EntryView::from).collect(),
        head: HeadView { hash: page.head.hash, seq: page.head.seq },
        next: page.next.map(|seq| seq.to_string()),
    };
    Ok(json(StatusCode::OK, &view))
}
